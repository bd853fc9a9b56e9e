"""The order in which snapshots were published, by what they say of themselves.

Ids sort by their start, and at random within one second; a run that goes on with an interrupted one keeps
its id. So the order is that of the manifests: by their end, then shards before what is whole, then by their
start, then by id. A merged snapshot ends as the last of its shards did and begins as the first did, and says
more than any of them. What has no manifest that can be read is placed by its id alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.format.ids import parse_snapshot_id

if TYPE_CHECKING:
    from poolcensus.model import Shard

# How far off AWS lets a clock be before it refuses its signatures: clocks that differ by less are no reason
# to pass over a snapshot. By this machine's clock for a bucket, too: S3 refuses who is fifteen minutes off.
AHEAD: Final = timedelta(minutes=5)


class Moment(NamedTuple):
    """When a snapshot was published. Moments compare as their snapshots come one after the other.

    `is_whole` says that the snapshot is no shard.
    """

    finished: datetime
    is_whole: bool
    started: datetime
    id: str

    def is_ahead(self, now: datetime) -> bool:
        """Whether the snapshot says that it is from the future: its id, its start or its end."""
        return max(self.finished, self.started, parse_snapshot_id(self.id)) > now + AHEAD


def moment_of(
    snapshot_id: str,
    started_at: datetime | None = None,
    finished_at: datetime | None = None,
    *,
    shard: Shard | None = None,
) -> Moment:
    """Return the moment of a snapshot. A time that is not known is taken from the id."""
    named = parse_snapshot_id(snapshot_id)
    return Moment(finished_at or named, shard is None, started_at or named, snapshot_id)
