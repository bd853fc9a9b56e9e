"""The event loop that a census runs in, and threads that read files for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from anyio import CapacityLimiter, create_task_group, to_thread

from poolcensus.errors import FatalError, first_reason_raised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


def require_asyncio() -> None:
    """Raise FatalError if the running event loop is another library's, such as Trio's."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise FatalError(
            "poolcensus runs in asyncio's event loop and those that take its place, such as uvloop's. Call it"
            " from asyncio.run(), or from anyio.run() with backend='asyncio'."
        ) from None


async def in_thread(call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
    """Call a function that reads files in a thread, and return its result.

    If the caller is cancelled, it does not wait for a call that hangs. The call gets a thread at once,
    outside anyio's default limit: the surrounding program may use up that limit with threads that wait for a
    census. A run makes few such calls at a time.
    """
    return await to_thread.run_sync(call, *args, abandon_on_cancel=True, limiter=CapacityLimiter(1))


async def for_each(call: Callable[[_T], Awaitable[None]], items: Sequence[_T], *, at_once: int) -> None:
    """Call an async function for each item, with at most `at_once` calls in progress.

    The first error cancels the calls in progress, and is raised.
    """
    left = iter(items)

    async def work() -> None:
        for each in left:
            await call(each)

    with first_reason_raised():
        async with create_task_group() as group:
            for _ in range(min(len(items), at_once)):
                group.start_soon(work)
