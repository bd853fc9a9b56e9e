"""Reads many snapshots, the newest first, and keeps a few values for each item."""

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
    """When an item was seen. Snapshots are numbered backwards from 0, the newest.

    `first` and `last` are the oldest and the newest snapshot that lists the item. `seen` is how many list it,
    and `told` is how many of these say how many sessions it had. `in_use` is the number in snapshot `last`,
    or None. `used` is the newest snapshot in which it had sessions, or None.
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
    """The result of a walk. The numbers in `sightings` are indices into `snapshots` and `points`."""

    snapshots: tuple[Snapshot, ...]
    points: tuple[TrendPoint, ...]
    sightings: dict[Key, Sighting]
    unread: tuple[UnreadSnapshot, ...]


def walk(snapshots: Sequence[Snapshot], facets: Facets) -> Walk:
    """Read the snapshots, which are given with the newest first. Blocks.

    Memory grows with the number of distinct items, and holds one snapshot's values at a time. A snapshot that
    can't be read to its end is left out, and is in `unread` of the result. If it is the newest one, this
    raises what `Snapshot.pools` raises.
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
