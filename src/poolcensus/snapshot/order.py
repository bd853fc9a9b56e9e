"""The order in which snapshots were published, by what they say of themselves.

Ids sort by their start, and at random within one second; a run that goes on with an interrupted one keeps
its id. So the order is that of the manifests: by their end, then by their start, then by id. What has no
manifest that can be read is placed by its id alone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.format.ids import parse_snapshot_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.snapshot.reader import SnapshotInfo

# How far off AWS lets a clock be before it refuses its signatures: clocks that differ by less are no reason
# to pass over a snapshot. By this machine's clock for a bucket, too: S3 refuses who is fifteen minutes off.
AHEAD: Final = timedelta(minutes=5)

# From the start that an id names to the end: an interrupted run is gone on with within one day of its start,
# and no census takes another.
_LONGEST_RUN: Final = timedelta(days=2)


class Moment(NamedTuple):
    """When a snapshot was published. Moments compare as their snapshots come one after the other."""

    finished: datetime
    started: datetime
    id: str

    def is_ahead(self, now: datetime) -> bool:
        """Whether the snapshot says that it is from the future: its id, its start or its end."""
        return max(self.finished, self.started, parse_snapshot_id(self.id)) > now + AHEAD


def moment_of(snapshot_id: str, started_at: str = "", finished_at: str = "") -> Moment:
    """Return the moment of a snapshot. A time that can't be read is taken from the id."""
    named = parse_snapshot_id(snapshot_id)
    return Moment(_time(finished_at, named), _time(started_at, named), snapshot_id)


class LatestSearch:
    """A search for the newest of many snapshots that reads the manifests of a few.

    Ids are read from the newest one backwards, which ends where no earlier start can have a later end. What
    `latest` names is read as well: it was found when it was published, so that a run is not missed whose
    clock was put right by days while it ran.
    """

    def __init__(self, ids: Iterable[str], named: str | None, now: datetime) -> None:
        self._left = sorted(ids)
        while self._left and moment_of(self._left[-1]).is_ahead(now):
            self._left.pop()
        self._named = named
        self._now = now
        self._newest: tuple[Moment, SnapshotInfo | None] | None = None

    def next(self) -> list[str]:
        """Return the ids of the snapshots to read next, none where the newest is found."""
        if not self._left:
            return []
        known = parse_snapshot_id(self._left[-1]) if self._newest is None else self._newest[0].finished
        found = []
        while self._left and parse_snapshot_id(self._left[-1]) + _LONGEST_RUN >= known:
            found.append(self._left.pop())
        if self._named in self._left:
            self._left.remove(self._named)
            found.append(self._named)
        return found

    def take(self, snapshot_id: str, info: SnapshotInfo | None) -> None:
        """Take what was read of a snapshot, None where it can't be read."""
        moment = moment_of(snapshot_id) if info is None else info.moment
        if not moment.is_ahead(self._now) and (self._newest is None or moment > self._newest[0]):
            self._newest = (moment, info)

    @property
    def newest(self) -> str | None:
        """The id of the newest snapshot of those that were read, and that are not from the future."""
        return None if self._newest is None else self._newest[0].id

    @property
    def info(self) -> SnapshotInfo | None:
        """What the newest snapshot says of itself, None where there is none or it can't be read."""
        return None if self._newest is None else self._newest[1]


def _time(text: str, default: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return default
