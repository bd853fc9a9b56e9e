"""A concurrency limit for a service that refuses too many calls at once without saying how many it allows."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class AdaptiveLimit:
    """A concurrency limit that halves when the service throttles, and otherwise grows back one by one.

    This is additive increase, multiplicative decrease, as in TCP (RFC 5681). The limit converges to what the
    service allows, and follows it when that changes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(most)
        self._limiter = anyio.CapacityLimiter(most)

    @property
    def size(self) -> int:
        """The present limit."""
        return int(self._size)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it during the block."""
        async with self._limiter:
            yield

    def ended(self, *, throttled: bool) -> None:
        """Adjust the limit after something that held a place has ended, throttled or not."""
        if throttled:
            self._size = max(self._size / 2, 1.0)
        else:
            # The limit grows by one with each round of calls of which none was throttled.
            self._size = min(self._size + 1 / self._size, self._most)
        self._limiter.total_tokens = self.size
