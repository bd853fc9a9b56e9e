"""An event loop with virtual time: hours of waiting take no time, and each run has the same result."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# Seconds. Far more than a thread or a process of a test needs. After that, nothing will happen any more.
_LONGEST_WORK = 60.0


class _NoWaiting(selectors.SelectSelector):
    """A selector that does not wait, but adds the time that it would have waited to its clock.

    While `working` returns true, work goes on outside the loop. The selector then waits for it, and its clock
    stands still.
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
    """Return a runner with such an event loop. Its clock stands still while `working` returns true."""
    return asyncio.Runner(loop_factory=lambda: _VirtualTime(working))


def on_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end in such an event loop."""

    async def run() -> T:
        return await main()

    with virtual_runner() as runner:
        return runner.run(run())


def now() -> float:
    """Return the loop's time, in seconds since it began."""
    return asyncio.get_running_loop().time()
