"""Snapshots: what they are written to, how they are published, read and verified."""

from __future__ import annotations

from poolcensus.format.ids import is_snapshot_id, new_snapshot_id, parse_snapshot_id
from poolcensus.snapshot.bucket import BucketStore
from poolcensus.snapshot.fetching import fetch, fetch_refused, list_bucket
from poolcensus.snapshot.folder import FolderStore
from poolcensus.snapshot.holder import LockHolder
from poolcensus.snapshot.journal import JournalHeader
from poolcensus.snapshot.prune import Pruning, prune
from poolcensus.snapshot.published import BucketSnapshot, StreamedSnapshot
from poolcensus.snapshot.reader import Inventory, Snapshot, SnapshotInfo, list_snapshots, long_targets
from poolcensus.snapshot.refused import RefusedRun, refused_run
from poolcensus.snapshot.resume import Interrupted
from poolcensus.snapshot.retention import Decision, Keep, Reason, decide
from poolcensus.snapshot.scope import Scope
from poolcensus.snapshot.store import Draft, DraftFile, Shelf, Store
from poolcensus.snapshot.stream import StreamStore
from poolcensus.snapshot.unlock import unlock
from poolcensus.snapshot.verify import Problem, ProblemKind, verify
from poolcensus.snapshot.writer import SnapshotWriter

__all__ = [
    "BucketSnapshot",
    "BucketStore",
    "Decision",
    "Draft",
    "DraftFile",
    "FolderStore",
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
    "Shelf",
    "Snapshot",
    "SnapshotInfo",
    "SnapshotWriter",
    "Store",
    "StreamStore",
    "StreamedSnapshot",
    "decide",
    "fetch",
    "fetch_refused",
    "is_snapshot_id",
    "list_bucket",
    "list_snapshots",
    "long_targets",
    "new_snapshot_id",
    "parse_snapshot_id",
    "prune",
    "refused_run",
    "unlock",
    "verify",
]
