"""What stands between the program and the service says more or less than the service did."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from poolcensus.model import Outcome, SnapshotStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import census_lab
    from faults.conftest import ExactBut, Start

REGIONS = ("us-east-1", "eu-west-1")
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
EMPTY_PAGE = (
    b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 22\r\n\r\n{"WorkspacesPools":[]}'
)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    found = LENGTH.search(head)
    return head + await reader.readexactly(int(found[1]) if found else 0)


def _unchanged(_: bytes, reply: bytes) -> bytes:
    return reply


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def between(
    here: census_lab.Lab,
    monkeypatch: pytest.MonkeyPatch,
    alter: Callable[[bytes, bytes], bytes] = _unchanged,
    *,
    most: int | None = None,
    end: Callable[[asyncio.StreamWriter], None] = asyncio.StreamWriter.close,
) -> AsyncIterator[list[int]]:
    """Passes the calls of WorkSpaces on, with other replies. Counts the requests of each connection.

    `alter` makes of a request and the service's reply what is sent on. What is no whole reply ends with
    the connection. `most` is how many requests are answered on a connection: the next one ends it by `end`.
    """
    counts: list[int] = []
    address = urlsplit(here.simulator.endpoint_url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(counts)
        counts.append(0)
        upstream_reader, upstream = await asyncio.open_connection(address.hostname, address.port)
        try:
            while True:
                request = await _message(reader)
                counts[number] += 1
                if counts[number] - 1 == most:
                    return
                upstream.write(request)
                reply = await _message(upstream_reader)
                altered = alter(request, reply)
                writer.write(altered)
                await writer.drain()
                if len(altered) < len(reply):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            upstream.transport.abort()
            end(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_WORKSPACES", f"http://127.0.0.1:{port}")
        yield counts


async def test_what_follows_a_reply_is_never_the_reply_to_the_next_call(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=5, pools_per_target=30, regions=REGIONS)
    async with between(here, monkeypatch, lambda _, reply: reply + EMPTY_PAGE) as counts:
        snapshot = await here.collect(concurrency=1)
    assert here.assert_exact(snapshot) == {Outcome.OK: 10}
    assert set(counts) == {1}
    assert len(counts) == 20


async def test_connections_are_kept_where_nothing_is_wrong(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=5, pools_per_target=30, regions=REGIONS)
    async with between(here, monkeypatch) as counts:
        snapshot = await here.collect(concurrency=1)
    assert here.assert_exact(snapshot) == {Outcome.OK: 10}
    assert counts == [20]


@pytest.mark.parametrize("end", [asyncio.StreamWriter.close, _reset])
async def test_a_kept_connection_that_is_closed_as_it_is_used_again_is_nobodys_silence(
    lab: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    end: Callable[[asyncio.StreamWriter], None],
) -> None:
    caplog.set_level("INFO", "poolcensus")
    here = await lab(accounts=5, pools_per_target=1, regions=("us-east-1",))
    async with between(here, monkeypatch, most=1, end=end) as counts:
        snapshot = await here.collect(concurrency=1, max_attempts=1)
    assert here.assert_exact(snapshot) == {Outcome.OK: 5}
    assert counts == [2, 2, 2, 2, 1]
    assert snapshot.manifest.totals.retries == 0
    assert {each.attempts for each in snapshot.targets()} == {1}
    assert "does not answer" not in caplog.text


def _chunked(reply: bytes) -> bytes:
    head, _, body = reply.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not LENGTH.match(line)]
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"\r\n".join(kept) + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def _told_to_wait(reply: bytes) -> bytes:
    return b"HTTP/1.1 100 Continue\r\n\r\n" + reply


@pytest.mark.parametrize("form", [_chunked, _told_to_wait])
async def test_a_reply_in_another_form_is_the_same_reply(
    lab: Start, monkeypatch: pytest.MonkeyPatch, form: Callable[[bytes], bytes]
) -> None:
    here = await lab(accounts=3, pools_per_target=30, regions=REGIONS)
    async with between(here, monkeypatch, lambda _, reply: form(reply)):
        snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 6}
    assert snapshot.manifest.totals.retries == 0


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n16\r\n{" + b'"WorkspacesPools":[]}\r\n',
        b'HTTP/1.1 200 OK\r\n\r\n{"WorkspacesPools":[]',
        b'HTTP/1.1 204 No Content\r\n\r\n{"WorkspacesPools":[]}',
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n{"WorkspacesPools":[]}',
    ],
)
async def test_half_a_reply_is_no_reply(
    lab: Start, monkeypatch: pytest.MonkeyPatch, exact_but: ExactBut, reply: bytes
) -> None:
    here = await lab(accounts=2, pools_per_target=1, regions=REGIONS)

    def alter(request: bytes, whole: bytes) -> bytes:
        return reply if b"/eu-west-1/" in request else whole

    async with between(here, monkeypatch, alter):
        snapshot = await here.collect(max_attempts=2)
    outcomes = {each.outcome for each in snapshot.targets() if each.region == "eu-west-1"}
    assert outcomes == {Outcome.BAD_RESPONSE if reply else Outcome.UNREACHABLE}
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    exact_but(here, snapshot, [(each.account_id, "eu-west-1") for each in snapshot.uncovered()])
