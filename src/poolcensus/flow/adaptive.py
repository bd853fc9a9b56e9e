"""How many calls may be in flight toward a service that counts them and does not say how many it allows."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class AdaptiveLimit:
    """A limit on concurrency that halves where a service throttles, and grows back by one at a time.

    That is additive increase, multiplicative decrease, as of TCP (RFC 5681): it finds the number that a
    service allows, and finds it again when that changes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = float(most)
        self._limiter = anyio.CapacityLimiter(most)

    @property
    def size(self) -> int:
        """How many may be in flight now."""
        return int(self._size)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place while the block lasts, waiting for one where there is none."""
        async with self._limiter:
            yield

    def ended(self, *, throttled: bool) -> None:
        """Note that what held a place has ended, and whether it was throttled meanwhile."""
        if throttled:
            self._size = max(self._size / 2, 1.0)
        else:
            # One more for each round of calls that were not throttled.
            self._size = min(self._size + 1 / self._size, self._most)
        self._limiter.total_tokens = self.size
