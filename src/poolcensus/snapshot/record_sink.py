"""The interface of a sink for encoded records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from poolcensus.model import Target


class RecordSink(Protocol):
    """Takes encoded records of targets, until each target is done. See `SnapshotWriter`."""

    async def room(self) -> None:
        """Wait until the sink is not full. Await this before each `add_records`."""

    def add_records(self, target: Target, data: bytes) -> None:
        """Add encoded records to those of a target."""

    def set_record_count(self, target: Target, count: int) -> None:
        """Set how many records were added for a target in all."""

    def discard(self, target: Target) -> None:
        """Drop the records of a target that is not done, if it has any."""
