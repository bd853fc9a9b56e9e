"""The socket's end of a connection, which a test plays."""

from __future__ import annotations

import asyncio


class Wire(asyncio.Transport):
    """The socket's end of a connection, which a test plays."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True
