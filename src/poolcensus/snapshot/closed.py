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

# A week of nights in which a target failed, and the one before. Of an account that is new no snapshot knows
# anything, however many are read.
_MOST_SNAPSHOTS: Final = 8
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
        for snapshot in islice(earlier, _MOST_SNAPSHOTS):
            found += _last_seen(snapshot, closed, seen)
            if len(seen) == len(closed):
                break
    except DestinationError as error:
        _log.warning("Could not look for what accounts had before the service was closed to them: %s", error)
    return tuple(sorted(found, key=lambda each: (each.account_id, each.region)))


def _last_seen(snapshot: Snapshot, closed: TargetSet, seen: TargetSet) -> list[TargetResult]:
    """Return the lines with pools of targets that no later snapshot tells of, and note those it tells of."""
    found = []
    try:
        for each in snapshot.targets():
            target = (each.account_id, each.region)
            if each.outcome in _TELLING and closed.has(*target) and not seen.has(*target):
                seen.add(*target)
                if each.pools:
                    found.append(each)
    except SnapshotError as error:
        _log.warning("What accounts had before the service was closed to them may be incomplete: %s", error)
    return found
