"""Both transports against servers that misbehave on raw sockets: each end has its family, all is closed."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.aws.signing import Credentials
from poolcensus.aws.transport.dialing import Dialer, Origin
from poolcensus.errors import BadResponseError, CallTimeoutError, RetryableError, UnreachableError
from transport_lab import KINDS, SDK_LATER, by_kind, opened, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from poolcensus.aws.transport.http1 import Connection
    from poolcensus.aws.transport.protocol import Reply, Transport

    Serving = Callable[..., AbstractAsyncContextManager[tuple["Server", Transport]]]
    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("no_task_left")

MIB = 1024 * 1024


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request: its head, and the body that the head announces."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + (await reader.readexactly(length) if length else b"")


class Server:
    """A loopback server that hands each connection to `serve`, and counts what it sees."""

    def __init__(self, serve: Serve, *, speaks_first: bool) -> None:
        self._serve = serve
        self._speaks_first = speaks_first
        self._writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""
        self.quiet = asyncio.Event()
        self._open = 0

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open += 1
        self.quiet.clear()
        self._writers.append(writer)
        try:
            if not self._speaks_first:
                self.requests.append(await read_request(reader))
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self._open -= 1
            if not self._open:
                self.quiet.set()


@asynccontextmanager
async def _serving(
    kind: str, serve: Serve, *, speaks_first: bool = False
) -> AsyncIterator[tuple[Server, Transport]]:
    """A server and a transport, both closed at the end: what stays open fails the test."""
    here = Server(serve, speaks_first=speaks_first)
    listener = await asyncio.start_server(here.run, "127.0.0.1", 0)
    here.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    try:
        async with opened(kind) as transport:
            yield here, transport
        # The transport has let go: every connection's end is seen at the other side.
        if here.connections:
            with anyio.fail_after(20):
                await here.quiet.wait()
    finally:
        listener.close()
        await listener.wait_closed()
        for writer in here._writers:
            try:
                await writer.wait_closed()
            except ConnectionError:
                continue


both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=SDK_LATER)
def kind(request: pytest.FixtureRequest) -> str:
    """Which transport."""
    return str(request.param)


@pytest.fixture
def serving(kind: str) -> Serving:
    return partial(_serving, kind)


async def send(transport: Transport, url: str, *, limit: float = 20.0, proxy: str | None = None) -> Reply:
    return await post(transport, url, body=b'{"Limit": 25}', limit=limit, proxy=proxy)


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def answering(*pieces: bytes, then_wait: bool = False) -> Serve:
    """Sends the pieces, then closes or waits for the other side to close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if then_wait:
            await reader.read()

    return serve


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    assert isinstance(transport, asyncio.WriteTransport)
    transport.abort()


def ok(body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), headers, body)


@pytest.mark.parametrize(
    "pieces",
    [
        (ok(b'{"a": 1}', b"X-Amzn-RequestId: r\r\n"),),
        tuple(bytes([byte]) for byte in ok(b'{"a": 1}', b"X-Amzn-RequestId: r\r\n")),
        (b"HTTP/1.1 200 OK\r\nx-amzn-requestid: r\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n",
         b"4\r\n: 1}\r\n0\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-AMZN-REQUESTID: r\r\n\r\n", b'{"a": 1}'),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ok(b'{"a": 1}', b"X-Amzn-RequestId: r\r\n")),
        (ok(gzip.compress(b'{"a": 1}'), b"Content-Encoding: gzip\r\nx-amzn-RequestId: r\r\n"),),
        (ok(zlib.compress(b'{"a": 1}'), b"Content-Encoding: deflate\r\nx-amzn-RequestId: r\r\n"),),
        (ok(gzip.compress(b'{"a"') + gzip.compress(b": 1}") + gzip.compress(b""),
            b"Content-Encoding: gzip\r\nx-amzn-RequestId: r\r\n"),),
        (ok(gzip.compress(b'{"a": 1}'), b"CONTENT-ENCODING: GZip \r\nx-amzn-RequestId: r\r\n"),),
        (ok(gzip.compress(b'{"a": 1}'), b"Content-Encoding: gzip\r\n" * 2 + b"x-amzn-RequestId: r\r\n"),),
        (ok(b'{"a": 1}', b"Content-Encoding: identity\r\nx-amzn-RequestId: r\r\nX-Name: \xe9\r\n"),),
    ],
)  # fmt: skip
async def test_a_whole_reply_is_read_however_it_comes(serving: Serving, pieces: tuple[bytes, ...]) -> None:
    async with serving(answering(*pieces)) as (server, transport):
        reply = await send(transport, server.url)
        assert (reply.status, reply.body) == (200, b'{"a": 1}')
        assert reply.headers.get("x-amzn-RequestId") == reply.headers.get("X-AMZN-REQUESTID") == "r"
        assert server.requests[0].endswith(b'\r\n\r\n{"Limit": 25}')


