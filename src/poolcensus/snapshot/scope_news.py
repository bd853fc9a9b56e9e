"""Reports a snapshot whose scope differs from those before it at the destination."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from poolcensus.config import Settings
from poolcensus.errors import FatalError, SnapshotError
from poolcensus.snapshot.info import SnapshotInfo
from poolcensus.snapshot.inventory import list_snapshots
from poolcensus.snapshot.reader import Snapshot
from poolcensus.snapshot.scope import Scope

# Snapshots searched for the same scope. If more scopes alternate at a destination, each change is reported.
_MOST_LOOKED_AT: Final = 8


def scope_change(
    snapshot: Snapshot,
    before: SnapshotInfo | None,
    dest: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
) -> str | None:
    """Return a sentence if a snapshot at `dest` has another scope than the one `before` it, else None.

    Also return None if one of the last eight snapshots has the same scope, so that runs of several scopes can
    alternate at a destination. `before` is `Census.before`, or an entry of `list_snapshots`. Snapshots that
    can't be read are ignored. `settings` says how to access a bucket: see `Snapshot.open`. Blocks.
    """
    if before is None:
        return None
    scope = Scope.of(snapshot.manifest)
    change = scope.difference(before.scope)
    if change is None:
        return None
    with suppress(SnapshotError, FatalError):
        there = list_snapshots(dest, settings=settings)
        earlier = [each for each in there if each.moment < snapshot.info.moment][-_MOST_LOOKED_AT:]
        if any(each.scope == scope for each in earlier):
            return None
    return change
