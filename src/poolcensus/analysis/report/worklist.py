"""Lists the items that are left to deal with, each with when it was last seen and used."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.report.facts import WorkItem, Worklist
from poolcensus.analysis.report.values import as_text
from poolcensus.model import HIDING
from poolcensus.operations import value_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from poolcensus.analysis.report.activity import Key
    from poolcensus.analysis.report.history import Sighting, Walk
    from poolcensus.model import PoolRecord
    from poolcensus.operations import Facets

MOST_ROWS: Final = 20_000
"""How many rows are kept in memory. A page shows as many as fit into its size."""


def worklist(
    walk: Walk,
    missing: Mapping[Key, str],
    facets: Facets,
) -> Worklist:
    """Return the items of the newest snapshot, and those that are missing from it, with the reason.

    Each snapshot that has the newest record of an item is read once more. Blocks, and raises what
    `Snapshot.pools` raises.
    """
    left = {key: each for key, each in walk.sightings.items() if each.last == 0 or key in missing}
    chosen = {*nsmallest(MOST_ROWS, left)}
    rows: list[WorkItem] = []
    for number in sorted({left[key].last for key in chosen}):
        for record in walk.snapshots[number].pools():
            key = (record.account_id, record.region, _identity(walk, record))
            if key in chosen and left[key].last == number:
                chosen.remove(key)
                rows.append(_row(record, key, walk, missing.get(key), facets))
    rows.sort(key=lambda row: (row.account_id, row.region, row.id))
    counted = any(each.told for each in left.values())
    use_unknown = sum(1 for each in left.values() if not each.told)
    now = sum(1 for each in left.values() if each.used == 0)
    before = sum(1 for each in left.values() if each.used)
    return Worklist(
        rows=tuple(rows),
        total=len(left),
        missing=len(missing),
        hidden=sum(1 for reason in missing.values() if reason in HIDING),
        in_use=now if counted else None,
        used_before=before if counted else None,
        never_used=len(left) - now - before - use_unknown if counted else None,
        use_unknown=use_unknown,
    )


def _identity(walk: Walk, record: PoolRecord) -> str:
    return as_text(record.pool.get(walk.snapshots[0].schema.operation.identity))


def _row(
    record: PoolRecord,
    key: Key,
    walk: Walk,
    missing: str | None,
    facets: Facets,
) -> WorkItem:
    seen: Sighting = walk.sightings[key]
    return WorkItem(
        account_id=record.account_id,
        account_name=record.account_name,
        region=record.region,
        id=key[2],
        name=as_text(value_at(record.pool, facets.name)),
        state=as_text(value_at(record.pool, facets.state)),
        details=tuple(as_text(each.cell(record.pool)) for each in facets.details),
        in_use=seen.in_use,
        seen=seen.seen,
        told=seen.told,
        first_seen=_moment(walk, seen.first),
        last_seen=_moment(walk, seen.last),
        last_used=None if seen.used is None else _moment(walk, seen.used),
        missing=missing,
    )


def _moment(walk: Walk, number: int) -> datetime:
    return walk.points[number].info.started_at
