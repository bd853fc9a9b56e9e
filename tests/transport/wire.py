"""The socket's end of a connection, which a test plays."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from poolcensus.aws.transport.http1 import Connection, Outbox, new_buffer

if TYPE_CHECKING:
    import socket


class QuietSocket:
    """A socket that never has anything to read."""

    _FD: Final = os.pipe()[0]

    def fileno(self) -> int:
        return self._FD


class Wire(asyncio.Transport):
    """The socket's end of a connection, which a test plays: of `sock`, whether there is something to read."""

    def __init__(self, sock: QuietSocket | socket.socket | None = None) -> None:
        super().__init__({"socket": QuietSocket() if sock is None else sock})
        self.aborted = False
        self.written: list[object] = []

    def write(self, data: object) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


def connection_to(peer: str) -> Connection:
    """Return a connection that shares nothing with others."""
    return Connection(peer, new_buffer(), Outbox())


async def requests_have_left() -> None:
    """Wait until what tasks are about to ask for is sent: they have a turn of the loop, then the outbox."""
    for _ in range(2):
        await asyncio.sleep(0)
