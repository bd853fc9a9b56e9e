"""Snapshots: what they are written to, how they are published, read and verified."""

from __future__ import annotations

from poolcensus.format.ids import is_snapshot_id, new_snapshot_id, parse_snapshot_id
from poolcensus.snapshot.info import SnapshotInfo
from poolcensus.snapshot.inventory import Inventory, list_snapshots, take_inventory
from poolcensus.snapshot.journal import JournalHeader
from poolcensus.snapshot.merge import merge
from poolcensus.snapshot.prune import Pruning, prune
from poolcensus.snapshot.reader import Snapshot, long_targets
from poolcensus.snapshot.refused import RefusedRun, refused_run
from poolcensus.snapshot.resume import Interrupted, interrupted_run
from poolcensus.snapshot.retention import Decision, Keep, Reason, decide
from poolcensus.snapshot.scope import Scope
from poolcensus.snapshot.unlock import unlock
from poolcensus.snapshot.verify import Problem, ProblemKind, verify
from poolcensus.snapshot.writer import SnapshotWriter
from poolcensus.storage.holder import LockHolder

__all__ = [
    "Decision",
    "Interrupted",
    "Inventory",
    "JournalHeader",
    "Keep",
    "LockHolder",
    "Problem",
    "ProblemKind",
    "Pruning",
    "Reason",
    "RefusedRun",
    "Scope",
    "Snapshot",
    "SnapshotInfo",
    "SnapshotWriter",
    "decide",
    "interrupted_run",
    "is_snapshot_id",
    "list_snapshots",
    "long_targets",
    "merge",
    "new_snapshot_id",
    "parse_snapshot_id",
    "prune",
    "refused_run",
    "take_inventory",
    "unlock",
    "verify",
]
