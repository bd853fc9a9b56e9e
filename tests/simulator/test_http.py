"""Connections of HTTP/1.0, and those on which nothing comes."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from poolcensus.simulator import Fault, Latency, SimulatorConfig, WorldConfig

if TYPE_CHECKING:
    import pytest

    from simulator.conftest import Running, Start

WORLD = WorldConfig(accounts=3, regions=("us-east-1",), pools_per_target=40)


def head_and_rest(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1 << 16)
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.lower(), rest


def to_the_end(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def connect(running: Running) -> socket.socket:
    return socket.create_connection(running.address, timeout=5)


def test_a_client_of_http_1_0_is_told_that_its_connection_stays(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    with connect(running) as sock:
        for _ in range(2):
            sock.sendall(b"GET /_simulator/stats HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            head, rest = head_and_rest(sock)
            assert b"\r\nconnection: keep-alive" in head
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(rest) < length:
                rest += sock.recv(1 << 16)
            assert len(rest) == length
    with connect(running) as sock:
        sock.sendall(b"GET /_simulator/stats HTTP/1.0\r\n\r\n")
        assert b"\r\nconnection: close" in head_and_rest(sock)[0]
        assert to_the_end(sock) is not None
    with connect(running) as sock:
        sock.sendall(b"GET /_simulator/stats HTTP/1.1\r\n\r\n")
        assert b"\r\nconnection:" not in head_and_rest(sock)[0]


def test_a_client_of_http_1_0_gets_no_chunks(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    bodies = {}
    for version, line in (("1.0", b"Connection: keep-alive"), ("1.1", b"Connection: close")):
        with connect(running) as sock:
            sock.sendall(b"GET /_simulator/truth HTTP/%b\r\n%b\r\n\r\n" % (version.encode(), line))
            head, rest = head_and_rest(sock)
            assert (b"\r\ntransfer-encoding: chunked" in head) == (version == "1.1")
            assert b"\r\ncontent-length" not in head
            assert b"\r\nconnection: close" in head
            # The server ends it, also after chunks, where a client has said that it wants no more.
            bodies[version] = rest + to_the_end(sock)
    assert bodies["1.0"].count(b"\n") == 3
    assert bodies["1.0"].endswith(b"}\n")
    assert bodies["1.1"].endswith(b"0\r\n\r\n")


def test_a_reply_that_drips_ends_a_connection_that_is_not_to_stay(start: Start) -> None:
    faults = (Fault.parse("drip,seconds=0"),)
    running = start(SimulatorConfig(world=WorldConfig(accounts=2, pools_per_target=0), faults=faults))
    signed = "".join(f"{name}: {value}\r\n" for name, value in running.signed().items())
    with connect(running) as sock:
        sock.sendall(
            f"POST / HTTP/1.1\r\nHost: {running.host}\r\n{signed}Connection: close\r\n"
            "Content-Length: 2\r\n\r\n{}".encode()
        )
        assert to_the_end(sock).endswith(b'{"WorkspacesPools":[]}')


def test_a_connection_on_which_no_whole_request_comes_is_closed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.simulator.connection.IDLE_SECONDS", 0.3)
    running = start(SimulatorConfig(world=WORLD))
    began = time.monotonic()
    for sent in (
        b"",
        b"GET /_simulator/stats HTTP/1.1\r\nHost: x",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ):
        with connect(running) as sock:
            sock.sendall(sent)
            assert to_the_end(sock) == b""
    assert 0.85 < time.monotonic() - began < 5
    with connect(running) as sock:
        for _ in range(4):
            time.sleep(0.15)
            sock.sendall(b"GET /_simulator/stats HTTP/1.1\r\nHost: x\r\n\r\n")
            assert head_and_rest(sock)[0].startswith(b"http/1.1 200")
        assert to_the_end(sock) is not None


def test_a_request_that_comes_slowly_is_answered_if_it_comes_to_an_end(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.simulator.connection.IDLE_SECONDS", 0.3)
    monkeypatch.setattr("poolcensus.simulator.connection.REQUEST_SECONDS", 1.5)
    running = start(SimulatorConfig(world=WORLD))
    asked = b"GET /_simulator/stats HTTP/1.1\r\nHost: "
    with connect(running) as sock:
        for piece in (asked, b"x", b"y", b"z", b"\r\n", b"\r\n"):
            time.sleep(0.15)
            sock.sendall(piece)
        assert head_and_rest(sock)[0].startswith(b"http/1.1 200")
    began = time.monotonic()
    with connect(running) as sock, suppress(ConnectionError):
        sock.sendall(asked)
        while time.monotonic() - began < 5:
            time.sleep(0.1)
            sock.sendall(b"x")
    assert 1.4 < time.monotonic() - began < 5


def test_a_connection_whose_reply_takes_long_is_not_idle(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.simulator.connection.IDLE_SECONDS", 0.1)
    running = start(SimulatorConfig(world=WORLD, latency=Latency.parse("500")))
    assert running.pools().status == 200


def test_an_offer_of_another_protocol_is_declined_and_connect_refused(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    signed = "".join(f"{name}: {value}\r\n" for name, value in running.signed().items())
    asked = (
        f"POST / HTTP/1.1\r\nHost: {running.host}\r\n{signed}Connection: Upgrade, HTTP2-Settings\r\n"
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 2\r\n\r\n{}"
    ).encode()
    connect_to = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    for pieces in ([asked * 3 + connect_to], [asked[:-1], asked[-1:] + asked, asked, connect_to]):
        with connect(running) as sock:
            for piece in pieces:
                sock.sendall(piece)
                time.sleep(0.05)
            data = to_the_end(sock)
        assert data.count(b'{"NextToken":') == data.count(b"HTTP/1.1 200") == 3
        assert data.rpartition(b"HTTP/1.1 ")[2].startswith(b"501")
