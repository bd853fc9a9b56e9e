"""The slots of workers for batches, which the Organizations of a run share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from poolcensus.workers import Workers

# Batches for each slot, counting those with the workers and those that have returned but are not written yet.
# Beyond this, workers wait for the disk.
_AT_ONCE: Final = 2
# Seconds between checks: workers come and go without notice.
LOOK_AGAIN: Final = 1.0


class WorkerSlots:
    """The slots of workers, assigned in the order of the requests.

    The workers never hold more than one batch for each slot. A batch queued at a worker would be lost with
    the worker, and counted as a cause of its loss.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._sent = anyio.CapacityLimiter(1)
        self._under_way = anyio.CapacityLimiter(1)

    @property
    def count(self) -> int:
        """The number of slots.

        At least 1, so that a batch is sent and gets the error about missing workers.
        """
        return max(self._workers.size, 1)

    async def take(self, batch: str) -> bool:
        """Wait for a slot for a batch, for at most a second. Return whether the batch has one."""
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
        """Release the slot of a batch that has left the workers."""
        self._sent.release_on_behalf_of(batch)

    def end(self, batch: str) -> None:
        """Stop counting a batch that has left its slot and has been written."""
        self._under_way.release_on_behalf_of(batch)