@both
async def test_connections_are_used_again(serving: Serving) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(ok(b"{}"))
            await read_request(reader)

    async with serving(serve) as (server, transport):
        for _ in range(5):
            assert (await send(transport, server.url)).body == b"{}"
        assert server.connections == 1


@by_kind("status", ("301", "302", "303", "307", "308"), sdk=("307",))
async def test_a_redirect_is_not_followed(serving: Serving, status: str) -> None:
    async with serving(answering(ok(b"here", b""))) as (other, _):
        redirect = b"HTTP/1.1 %s Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (
            status.encode(),
            other.url.encode(),
        )
        async with serving(answering(redirect)) as (server, transport):
            reply = await send(transport, server.url)
            assert (reply.status, reply.body) == (int(status), b"")
        assert other.connections == 0


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_an_error_status_is_a_reply(serving: Serving, status: int) -> None:
    body = b'{"__type":"X"}'
    head = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\nRetry-After: 3\r\n\r\n" % (status, len(body))
    async with serving(answering(head + body)) as (server, transport):
        reply = await send(transport, server.url)
        assert (reply.status, reply.body, reply.headers.get("Retry-After")) == (status, body, "3")


@both
async def test_a_call_is_signed_with_its_own_credentials_at_its_own_time(serving: Serving) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"{}", b"Connection: close\r\n"))
        await writer.drain()

    async with serving(serve) as (server, transport):
        every = [Credentials(f"AKIA{number}", "secret", f"token-{number}") for number in range(20)]
        async with anyio.create_task_group() as group:
            for keys in every:
                group.start_soon(
                    partial(post, transport, server.url, keys=keys, body=keys.access_key_id.encode())
                )
        assert len(server.requests) == len(every)
        for request in server.requests:
            head, _, body = request.decode().partition("\r\n\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:])
            assert headers["authorization"].startswith(
                f"aws4-hmac-sha256 credential={body.lower()}/20261123/"
            )
            assert headers["x-amz-security-token"] == f"token-{body.removeprefix('AKIA')}"
            assert headers["x-amz-date"] == "20261123t020000z"
            assert headers["x-amz-target"] == "workspacesservice.describeworkspacespools"


_CLOSE = b"Connection: close\r\n"
_GZIP = gzip.compress(b'{"WorkspacesPools": []}' * 100)
_BROKEN = {
    "a short body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",),
    "no body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",),
    "a chunk cut": (_CHUNKED + b"64\r\n{}",),
    "a last chunk that is missing": (_CHUNKED + b"2\r\n{}\r\n",),
    "a chunk size that is none": (_CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",),
    "gzip that breaks off": (ok(_GZIP[:-12], _CLOSE + b"Content-Encoding: gzip\r\n"),),
    "gzip that breaks off without a length": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", _GZIP[: len(_GZIP) // 2],
    ),
    "gzip that is none": (ok(b'{"WorkspacesPools": []}', _CLOSE + b"Content-Encoding: gzip\r\n"),),
    "gzip with something else after it": (
        ok(_GZIP + b"the rest", _CLOSE + b"Content-Encoding: gzip\r\n"),
    ),
    "gzip of two parts, the second of which breaks off": (
        ok(_GZIP + _GZIP[:-12], _CLOSE + b"Content-Encoding: gzip\r\n"),
    ),
    "gzip of more parts than anybody makes": (
        ok(gzip.compress(b"") * 5000, _CLOSE + b"Content-Encoding: gzip\r\n"),
    ),
    "gzip of nothing at all": (ok(b"", _CLOSE + b"Content-Encoding: gzip\r\n"),),
    "an encoding nobody asked for": (ok(b"{}", _CLOSE + b"Content-Encoding: br\r\n"),),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n",),
    "a status that is none": (b"HTTP/1.1 OK 200\r\n\r\n",),
    "header garbage": (b"HTTP/1.1 200 OK\r\n\x00\x01\xff: \x02\r\nno colon\r\n\r\n{}",),
    "a head that breaks off": (b"HTTP/1.1 200 OK\r\nContent-Len",),
    "a head without its end": (b"HTTP/1.1 200 OK\r\nContent-Type: x\r\n",),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",),
    "more headers than any reply has": (
        b"HTTP/1.1 200 OK\r\n", *[b"x: %s\r\n" % (b"y" * 1000)] * 200, b"Content-Length: 2\r\n\r\n{}",
    ),
}  # fmt: skip


