"""The socket's end of a connection, which a test plays."""

from __future__ import annotations

import asyncio


class Wire(asyncio.Transport):
    """The socket's end of a connection, which a test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.written: list[object] = []

    def write(self, data: object) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


async def requests_have_left() -> None:
    """Wait until what tasks are about to ask for is sent, after a turn of the loop for them and two more."""
    for _ in range(3):
        await asyncio.sleep(0)
