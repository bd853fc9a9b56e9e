"""A census of Amazon WorkSpaces Pools over every account and region of an AWS Organization.

Public names are imported when they are first used: importing `poolcensus` does not import the AWS SDK.

The README beside this file describes the layers of the package. import-linter enforces them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from poolcensus.version import __version__

if TYPE_CHECKING:
    from poolcensus.analysis.changes import Change, ChangeKind, Statistics

    # Imported from their modules, which have the same names: mypy would take `analysis.diff` for the module.
    from poolcensus.analysis.diff import Diff, diff
    from poolcensus.analysis.export import Exported, export
    from poolcensus.analysis.named import NamedQuery, named_queries
    from poolcensus.analysis.query import Rows, query, query_named
    from poolcensus.analysis.report import Report, report
    from poolcensus.analysis.result_values import ResultColumn
    from poolcensus.census import Census
    from poolcensus.config import InvalidSettingsError, SettingProblem, Settings
    from poolcensus.doctor import Cause, Check, CheckStatus, Finding, diagnose
    from poolcensus.errors import (
        AccountChoiceError,
        CallError,
        CensusError,
        CredentialsError,
        DamagedSnapshotError,
        DeadlineError,
        DestinationError,
        DestinationLockedError,
        DestinationRefusedError,
        FatalError,
        HubRoleError,
        IncomparableSnapshotsError,
        IncompleteError,
        MergeError,
        MissingExtraError,
        NotPublishedError,
        OrganizationError,
        QueryError,
        ScopeError,
        SettingsError,
        SnapshotError,
    )
    from poolcensus.model import (
        Account,
        Caller,
        ColumnType,
        Compression,
        Denial,
        FailedAccount,
        FailureGroup,
        FileEntry,
        KnownGap,
        Manifest,
        OperationInfo,
        OrganizationInfo,
        Outcome,
        OutdatedGap,
        Page,
        PoolRecord,
        Progress,
        PublishingRule,
        Shard,
        SkippedAccount,
        SnapshotStatus,
        Target,
        TargetResult,
        Totals,
    )
    from poolcensus.planned import Estimate, EstimateStep, Plan
    from poolcensus.scope.account_list_writing import write_account_list
    from poolcensus.snapshot import LockHolder, Scope, Snapshot, SnapshotInfo, list_snapshots

    # Imported from their modules for the same reason.
    from poolcensus.snapshot.merging import merge
    from poolcensus.snapshot.order import Moment
    from poolcensus.snapshot.pruning import Pruning, prune
    from poolcensus.snapshot.refused import RefusedRun, refused_run
    from poolcensus.snapshot.retention import Decision, Keep, Reason
    from poolcensus.snapshot.scope_news import scope_change
    from poolcensus.snapshot.unlock import unlock
    from poolcensus.snapshot.verification import Problem, ProblemKind, verify
    from poolcensus.streams import Stream

_HOMES = {
    "poolcensus.analysis.changes": ("Change", "ChangeKind", "Statistics"),
    "poolcensus.analysis.diff": ("Diff", "diff"),
    "poolcensus.analysis.export": ("Exported", "export"),
    "poolcensus.analysis.named": ("NamedQuery", "named_queries"),
    "poolcensus.analysis.query": ("Rows", "query", "query_named"),
    "poolcensus.analysis.report": ("Report", "report"),
    "poolcensus.analysis.result_values": ("ResultColumn",),
    "poolcensus.census": ("Census",),
    "poolcensus.doctor": ("Cause", "Check", "CheckStatus", "Finding", "diagnose"),
    "poolcensus.errors": (
        "AccountChoiceError",
        "CallError",
        "CensusError",
        "CredentialsError",
        "DamagedSnapshotError",
        "DeadlineError",
        "DestinationError",
        "DestinationLockedError",
        "DestinationRefusedError",
        "FatalError",
        "HubRoleError",
        "IncomparableSnapshotsError",
        "IncompleteError",
        "MergeError",
        "MissingExtraError",
        "NotPublishedError",
        "OrganizationError",
        "QueryError",
        "ScopeError",
        "SettingsError",
        "SnapshotError",
    ),
    "poolcensus.model": (
        "Account",
        "Caller",
        "ColumnType",
        "Compression",
        "Denial",
        "FailedAccount",
        "FailureGroup",
        "FileEntry",
        "KnownGap",
        "Manifest",
        "OperationInfo",
        "OrganizationInfo",
        "Outcome",
        "OutdatedGap",
        "Page",
        "PoolRecord",
        "Progress",
        "PublishingRule",
        "Shard",
        "SkippedAccount",
        "SnapshotStatus",
        "Target",
        "TargetResult",
        "Totals",
    ),
    "poolcensus.planned": ("Estimate", "EstimateStep", "Plan"),
    "poolcensus.config": ("InvalidSettingsError", "SettingProblem", "Settings"),
    "poolcensus.scope.account_list_writing": ("write_account_list",),
    "poolcensus.snapshot": (
        "LockHolder",
        "Scope",
        "Snapshot",
        "SnapshotInfo",
        "list_snapshots",
        "unlock",
    ),
    "poolcensus.snapshot.merging": ("merge",),
    "poolcensus.snapshot.order": ("Moment",),
    "poolcensus.snapshot.pruning": ("Pruning", "prune"),
    "poolcensus.snapshot.refused": ("RefusedRun", "refused_run"),
    "poolcensus.snapshot.retention": ("Decision", "Keep", "Reason"),
    "poolcensus.snapshot.scope_news": ("scope_change",),
    "poolcensus.snapshot.verification": ("Problem", "ProblemKind", "verify"),
    "poolcensus.streams": ("Stream",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Account",
    "AccountChoiceError",
    "CallError",
    "Caller",
    "Cause",
    "Census",
    "CensusError",
    "Change",
    "ChangeKind",
    "Check",
    "CheckStatus",
    "ColumnType",
    "Compression",
    "CredentialsError",
    "DamagedSnapshotError",
    "DeadlineError",
    "Decision",
    "Denial",
    "DestinationError",
    "DestinationLockedError",
    "DestinationRefusedError",
    "Diff",
    "Estimate",
    "EstimateStep",
    "Exported",
    "FailedAccount",
    "FailureGroup",
    "FatalError",
    "FileEntry",
    "Finding",
    "HubRoleError",
    "IncomparableSnapshotsError",
    "IncompleteError",
    "InvalidSettingsError",
    "Keep",
    "KnownGap",
    "LockHolder",
    "Manifest",
    "MergeError",
    "MissingExtraError",
    "Moment",
    "NamedQuery",
    "NotPublishedError",
    "OperationInfo",
    "OrganizationError",
    "OrganizationInfo",
    "Outcome",
    "OutdatedGap",
    "Page",
    "Plan",
    "PoolRecord",
    "Problem",
    "ProblemKind",
    "Progress",
    "Pruning",
    "PublishingRule",
    "QueryError",
    "Reason",
    "RefusedRun",
    "Report",
    "ResultColumn",
    "Rows",
    "Scope",
    "ScopeError",
    "SettingProblem",
    "Settings",
    "SettingsError",
    "Shard",
    "SkippedAccount",
    "Snapshot",
    "SnapshotError",
    "SnapshotInfo",
    "SnapshotStatus",
    "Statistics",
    "Stream",
    "Target",
    "TargetResult",
    "Totals",
    "__version__",
    "diagnose",
    "diff",
    "export",
    "list_snapshots",
    "merge",
    "named_queries",
    "prune",
    "query",
    "query_named",
    "refused_run",
    "report",
    "scope_change",
    "unlock",
    "verify",
    "write_account_list",
]


# With `__getattr__`, a type checker would accept any name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
