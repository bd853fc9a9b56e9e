"""Snapshots: what they are written to, how they are published, read and verified.

What a census has no use for is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from poolcensus.snapshot.merging import merge
    from poolcensus.snapshot.pruning import Pruning, prune
    from poolcensus.snapshot.refused import RefusedRun, refused_run
    from poolcensus.snapshot.retention import Decision, Keep, Reason
    from poolcensus.snapshot.verification import Problem, ProblemKind, verify, verify_named

# None of the modules is called as what it has: Python would take the module for it.
_HOME_OF = {
    "merge": "merging",
    **dict.fromkeys(("Pruning", "prune"), "pruning"),
    **dict.fromkeys(("RefusedRun", "refused_run"), "refused"),
    **dict.fromkeys(("Decision", "Keep", "Reason"), "retention"),
    **dict.fromkeys(("Problem", "ProblemKind", "verify", "verify_named"), "verification"),
}

__all__ = [
    "Decision",
    "Interrupted",
    "JournalHeader",
    "Keep",
    "LockHolder",
    "Problem",
    "ProblemKind",
    "Pruning",
    "Reason",
    "RefusedRun",
    "RunDescription",
    "Scope",
    "Snapshot",
    "SnapshotInfo",
    "SnapshotWriter",
    "interrupted_run",
    "list_snapshots",
    "long_targets",
    "merge",
    "new_snapshot_id",
    "prune",
    "refused_run",
    "unlock",
    "verify",
    "verify_named",
]


# A type checker would take any name for one of the module.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value
