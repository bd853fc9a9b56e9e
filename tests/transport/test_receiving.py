"""What the connections of a run receive into one buffer: each reply is whole, and its own."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.aws.transport.http1 import Connection, Outbox, new_buffer
from transport.wire import Wire, requests_have_left
from transport_lab import opened, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import trustme

    NewLoop = Callable[[], asyncio.AbstractEventLoop]

on_both_loops = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
# Far longer than any of these takes.
LIMIT = 20.0
# Around the sizes in which a record, a TLS layer and the connection receive.
SIZES = (0, 1, 16_384, 65_535, 65_537, 262_144, 300_000, 524_288, 600_000)


@pytest.fixture(scope="module", autouse=True)
def uvloop_has_run() -> None:
    """Have uvloop open what it keeps as long as the process lives, and anyio load what it has for asyncio."""
    uvloop.new_event_loop().close()
    # Whoever loads it while another thread does waits for that, in the loop.
    anyio.run(anyio.lowlevel.checkpoint)


def content(size: int, seed: int) -> bytes:
    """Bytes that no other seed has in any place."""
    return (bytes([seed]) + seed.to_bytes(3, "big") * (size // 3 + 1))[:size]


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def chunked(body: bytes, size: int) -> bytes:
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(chunk), chunk)
        for chunk in (body[start : start + size] for start in range(0, len(body), size))
    )
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%s0\r\n\r\n" % chunks


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with the size and the seed that its body names."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            asked = json.loads(await reader.readexactly(length))
            body = content(asked["size"], asked["seed"])
            writer.write(chunked(body, 5_000) if asked["seed"] % 2 else whole(body))
            await writer.drain()
    writer.close()


@asynccontextmanager
async def answering(tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await close(server)


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[str]:
    """A proxy that tunnels to a port, whatever it is asked for."""

    async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        from_origin, to_origin = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(pass_on(reader, to_origin))
            group.create_task(pass_on(from_origin, writer))

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        await close(server)


async def close(server: asyncio.Server) -> None:
    """Close a server and wait for whoever still serves: the end of the loop would cancel them."""
    server.close()
    while asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.sleep(0)


async def check_all_replies(
    bundle: str, tls: ssl.SSLContext | None, *, proxied: bool = False, first_seed: int = 0
) -> None:
    """Ask for replies of many sizes at once, twice over the same connections, and look at all at the end."""
    asked = [(size, first_seed + number) for number, size in enumerate(SIZES * 3)]
    async with (
        answering(tls) as port,
        proxy_to(port) as proxy,
        opened("fast", ca_bundle=bundle) as transport,
    ):
        url = f"{'https' if tls else 'http'}://localhost:{port}/"

        async def ask(size: int, seed: int) -> bytes:
            body = json.dumps({"size": size, "seed": seed}).encode()
            reply = await post(transport, url, body=body, limit=LIMIT, proxy=proxy if proxied else None)
            return reply.body

        bodies = [await asyncio.gather(*(ask(*each) for each in asked)) for _ in range(2)]
    expected = [content(*each) for each in asked]
    # By themselves: what differs is too long to be shown.
    assert all(replies == expected for replies in bodies)


def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@on_both_loops
@pytest.mark.parametrize("way", ["plain", "tls", "proxy"])
def test_replies_that_arrive_at_once_are_each_their_own(
    new_loop: NewLoop, way: str, authority: trustme.CA, bundle: str
) -> None:
    tls = None if way == "plain" else server_side(authority)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(check_all_replies(bundle, tls, proxied=way == "proxy"))


def test_runs_in_two_threads_receive_nothing_of_each_other(bundle: str) -> None:
    failures: list[BaseException] = []

    def run(first_seed: int) -> None:
        try:
            asyncio.run(check_all_replies(bundle, None, first_seed=first_seed))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread of the test
            failures.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


class Hasty:
    """Sends a reply over TLS and closes at once, in a thread: all of it is there before the client looks."""

    def __init__(self, tls: ssl.SSLContext, reply: bytes) -> None:
        self._tls = tls
        self._reply = reply
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.port: int = self._listener.getsockname()[1]
        self.asked = threading.Event()
        self.sent = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._thread.join(LIMIT)

    def _serve(self) -> None:
        accepted, _ = self._listener.accept()
        with closing(self._tls.wrap_socket(accepted, server_side=True)) as connection:
            connection.settimeout(LIMIT)
            request = b""
            while not request.endswith(b"\r\n\r\n{}"):
                request += connection.recv(65_536)
            self.asked.set()
            connection.sendall(self._reply)
            connection.shutdown(socket.SHUT_WR)
            self.sent.set()
            with suppress(OSError):
                connection.recv(1)

    def hold_up_the_client(self) -> Iterator[None]:
        """Block the loop while the reply is sent, in steps in which it may go on where the system is full."""
        while not self.sent.is_set():
            if self.asked.is_set():
                self.sent.wait(0.01)
            yield


@on_both_loops
@pytest.mark.parametrize("size", [250_000, 300_000, 600_000])
@pytest.mark.parametrize(
    "head", [b"content-length: %d\r\n\r\n", b"x-length: %d\r\n\r\n"], ids=["told", "untold"]
)
def test_a_reply_is_whole_where_the_connection_ends_right_behind_it(
    new_loop: NewLoop, size: int, head: bytes, authority: trustme.CA, bundle: str
) -> None:
    body = content(size, 7)

    async def main() -> bytes:
        with Hasty(server_side(authority), b"HTTP/1.1 200 OK\r\n" + head % size + body) as server:
            async with opened("fast", ca_bundle=bundle) as transport:
                call = asyncio.create_task(post(transport, f"https://localhost:{server.port}/", limit=LIMIT))
                for _ in server.hold_up_the_client():
                    await asyncio.sleep(0)
                return (await call).body

    for _ in range(3):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            assert runner.run(main()) == body


def receive(connection: Connection, data: bytes) -> None:
    """Hand data to a connection as the loop does, and leave nothing of it behind."""
    while data:
        room = connection.get_buffer(-1)
        taken = min(len(data), len(room))
        room[:taken] = data[:taken]
        connection.buffer_updated(taken)
        room[:taken] = b"\xff" * taken
        data = data[taken:]


@given(
    replies=st.lists(
        st.tuples(st.binary(max_size=300), st.none() | st.integers(1, 40)), min_size=1, max_size=5
    ),
    cuts=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60)), max_size=200),
    rounds=st.integers(1, 2),
)
async def test_bytes_of_one_connection_are_never_in_the_reply_of_another(
    replies: list[tuple[bytes, int | None]], cuts: list[tuple[int, int]], rounds: int
) -> None:
    buffer = new_buffer()
    connections = [Connection(str(number), buffer, Outbox()) for number in range(len(replies))]
    for each in connections:
        each.connection_made(Wire())
    kept: list[list[bytes]] = []
    for _ in range(rounds):
        calls = [
            asyncio.create_task(each.exchange(b"POST / HTTP/1.1\r\n\r\n", LIMIT)) for each in connections
        ]
        await requests_have_left()
        to_come = [whole(body) if size is None else chunked(body, size) for body, size in replies]
        for which, size in [*cuts, *((number, 1 << 20) for number in range(len(replies)))]:
            number = which % len(replies)
            receive(connections[number], to_come[number][:size])
            to_come[number] = to_come[number][size:]
        kept.append([(await call).body for call in calls])
        assert all(each.reusable for each in connections)
    assert kept == [[body for body, _ in replies]] * rounds
    for each in connections:
        each.connection_lost(None)
