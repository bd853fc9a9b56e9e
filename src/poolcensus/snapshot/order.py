"""The order in which snapshots were published, by their manifests.

IDs don't give this order. They sort by the start of the run, and at random within a second, and a run that
resumes keeps the ID of the interrupted run. So snapshots are ordered by their end, then shards before
complete snapshots, then by their start, then by ID. A merged snapshot has the end of its last shard and the
start of its first one, and comes after them. A snapshot without a readable manifest is placed by its ID
alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.format.ids import parse_snapshot_id

if TYPE_CHECKING:
    from poolcensus.model import Shard

# AWS accepts signatures from a clock that is this far off, so snapshots of such clocks are not passed over.
# This machine's clock is used for buckets, too: S3 refuses a clock that is fifteen minutes off.
AHEAD: Final = timedelta(minutes=5)


class Moment(NamedTuple):
    """When a snapshot was published. Moments compare in the order of publishing.

    `is_whole` says that the snapshot is not a shard.
    """

    finished: datetime
    is_whole: bool
    started: datetime
    id: str

    def is_ahead(self, now: datetime) -> bool:
        """Return whether the snapshot is dated in the future, by its ID, its start or its end."""
        return max(self.finished, self.started, parse_snapshot_id(self.id)) > now + AHEAD


def moment_of(
    snapshot_id: str,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
    *,
    shard: Shard | None = None,
) -> Moment:
    """Return the moment of a snapshot. An unknown time is taken from the ID."""
    named = parse_snapshot_id(snapshot_id)
    return Moment(finished_at or named, shard is None, started_at or named, snapshot_id)
