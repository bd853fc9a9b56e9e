"""Targets that are `not_entitled`, and of which an earlier snapshot has pools.

A service that is closed to an account looks like one that the account does not use.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Final

from poolcensus.errors import DestinationError, SnapshotError
from poolcensus.model import Outcome
from poolcensus.snapshot.target_set import TargetSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.model import TargetResult
    from poolcensus.snapshot.reader import Snapshot

_log = logging.getLogger("poolcensus")

# A week of nights in which a target failed, and the one before, of snapshots that have one of the targets.
_MOST_SNAPSHOTS: Final = 8
# Of an account that is new no snapshot knows anything, however many are read. Ten shards a night are so many.
_MOST_READ: Final = 10 * _MOST_SNAPSHOTS
# Outcomes that say whether there were pools then, and whether somebody was told. Where a region was disabled
# there may have been some before.
_TELLING: Final = frozenset({Outcome.OK, Outcome.EMPTY, Outcome.NOT_ENTITLED})


def closed_since(earlier: Iterable[Snapshot], closed: TargetSet) -> tuple[TargetResult, ...]:
    """Return the ledger's lines of targets that are closed now and had pools when they were last seen.

    `earlier` are snapshots, the newest first, of which no more are read than are needed. One that can't be
    read is said in the log, and passed over. Blocks.
    """
    found: list[TargetResult] = []
    seen = TargetSet()
    if not len(closed):
        return ()
    try:
        knowing = 0
        for snapshot in islice(earlier, _MOST_READ):
            knowing += _look(snapshot, closed, seen, found)
            if len(seen) == len(closed) or knowing == _MOST_SNAPSHOTS:
                break
    except DestinationError as error:
        _log.warning("Could not look for what accounts had before the service was closed to them: %s", error)
    return tuple(sorted(found, key=lambda each: (each.account_id, each.region)))


def _look(snapshot: Snapshot, closed: TargetSet, seen: TargetSet, found: list[TargetResult]) -> bool:
    """Note which targets a snapshot tells of, and those that had pools. Return whether it has any of them."""
    # What was asked for some pools alone does not say that there were no others.
    request = snapshot.manifest.request
    telling = _TELLING - {Outcome.EMPTY} if request.get("pool_ids") or request.get("filters") else _TELLING
    knows = False
    try:
        for each in snapshot.targets():
            target = (each.account_id, each.region)
            if not closed.has(*target):
                continue
            knows = True
            if each.outcome in telling and not seen.has(*target):
                seen.add(*target)
                if each.pools:
                    found.append(each)
    except SnapshotError as error:
        _log.warning("What accounts had before the service was closed to them may be incomplete: %s", error)
    return knows
