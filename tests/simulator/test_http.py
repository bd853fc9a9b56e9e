"""HTTP/1.0 connections, and idle connections."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING

from poolcensus.simulator import Fault, Latency, SimulatorConfig, WorldConfig
from poolcensus.simulator.connection import IDLE_SECONDS, REQUEST_SECONDS

if TYPE_CHECKING:
    from simulator.conftest import Running, Start

WORLD = WorldConfig(accounts=3, regions=("us-east-1",), pools_per_target=40)


def head_and_rest(sock: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        data += some(sock)
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.lower(), rest


def some(sock: socket.socket) -> bytes:
    piece = sock.recv(1 << 16)
    assert piece, "the connection has ended"
    return piece


def to_the_end(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def connect(running: Running) -> socket.socket:
    return socket.create_connection(running.address, timeout=5)


def send(running: Running, sock: socket.socket, data: bytes) -> None:
    """Send data, and wait until the simulator has received it."""
    stats = running.simulator.stats
    expected = stats.bytes_received + len(data)
    sock.sendall(data)
    deadline = time.monotonic() + 30
    while not stats.open_connections or stats.bytes_received < expected:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def is_open(sock: socket.socket) -> bool:
    """Return whether the simulator has neither sent anything nor closed the connection."""
    return not select.select([sock], (), (), 0)[0]


def test_a_client_of_http_1_0_is_told_that_its_connection_stays(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    with connect(running) as sock:
        for _ in range(2):
            sock.sendall(b"GET /_simulator/stats HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            head, rest = head_and_rest(sock)
            assert b"\r\nconnection: keep-alive" in head
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(rest) < length:
                rest += some(sock)
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
            # The server ends a connection, also after chunks, if the client has asked for that.
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


def test_a_connection_on_which_no_whole_request_comes_is_closed(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    for sent in (
        b"",
        b"GET /_simulator/stats HTTP/1.1\r\nHost: x",
        b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    ):
        with connect(running) as sock:
            send(running, sock, sent)
            running.pass_time(IDLE_SECONDS / 2)
            assert is_open(sock)
            running.pass_time(IDLE_SECONDS / 2)
            assert to_the_end(sock) == b""
    with connect(running) as sock:
        for _ in range(4):
            running.pass_time(IDLE_SECONDS / 2)
            sock.sendall(b"GET /_simulator/stats HTTP/1.1\r\nHost: x\r\n\r\n")
            assert head_and_rest(sock)[0].startswith(b"http/1.1 200")
        running.pass_time(IDLE_SECONDS)
        assert to_the_end(sock) is not None


def test_a_request_that_comes_slowly_is_answered_if_it_comes_to_an_end(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD))
    asked = b"GET /_simulator/stats HTTP/1.1\r\nHost: "
    with connect(running) as sock:
        for piece in (asked, b"x", b"y", b"z", b"\r\n", b"\r\n"):
            running.pass_time(IDLE_SECONDS / 2)
            send(running, sock, piece)
        assert head_and_rest(sock)[0].startswith(b"http/1.1 200")
    with connect(running) as sock:
        send(running, sock, asked)
        # At the last one, the time for a whole request is over.
        for _ in range(int(REQUEST_SECONDS / IDLE_SECONDS * 2) - 1):
            running.pass_time(IDLE_SECONDS / 2)
            assert is_open(sock)
            send(running, sock, b"x")
        running.pass_time(IDLE_SECONDS / 2)
        assert to_the_end(sock) == b""


def test_a_connection_whose_reply_takes_long_is_not_idle(start: Start) -> None:
    running = start(SimulatorConfig(world=WORLD, latency=Latency.parse("100000")))
    signed = "".join(f"{name}: {value}\r\n" for name, value in running.signed().items())
    asked = f"POST / HTTP/1.1\r\nHost: {running.host}\r\n{signed}Content-Length: 2\r\n\r\n{{}}".encode()
    with connect(running) as sock:
        send(running, sock, asked)
        running.pass_time(IDLE_SECONDS)
        assert is_open(sock)
        running.pass_time(IDLE_SECONDS)
        assert head_and_rest(sock)[0].startswith(b"http/1.1 200")


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
