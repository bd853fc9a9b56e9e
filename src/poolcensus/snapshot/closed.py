"""Targets that are `not_entitled`, and of which an earlier snapshot has pools.

A service that is closed to an account looks like one that the account does not use.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Final

import anyio

from poolcensus.errors import FatalError, SnapshotError
from poolcensus.loops import in_thread
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
# Eight ledgers of 100,000 targets come from a bucket in less. A disk that hangs holds up no publication.
_LONGEST_SEARCH: Final = 120.0
_NOT_FOUND: Final = "Could not look for what accounts had before the service was closed to them"
# Outcomes that say whether there were pools then, and whether somebody was told. Where a region was disabled
# there may have been some before.
_TELLING: Final = frozenset({Outcome.OK, Outcome.EMPTY, Outcome.NOT_ENTITLED})


async def find_closed(earlier: Iterable[Snapshot], closed: TargetSet) -> tuple[TargetResult, ...]:
    """Return what `closed_since` returns, from a thread; where that hangs, nothing, with a warning."""
    if not len(closed):
        return ()
    with anyio.move_on_after(_LONGEST_SEARCH):
        return await in_thread(closed_since, earlier, closed)
    _log.warning("%s: nothing after %g s", _NOT_FOUND, _LONGEST_SEARCH)
    return ()


def closed_since(earlier: Iterable[Snapshot], closed: TargetSet) -> tuple[TargetResult, ...]:
    """Return the ledger's lines of targets that are closed now and had pools when they were last seen.

    `earlier` are snapshots, the newest first, of which no more are read than are needed. One that can't be
    read is said in the log, and passed over. Blocks.
    """
    found: list[TargetResult] = []
    seen = TargetSet()
    try:
        knowing = 0
        for snapshot in islice(earlier, _MOST_READ):
            knowing += _look(snapshot, closed, seen, found)
            if len(seen) == len(closed) or knowing == _MOST_SNAPSHOTS:
                break
    except FatalError as error:
        # No bucket, or no credentials for it: what the run has seen is published all the same.
        _log.warning("%s: %s", _NOT_FOUND, error)
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
