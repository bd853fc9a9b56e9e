"""Snapshots: how they are written, published, read and verified.

This package exports what a census needs. Its other modules are imported by those who use them.
"""

from __future__ import annotations

from poolcensus.format.ids import new_snapshot_id
from poolcensus.snapshot.info import SnapshotInfo
from poolcensus.snapshot.inventory import list_snapshots
from poolcensus.snapshot.journal import JournalHeader
from poolcensus.snapshot.reader import Snapshot, long_targets
from poolcensus.snapshot.resume import Interrupted, interrupted_run
from poolcensus.snapshot.scope import Scope
from poolcensus.snapshot.unlock import unlock
from poolcensus.snapshot.writer import RunDescription, SnapshotWriter
from poolcensus.storage.holder import LockHolder

__all__ = [
    "Interrupted",
    "JournalHeader",
    "LockHolder",
    "RunDescription",
    "Scope",
    "Snapshot",
    "SnapshotInfo",
    "SnapshotWriter",
    "interrupted_run",
    "list_snapshots",
    "long_targets",
    "new_snapshot_id",
    "unlock",
]
