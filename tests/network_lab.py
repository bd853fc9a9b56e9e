"""A network on loopback addresses: names with several addresses, black holes, and slow connections."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

EIGHT = tuple(f"127.0.0.{number}" for number in range(1, 9))


def resolve(monkeypatch: pytest.MonkeyPatch, names: dict[str, Sequence[str]]) -> None:
    """Make these names resolve to these addresses, in this order."""
    real = socket.getaddrinfo

    def getaddrinfo(host: str | bytes | None, *args: int, **options: int) -> list[object]:
        found: list[object] = []
        for address in names.get(host.decode() if isinstance(host, bytes) else host or "", (host,)):
            found += real(address, *args, **options)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def note_connects(monkeypatch: pytest.MonkeyPatch, port: int) -> list[str]:
    """Return a list, to which the address of each attempt to connect to this port is added."""
    loop = asyncio.get_running_loop()
    real = loop.sock_connect
    tried: list[str] = []

    async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
        if address[1] == port:
            tried.append(address[0])
        await real(sock, address)

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    return tried


@asynccontextmanager
async def listening(
    serve: Serve,
    *,
    addresses: Sequence[str] = ("127.0.0.1",),
    holes: Collection[str] = (),
    closed: Collection[str] = (),
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve a port of these addresses. Connecting to one of `holes` never ends, `closed` ones refuse."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            tasks.discard(task)

    with ExitStack() as stack:
        sockets = _bound([each for each in addresses if each not in closed])
        for each in sockets:
            stack.enter_context(each)
        port = int(sockets[0].getsockname()[1])
        servers = []
        for each in sockets:
            address = each.getsockname()[0]
            if address in holes:
                # Linux drops new connections while the queue is full. One connection fills this queue.
                each.setblocking(True)
                each.listen(0)
                stack.enter_context(socket.create_connection((address, port)))
            else:
                servers.append(await asyncio.start_server(run, sock=each, ssl=tls, backlog=4096))
        try:
            yield port
        finally:
            for server in servers:
                server.close()
            if tasks:
                await asyncio.wait(tasks, timeout=20)


def _bound(addresses: Sequence[str]) -> list[socket.socket]:
    while True:
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                sockets.append(socket.socket())
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sockets[-1].bind((address, sockets[0].getsockname()[1] if len(sockets) > 1 else 0))
        except OSError as error:
            for each in sockets:
                each.close()
            # The port is in use at another of the addresses.
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return sockets


def relay(port: int, seconds: float = 0.0) -> Serve:
    """Relay all data to a port of this machine and back, each piece `seconds` later."""
    loop = asyncio.get_running_loop()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                loop.call_later(seconds, writer.write, data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, to_there), carry(there, writer))

    return serve


def _has_network() -> bool:
    try:
        sockets = _bound(EIGHT)
    except OSError:
        return False
    for each in sockets:
        each.close()
    return True


# Linux has all of these addresses, and can have black holes. Other systems have only 127.0.0.1.
needs_loopback_network = pytest.mark.skipif(
    not _has_network(), reason="the loopback interface has no 127.0.0.2 to 127.0.0.8"
)
