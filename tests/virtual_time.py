"""A loop whose time is what is waited for: hours of waiting take no time, and come out the same each run."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class _NoWaiting(selectors.SelectSelector):
    """A selector that does not wait: the time that it would have waited has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits, and nothing is left to happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class _VirtualTime(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _NoWaiting()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def on_virtual_time(main: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end on such a loop."""

    async def run() -> T:
        return await main()

    with asyncio.Runner(loop_factory=_VirtualTime) as runner:
        return runner.run(run())


def now() -> float:
    """Return the loop's time, in seconds since it began."""
    return asyncio.get_running_loop().time()
