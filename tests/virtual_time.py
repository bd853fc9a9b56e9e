"""A loop whose time is what is waited for: hours of waiting take no time, and come out the same each run."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# Far more than a thread or a process of the test needs to go on: whoever waits longer waits for nothing.
_LONGEST_WORK = 60.0


class _NoWaiting(selectors.SelectSelector):
    """A selector that does not wait: the time that it would have waited has passed.

    Only while `working` says that somebody is at work outside the loop it waits for them, and no time passes.
    """

    def __init__(self, working: Callable[[], bool]) -> None:
        super().__init__()
        self.now = 0.0
        self._working = working

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._working():
            ready = super().select(_LONGEST_WORK)
            if not ready:
                raise RuntimeError("what works outside the loop does not end")
            return ready
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is left to happen")
        self.now += max(timeout, 0.0)
        return ready


class _VirtualTime(asyncio.SelectorEventLoop):
    def __init__(self, working: Callable[[], bool]) -> None:
        self._clock = _NoWaiting(working)
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def virtual_runner(working: Callable[[], bool] = lambda: False) -> asyncio.Runner:
    """Return a runner of coroutines on such a loop, whose time stands still while somebody is `working`."""
    return asyncio.Runner(loop_factory=lambda: _VirtualTime(working))


def on_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end on such a loop."""

    async def run() -> T:
        return await main()

    with virtual_runner() as runner:
        return runner.run(run())


def now() -> float:
    """Return the loop's time, in seconds since it began."""
    return asyncio.get_running_loop().time()
