"""Targets that are `not_entitled`, and of which an earlier snapshot has pools.

A service that is closed to an account looks like one that the account does not use.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from poolcensus.errors import DestinationError, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.model import TargetResult
    from poolcensus.snapshot.reader import Snapshot
    from poolcensus.snapshot.target_set import TargetSet

_log = logging.getLogger("poolcensus")


def closed_since(open_newest: Callable[[], Snapshot], closed: TargetSet) -> tuple[TargetResult, ...]:
    """Return the newest ledger's lines of targets that are closed now and had pools. Blocks.

    None of them where that snapshot can't be read, which is said in the log.
    """
    if not len(closed):
        return ()
    try:
        return tuple(each for each in open_newest().with_pools() if closed.has(each.account_id, each.region))
    except (SnapshotError, DestinationError) as error:
        _log.info("what accounts had before the service was closed to them is not known: %s", error)
        return ()
