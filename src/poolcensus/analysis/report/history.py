"""A walk over many snapshots, the newest first, that keeps a few values for each item."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.analysis.report.activity import ActivityReader
from poolcensus.analysis.report.facts import TrendPoint, UnreadSnapshot
from poolcensus.analysis.report.values import Sum
from poolcensus.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcensus.analysis.report.activity import Key
    from poolcensus.operations import Facets
    from poolcensus.snapshot import Snapshot


class Sighting:
    """An item in the snapshots that list it, each a number: 0 is the newest, and they count backwards.

    `used` is the newest in which it had sessions, None where none is; `told` counts those that say how many.
    """

    __slots__ = ("first", "in_use", "last", "seen", "told", "used")

    def __init__(self, number: int, in_use: int | None) -> None:
        self.last = number
        self.first = number
        self.seen = 0
        self.told = 0
        self.in_use = in_use
        self.used: int | None = None


class Walk(NamedTuple):
    """What a walk has found. The numbers in `sightings` are indices of `snapshots`."""

    snapshots: tuple[Snapshot, ...]
    points: tuple[TrendPoint, ...]
    sightings: dict[Key, Sighting]
    unread: tuple[UnreadSnapshot, ...]


def walk(snapshots: Sequence[Snapshot], facets: Facets) -> Walk:
    """Read the snapshots, the newest of which comes first. Blocks.

    Memory grows with the items, and with one snapshot. One that can't be read to its end counts for nothing
    and is named, unless it is the newest: that raises what `Snapshot.pools` does.
    """
    reader = ActivityReader(snapshots[0].schema, facets)
    read: list[Snapshot] = []
    points: list[TrendPoint] = []
    unread: list[UnreadSnapshot] = []
    sightings: dict[Key, Sighting] = {}
    for snapshot in snapshots:
        try:
            found = reader.read(snapshot)
        except SnapshotError as error:
            if not read:
                raise
            unread.append(UnreadSnapshot(snapshot.id, str(error)))
            continue
        number = len(read)
        total = Sum()
        for account_id, region, identity, in_use, capacity in found:
            total.add(in_use, capacity)
            key = (account_id, region, identity)
            sighting = sightings.get(key)
            if sighting is None:
                sighting = sightings[key] = Sighting(number, in_use)
            sighting.first = number
            sighting.seen += 1
            sighting.told += in_use is not None
            if in_use and sighting.used is None:
                sighting.used = number
        read.append(snapshot)
        points.append(TrendPoint(snapshot.info, total.use()))
    return Walk(tuple(read), tuple(points), sightings, tuple(unread))