@by_kind(
    "name",
    _BROKEN,
    sdk=("a short body", "a chunk cut", "gzip that breaks off", "no HTTP", "a head that breaks off"),
)
async def test_a_broken_reply_is_a_bad_response_and_never_a_short_body(serving: Serving, name: str) -> None:
    async with serving(answering(*_BROKEN[name])) as (server, transport):
        with pytest.raises(BadResponseError) as raised:
            await send(transport, server.url)
        assert raised.value.outcome == "bad_response"
        # Nothing of it is left for the next call, which has a connection of its own.
        with pytest.raises(BadResponseError):
            await send(transport, server.url)
        assert server.connections == 2


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (b"x-amzn-RequestId: r-1\r\n", "r-1"),
        (b"x-amz-request-id: r-2\r\n", "r-2"),
        (b"x-amzn-RequestId: %s\r\n" % (b"<p>any text</p> " * 2000), None),
    ],
    ids=["of JSON services", "of S3", "of a proxy"],
)
@both
async def test_a_broken_reply_has_its_request_id_where_it_is_one(
    serving: Serving, headers: bytes, expected: str | None
) -> None:
    cut_off = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n%s\r\n{}" % headers
    async with serving(answering(cut_off)) as (server, transport):
        with pytest.raises(BadResponseError) as raised:
            await send(transport, server.url)
        assert raised.value.request_id == expected


@both
async def test_what_announces_a_reply_and_gives_none_is_tried_again(serving: Serving) -> None:
    async with serving(answering(b"HTTP/1.1 100 Continue\r\n\r\n")) as (server, transport):
        # aiohttp does not tell it from a connection that was closed without a word.
        with pytest.raises((BadResponseError, UnreachableError)):
            await send(transport, server.url)
        assert server.connections == 1


@both
@pytest.mark.parametrize("more", [b"Connection: upgrade\r\nUpgrade: other\r\n", b""])
async def test_a_change_of_protocols_that_nobody_asked_for_is_no_reply(serving: Serving, more: bytes) -> None:
    switch = b"HTTP/1.1 101 Switching Protocols\r\n%s\r\n" % more
    async with serving(answering(switch)) as (server, transport):
        with pytest.raises(BadResponseError):
            await send(transport, server.url)


@pytest.mark.parametrize("serve", [reset, answering()], ids=["reset", "closed"])
async def test_a_connection_that_ends_before_a_reply_is_unreachable(serving: Serving, serve: Serve) -> None:
    async with serving(serve) as (server, transport):
        with pytest.raises(UnreachableError):
            await send(transport, server.url)


