"""The slots that workers have for batches. The Organizations of a run share them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from poolcensus.workers import Workers

# So many batches for each slot of a worker may be with it, or back and not yet put away, before workers wait
# for the disk.
_AT_ONCE: Final = 2
# Workers come and go without a word.
LOOK_AGAIN: Final = 1.0


class WorkerSlots:
    """The slots of workers, given away in the order in which they are asked for.

    No more than one batch for each slot is with the workers: one that waits for its turn there would be lost
    with a worker, and blamed for the end of it.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._sent = anyio.CapacityLimiter(1)
        self._under_way = anyio.CapacityLimiter(1)

    @property
    def count(self) -> int:
        """How many slots there are. While there are no workers, one: whoever waits for it is told of it."""
        return max(self._workers.size, 1)

    async def take(self, batch: str) -> bool:
        """Wait for a slot for a batch, for a second at most, and return whether it has one."""
        self._sent.total_tokens = self.count
        self._under_way.total_tokens = _AT_ONCE * self.count
        with anyio.move_on_after(LOOK_AGAIN):
            await self._under_way.acquire_on_behalf_of(batch)
            taken = False
            try:
                await self._sent.acquire_on_behalf_of(batch)
                taken = True
            finally:
                if not taken:
                    self._under_way.release_on_behalf_of(batch)
            return True
        return False

    def leave(self, batch: str) -> None:
        """Give up the slot of a batch that the workers no longer have."""
        self._sent.release_on_behalf_of(batch)

    def end(self, batch: str) -> None:
        """Count a batch no more, which has left its slot and been put away."""
        self._under_way.release_on_behalf_of(batch)
