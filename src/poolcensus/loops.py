"""The event loops that a census runs in, and the threads that read files for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, to_thread

from poolcensus.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


def require_asyncio() -> None:
    """Raise FatalError in the event loop of another library, such as Trio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise FatalError(
            "poolcensus runs in asyncio's event loop and those that take its place, such as uvloop's. Call it"
            " from asyncio.run(), or from anyio.run() with backend='asyncio'."
        ) from None


async def in_thread(call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Return the result of a call that reads files. Whoever is cancelled leaves one that hangs behind.

    It has a thread at once. A run makes few such calls at a time, and those of anyio's own limit are the
    program's around it, all of which may be waiting for a census.
    """
    return await to_thread.run_sync(call, *args, abandon_on_cancel=True, limiter=CapacityLimiter(1))
