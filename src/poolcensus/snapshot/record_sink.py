"""Where the records of a target go that have been encoded already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from poolcensus.model import Target


class RecordSink(Protocol):
    """Takes encoded records, target by target, until each target is done. See `SnapshotWriter`."""

    async def room(self) -> None:
        """Wait until it is not full. Await it before each `add_records`."""

    def add_records(self, target: Target, data: bytes) -> None:
        """Add some encoded records of a target to those that it has."""

    def set_record_count(self, target: Target, count: int) -> None:
        """Say how many records have been added for a target, all pieces together."""

    def discard(self, target: Target) -> None:
        """Drop the records of a target that is not done, if it has any."""
