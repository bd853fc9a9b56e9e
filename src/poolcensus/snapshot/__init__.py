"""Snapshots: what they are written to, how they are published, read and verified."""

from __future__ import annotations

from poolcensus.snapshot.bucket import BucketSnapshot, BucketStore
from poolcensus.snapshot.fetching import fetch, list_bucket
from poolcensus.snapshot.folder import FolderStore
from poolcensus.snapshot.ids import is_snapshot_id, new_snapshot_id, parse_snapshot_id
from poolcensus.snapshot.reader import Snapshot, SnapshotInfo, list_snapshots
from poolcensus.snapshot.store import Draft, DraftFile, Store
from poolcensus.snapshot.stream import StreamedSnapshot, StreamStore
from poolcensus.snapshot.verify import Problem, verify
from poolcensus.snapshot.writer import SnapshotWriter

__all__ = [
    "BucketSnapshot",
    "BucketStore",
    "Draft",
    "DraftFile",
    "FolderStore",
    "Problem",
    "Snapshot",
    "SnapshotInfo",
    "SnapshotWriter",
    "Store",
    "StreamStore",
    "StreamedSnapshot",
    "fetch",
    "is_snapshot_id",
    "list_bucket",
    "list_snapshots",
    "new_snapshot_id",
    "parse_snapshot_id",
    "verify",
]
