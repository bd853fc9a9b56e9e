"""Whether a snapshot was asked to cover something else than those before it at its destination."""

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

# Of more scopes than these that take turns, each is told of anew.
_MOST_LOOKED_AT: Final = 8


def scope_change(
    snapshot: Snapshot,
    before: SnapshotInfo | None,
    dest: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
) -> str | None:
    """Return a sentence where a snapshot at `dest` covers something else than the one `before` it, else None.

    None as well where one of the last eight was asked for the same: runs of several scopes that take turns
    at a destination are no news. `before` is that of a `Census` which has published, or one of
    `list_snapshots`. `settings` say how S3 is reached: see `Snapshot.open`. What can't be read counts for
    nothing. Blocks.
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