def answering_once(*second: bytes, end: Serve) -> Serve:
    """Answers the first request on a connection; the next gets these pieces, then the connection ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"{}"))
        await read_request(reader)
        for piece in second:
            writer.write(piece)
            await writer.drain()
        await end(reader, writer)

    return serve


@pytest.mark.parametrize("end", [reset, answering()], ids=["reset", "closed"])
@both
async def test_a_kept_connection_that_ends_as_it_is_used_again_is_replaced_at_once(
    serving: Serving, end: Serve
) -> None:
    async with serving(answering_once(end=end)) as (server, transport):
        for calls in range(1, 5):
            assert (await send(transport, server.url)).body == b"{}"
            assert server.connections == calls


@pytest.mark.parametrize("end", [reset, answering()], ids=["reset", "closed"])
@both
async def test_all_kept_connections_may_end_at_once(serving: Serving, end: Serve) -> None:
    both = asyncio.Barrier(2)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.connections <= 2:
            await both.wait()
        await answering_once(end=end)(reader, writer)

    async with serving(serve) as (server, transport):
        for _ in range(2):
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(send, transport, server.url)
        assert server.connections == 4


@both
async def test_a_new_connection_that_ends_too_is_unreachable(serving: Serving) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if server.connections == 1:
            await answering_once(end=reset)(reader, writer)

    async with serving(serve) as (server, transport):
        await send(transport, server.url)
        with pytest.raises(UnreachableError):
            await send(transport, server.url)
        assert server.connections == 2


@both
async def test_a_kept_connection_that_ends_within_a_reply_is_a_bad_response(serving: Serving) -> None:
    async with serving(answering_once(b"HTTP/1.1 2", end=answering())) as (server, transport):
        await send(transport, server.url)
        with pytest.raises(BadResponseError):
            await send(transport, server.url)
        assert server.connections == 1


@both
async def test_a_kept_connection_that_hangs_is_a_timeout(serving: Serving) -> None:
    async with serving(answering_once(end=answering(then_wait=True))) as (server, transport):
        await send(transport, server.url)
        with pytest.raises(CallTimeoutError):
            await send(transport, server.url, limit=0.5)
        assert server.connections == 1


@both
async def test_leaving_the_transport_sends_nothing_again(serving: Serving) -> None:
    async with serving(answering_once(end=answering(then_wait=True))) as (server, transport):
        await send(transport, server.url)
        calling = asyncio.create_task(send(transport, server.url))
        await asyncio.sleep(0)
        await transport.__aexit__(None, None, None)
        with pytest.raises(UnreachableError):
            await calling
        assert server.connections == 1


@both
async def test_a_reset_within_a_reply_may_be_tried_again(serving: Serving) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
        await writer.drain()
        await reset(reader, writer)

    async with serving(serve) as (server, transport):
        with pytest.raises(RetryableError) as raised:
            await send(transport, server.url)
        assert isinstance(raised.value, BadResponseError | UnreachableError)


@pytest.mark.parametrize(
    "pieces",
    [(), (b"HTTP/1.1 200 OK\r\nContent-Le",), (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",)],
    ids=["nothing", "half a head", "half a body"],
)
async def test_a_server_that_hangs_is_a_timeout(serving: Serving, pieces: tuple[bytes, ...]) -> None:
    async with serving(answering(*pieces, then_wait=True)) as (server, transport):
        with anyio.fail_after(20), pytest.raises(CallTimeoutError, match=r"did not answer within 0\.5 s"):
            await send(transport, server.url, limit=0.5)


async def test_what_a_timeout_tells_is_the_time_of_the_call_and_not_what_connecting_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dial = Dialer.dial

    async def slowly(dialer: Dialer, origin: Origin, deadline: float) -> Connection:
        # A third of the call's time.
        await anyio.sleep(0.2)
        return await dial(dialer, origin, deadline)

    monkeypatch.setattr(Dialer, "dial", slowly)
    async with _serving("fast", answering(then_wait=True)) as (server, transport):
        with anyio.fail_after(20), pytest.raises(CallTimeoutError, match=r"did not answer within 0\.6 s"):
            await send(transport, server.url, limit=0.6)


@both
async def test_a_body_that_drips_is_a_timeout_too(serving: Serving) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(serve) as (server, transport):
        with anyio.fail_after(20), pytest.raises(CallTimeoutError):
            await send(transport, server.url, limit=0.5)


_LINES = b"x" * MIB
_HUGE = {
    "by its length": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (80 * MIB), _LINES),
    "in chunks": (_CHUNKED, b"100000\r\n%s\r\n" % _LINES),
    "until it closes": (b"HTTP/1.1 200 OK\r\n\r\n", _LINES),
}


async def _refused_in_bounded_memory(serving: Serving, serve: Serve) -> None:
    async with serving(serve) as (server, transport):
        tracemalloc.start()
        try:
            with pytest.raises(BadResponseError):
                await send(transport, server.url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 60 * MIB


@pytest.mark.parametrize("name", _HUGE)
async def test_a_body_over_16_mib_is_refused_in_bounded_memory(serving: Serving, name: str) -> None:
    head, piece = _HUGE[name]
    await _refused_in_bounded_memory(serving, answering(head, *[piece] * 80))


@pytest.mark.parametrize(
    "start",
    [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nx: ", _CHUNKED + b"1\r\n \r\n0\r\nx: "],
    ids=["status", "name", "value", "trailer"],
)
async def test_a_line_that_never_ends_is_refused_in_bounded_memory(serving: Serving, start: bytes) -> None:
    await _refused_in_bounded_memory(serving, answering(start, *[_LINES] * 80))


async def test_a_small_body_that_unpacks_to_much_is_refused_in_bounded_memory(serving: Serving) -> None:
    # Two members, as a bomb in two steps would have them: neither may be unpacked to its end.
    bomb = gzip.compress(bytes(80 * MIB), 1)
    await _refused_in_bounded_memory(serving, answering(ok(bomb + bomb, b"Content-Encoding: gzip\r\n")))


@pytest.mark.parametrize("size", [16 * MIB, 16 * MIB + 1])
async def test_the_bound_is_16_mib(serving: Serving, size: int) -> None:
    async with serving(answering(ok(b"x" * size))) as (server, transport):
        try:
            reply = await send(transport, server.url)
        except BadResponseError:
            assert size > 16 * MIB
        else:
            assert len(reply.body) == size <= 16 * MIB


@both
async def test_what_comes_unasked_is_not_the_reply_to_the_next_request(serving: Serving) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"mine") + ok(b"somebody else's"))
        await writer.drain()
        await reader.read()

    async with serving(serve) as (server, transport):
        assert [(await send(transport, server.url)).body for _ in range(3)] == [b"mine"] * 3


@pytest.mark.parametrize("size", [65_536, 150_000, 600_000])
@both
async def test_what_comes_unasked_after_a_long_reply_is_not_the_reply_to_the_next_request(
    serving: Serving, size: int
) -> None:
    first = ok(b"x" * size)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first + ok(b"somebody else's"))
        await writer.drain()
        await reader.read()

    async with serving(serve) as (server, transport):
        for _ in range(3):
            assert (await send(transport, server.url)).body[:1] == b"x"


@both
async def test_what_comes_unasked_just_before_the_next_request_is_not_the_reply_to_that(
    serving: Serving,
) -> None:
    async with serving(answering(ok(b"mine"), then_wait=True)) as (server, transport):
        for number in range(3):
            assert (await send(transport, server.url)).body == b"mine"
            # It is sent at once, and the loop does not read it before the next request goes out.
            server._writers[number].write(ok(b"somebody else's"))
        assert server.connections == 3


@both
async def test_a_call_that_is_cancelled_leaves_no_connection_to_reuse(serving: Serving) -> None:
    arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.write(ok(b"late"))

    async with serving(serve) as (server, transport):
        async with anyio.create_task_group() as group:
            group.start_soon(send, transport, server.url)
            await arrived.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(20):
            await server.quiet.wait()


# The other one has read all that belongs to the reply, and may keep its connection.
@pytest.mark.parametrize("kind", ["fast"])
@pytest.mark.parametrize("encoding", [b"br", b"gzip"])
async def test_a_reply_that_can_not_be_unpacked_leaves_no_connection_open(
    serving: Serving, encoding: bytes
) -> None:
    reply = ok(b"{}", b"Content-Encoding: %s\r\n" % encoding)
    async with serving(answering(reply, then_wait=True)) as (server, transport):
        with pytest.raises(BadResponseError):
            await send(transport, server.url)
        with anyio.fail_after(20):
            await server.quiet.wait()


@both
async def test_a_port_without_a_server_is_unreachable(serving: Serving, kind: str) -> None:
    async with serving(answering()) as (server, _):
        url = server.url
    async with opened(kind) as transport:
        with pytest.raises(UnreachableError, match="127.0.0.1"):
            await send(transport, url)


@pytest.mark.parametrize(
    ("kind", "host"),
    # The SDK refuses the other one before there is a call.
    [("fast", "no-such-name.invalid"), ("fast", "x" * 64 + ".invalid"), ("sdk", "no-such-name.invalid")],
)
async def test_a_name_that_does_not_resolve_is_unreachable(kind: str, host: str) -> None:
    async with opened(kind) as transport:
        with pytest.raises(UnreachableError, match=host):
            await send(transport, f"http://{host}/")


async def test_a_server_without_tls_is_unreachable_by_https(serving: Serving) -> None:
    async with serving(answering(ok(b"plain"), then_wait=True), speaks_first=True) as (server, transport):
        with pytest.raises(UnreachableError):
            await send(transport, server.url.replace("http:", "https:"))


async def test_a_proxy_that_refuses_is_unreachable(serving: Serving) -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(refusal)) as (proxy, transport):
        with pytest.raises(UnreachableError, match="proxy"):
            await send(transport, "https://workspaces.example.com/", proxy=proxy.url)
        assert proxy.requests[0].startswith(b"CONNECT workspaces.example.com:443 HTTP/1.1\r\n")
        assert b"content-type" not in proxy.requests[0].lower()


async def test_plain_http_goes_through_a_proxy_with_its_whole_url(serving: Serving) -> None:
    async with serving(answering(ok(b"by proxy"))) as (proxy, transport):
        through = proxy.url.replace("http://", "http://me:p%40ss@")
        reply = await send(transport, "http://workspaces.example.com/", proxy=through)
        assert reply.body == b"by proxy"
        assert proxy.requests[0].startswith(b"POST http://workspaces.example.com/ HTTP/1.1\r\n")
        assert b"Basic bWU6cEBzcw==" in proxy.requests[0]


@both
async def test_many_calls_at_once_all_end_and_all_is_closed(serving: Serving) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"{}"))
        await writer.drain()
        await reader.read()

    async with serving(serve) as (server, transport):
        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(send, transport, server.url)
        assert 1 <= server.connections <= 100


@both
async def test_a_transport_that_is_closed_says_so(kind: str) -> None:
    async with opened(kind) as transport:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await send(transport, "http://127.0.0.1:1/")
