"""The event loops that a census runs in."""

from __future__ import annotations

import asyncio

from poolcensus.errors import FatalError


def require_asyncio() -> None:
    """Raise FatalError in the event loop of another library, such as Trio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise FatalError(
            "poolcensus runs in asyncio's event loop and those that take its place, such as uvloop's. Call it"
            " from asyncio.run(), or from anyio.run() with backend='asyncio'."
        ) from None
