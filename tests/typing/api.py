"""How the library is used, for mypy alone: nothing here runs.

What fails to check here fails in the code of everybody who uses the library with types.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import assert_never, assert_type

import poolcensus
from poolcensus import (
    Account,
    AccountChoiceError,
    Caller,
    CallError,
    Cause,
    Census,
    CensusError,
    Change,
    ChangeKind,
    Check,
    CheckStatus,
    ColumnType,
    Compression,
    CredentialsError,
    DamagedSnapshotError,
    DeadlineError,
    Decision,
    Denial,
    DestinationError,
    DestinationLockedError,
    DestinationRefusedError,
    Diff,
    Estimate,
    EstimateStep,
    Exported,
    FailedAccount,
    FailureGroup,
    FatalError,
    FileEntry,
    Finding,
    HubRoleError,
    IncomparableSnapshotsError,
    IncompleteError,
    InvalidSettingsError,
    Keep,
    KnownGap,
    LockHolder,
    Manifest,
    MergeError,
    MissingExtraError,
    Moment,
    NamedQuery,
    NotPublishedError,
    OperationInfo,
    OrganizationError,
    OrganizationInfo,
    Outcome,
    OutdatedGap,
    Page,
    Plan,
    PoolRecord,
    Problem,
    ProblemKind,
    Progress,
    Pruning,
    PublishingRule,
    QueryError,
    Reason,
    RefusedRun,
    Report,
    ResultColumn,
    Rows,
    Scope,
    ScopeError,
    SettingProblem,
    Settings,
    SettingsError,
    Shard,
    SkippedAccount,
    Snapshot,
    SnapshotError,
    SnapshotInfo,
    SnapshotStatus,
    Statistics,
    Stream,
    Target,
    TargetResult,
    Totals,
)

assert_type(poolcensus.__version__, str)


# Settings come from every source, or from one file, or from values.
settings = Settings.load()
assert_type(settings, Settings)
Settings.load("poolcensus.toml")
Settings.load(Path("poolcensus.toml"), concurrency=256, regions=("eu-*",), strict=True)
Settings()
assert_type(settings.dest, str)
assert_type(settings.accounts, tuple[str, ...])
assert_type(settings.concurrency, int)
assert_type(settings.deadline, float | None)


async def streams() -> None:
    async with Census(settings) as census:
        assert_type(census, Census)
        assert_type(census.pools(), Stream[PoolRecord])
        async for record in census.pools():
            assert_type(record, PoolRecord)
            # A field is any JSON value: the service decides what it sends.
            pool_id = record.pool["PoolId"]
            assert isinstance(pool_id, str)
            assert_type(record.account_name, str | None)
        async for page in census.pages():
            assert_type(page, Page)
            assert_type(page.target.account, Account)
            assert_type(page.number, int)
        async for event in census.events():
            match event:
                case Page():
                    assert_type(event.target, Target)
                case TargetResult():
                    assert_type(event.outcome, Outcome)
                    assert_type(event.outcome.covered, bool)
                case _:
                    assert_never(event)
        async for target in census.targets():
            assert_type(target, Target)
            assert_type(target.region, str)


async def leaving_early() -> None:
    async with Census(settings) as census, census.pools() as records:
        async for record in records:
            assert_type(record, PoolRecord)
            break
        await records.aclose()


async def collecting() -> None:
    async with Census(settings) as census:
        await census.collect()
        await census.collect(Path("snapshots"))
        snapshot = await census.collect("s3://audit-bucket/pools")
        assert_type(snapshot.id, str)
        assert_type(snapshot.manifest, Manifest)
        assert_type(snapshot.manifest.totals, Totals)
        assert_type(snapshot.manifest.caller, Caller)
        assert_type(snapshot.manifest.outcomes, dict[Outcome, int])
        assert_type(snapshot.manifest.status, SnapshotStatus)
        assert_type(snapshot.manifest.operation, OperationInfo)
        assert_type(snapshot.manifest.accounts_skipped, tuple[SkippedAccount, ...])
        assert_type(snapshot.manifest.files, tuple[FileEntry, ...])
        assert_type(snapshot.manifest.shard, Shard | None)
        assert_type(snapshot.manifest.organizations, tuple[OrganizationInfo, ...])
        assert_type(snapshot.pools_file, tuple[FileEntry, Compression])
        for result in snapshot.uncovered():
            assert_type(result, TargetResult)
        assert_type(snapshot, Snapshot)
        assert_type(snapshot.path, Path | None)
        assert_type(snapshot.location, str)


async def after_a_run() -> None:
    async with Census(settings) as census:
        assert_type(census.progress(), Progress)
        assert_type(census.outcomes, Mapping[Outcome, int])
        assert_type(census.uncovered, tuple[TargetResult, ...])
        for outdated in census.outdated_gaps:
            assert_type(outdated, OutdatedGap)
            assert_type(outdated.gap, KnownGap)
        assert_type(census.hidden, Mapping[Outcome, tuple[TargetResult, ...]])
        assert_type(census.resumable, bool)
        if census.published is not None:
            news = poolcensus.scope_change(census.published, census.before, "snapshots", settings=settings)
            assert_type(news, str | None)
        if census.before is not None:
            assert_type(census.before.id, str)
        if census.published is not None:
            assert_type(census.published.manifest, Manifest)
        for group in census.failures:
            assert_type(group, FailureGroup)
            assert_type(group.denial, Denial | None)
            assert_type(group.examples, tuple[FailedAccount, ...])


async def planning() -> None:
    async with Census(settings) as census:
        plan = await census.plan()
    assert_type(plan, Plan)
    assert_type(plan.accounts, tuple[Account, ...])
    assert_type(plan.calls, dict[str, int])
    assert_type(plan.services, dict[str, int])
    assert_type(plan.estimate, Estimate | None)
    assert_type(plan.estimate.steps if plan.estimate is not None else (), tuple[EstimateStep, ...])
    assert_type(poolcensus.write_account_list(plan, "accounts.json"), str)
    poolcensus.write_account_list(plan, Path("accounts.json"))


def reading() -> None:
    snapshot = Snapshot.open("latest", dest="snapshots")
    assert_type(snapshot, Snapshot)
    Snapshot.open(Path("snapshots/20261123T020000Z-3f9a1c"))
    assert_type(snapshot.pools(), Iterator[PoolRecord])
    assert_type(snapshot.targets(), Iterator[TargetResult])
    assert_type(snapshot.uncovered(), Iterator[TargetResult])
    for info in poolcensus.list_snapshots("s3://audit-bucket/pools", settings=settings):
        assert_type(info, SnapshotInfo)
        assert_type(info.id, str)
        assert_type(info.scope, Scope)
        assert_type(info.moment, Moment)
    refused = poolcensus.refused_run("snapshots")
    assert_type(refused, RefusedRun | None)
    if refused is not None:
        assert_type(refused.uncovered(), Iterator[TargetResult])
        assert_type(refused.rule, PublishingRule)
        assert_type(info.targets, int)
    problems = poolcensus.verify(snapshot)
    assert_type(problems, tuple[Problem, ...])
    for problem in problems:
        assert_type(problem.kind, ProblemKind)


def comparing() -> None:
    a, b = Snapshot.open("latest~1"), Snapshot.open("latest")
    differences = poolcensus.diff(a, b, ignore=("CapacityStatus", "State"))
    assert_type(differences, Diff)
    for change in differences:
        assert_type(change, Change)
        assert_type(change.kind, ChangeKind)
        assert_type(change.pool_id, str | None)
        for before, after in change.fields.values():
            assert before != after
    assert_type(differences.statistics, Statistics)
    assert_type(differences.statistics.added, int)
    assert_type(differences.warnings, tuple[str, ...])


def asking() -> None:
    with poolcensus.query("SELECT 1", "snapshots", ref=None, settings=settings) as rows:
        assert_type(rows, Rows)
        assert_type(rows.columns, tuple[ResultColumn, ...])
        assert_type(rows.columns[0].type, ColumnType)
        assert_type(rows.unreadable, Mapping[str, str])
        assert_type(rows.ahead, tuple[str, ...])
        for row in rows:
            assert_type(len(row), int)
    for each in poolcensus.named_queries():
        assert_type(each, NamedQuery)
        assert_type(poolcensus.query_named(each.name, Path("snapshots"), ref="latest~1"), Rows)
    done = poolcensus.export(Path("parquet"), "snapshots", ref="latest~1")
    assert_type(done, Exported)
    assert_type(done.files, tuple[Path, ...])
    assert_type(done.ahead, tuple[str, ...])


async def keeping_some() -> None:
    pruning = await poolcensus.prune("snapshots", Keep(last=7, daily=30, monthly=24), dry_run=True)
    assert_type(pruning, Pruning)
    for decision in pruning.decisions:
        assert_type(decision, Decision)
        assert_type(decision.keep, bool)
        assert_type(decision.reasons, tuple[Reason, ...])
        assert_type(decision.scope, Scope)
    holder = await poolcensus.unlock(Path("snapshots"))
    assert_type(holder, LockHolder | None)


async def joining_shards() -> None:
    merged = await poolcensus.merge(["shards/1", Path("shards/2")], "s3://bucket/nightly", settings=settings)
    assert_type(merged, Snapshot)


async def diagnosing() -> None:
    async with poolcensus.diagnose(settings, accounts=["000000000001"]) as findings:
        async for finding in findings:
            assert_type(finding, Finding)
            assert_type(finding.check, Check)
            assert_type(finding.status, CheckStatus)
            assert_type(finding.cause, Cause | None)
            assert_type(finding.is_problem, bool)
            assert_type(finding.remedy, str | None)


async def failing() -> None:
    try:
        async with Census(settings) as census:
            await census.collect()
    except NotPublishedError as error:
        assert_type(error.ledger, str | None)
        assert_type(error.uncovered, tuple[TargetResult, ...])
        assert_type(error.failures, tuple[FailureGroup, ...])
    except CallError as error:
        assert_type(error.code, str)
        assert_type(error.status, int | None)
    except HubRoleError as error:
        assert_type(error.role_arn, str)
    except DestinationRefusedError as error:
        assert_type(error.iam_actions, tuple[str, ...])
    except InvalidSettingsError as error:
        assert_type(error.problems, tuple[SettingProblem, ...])


# Who catches a family catches all of it.
fatal: tuple[type[FatalError], ...] = (
    ScopeError,
    SettingsError,
    InvalidSettingsError,
    CredentialsError,
    HubRoleError,
    OrganizationError,
    AccountChoiceError,
    DestinationError,
    DestinationRefusedError,
    DestinationLockedError,
    DeadlineError,
    MissingExtraError,
)
of_snapshots: tuple[type[SnapshotError], ...] = (
    DamagedSnapshotError,
    IncomparableSnapshotsError,
    MergeError,
)
all_of_them: tuple[type[CensusError], ...] = (
    FatalError,
    NotPublishedError,
    IncompleteError,
    QueryError,
    SnapshotError,
    CallError,
)


# What would be a mistake is one.
async def mistakes() -> None:
    settings.concurrency = 3  # type: ignore[misc] # settings don't change
    Keep(hourly=3)  # type: ignore[call-arg] # no such rule
    poolcensus.verify(1)  # type: ignore[arg-type] # a snapshot, or what names one
    _ = poolcensus.Setings  # type: ignore[attr-defined] # no such name
    async with Census("poolcensus.toml"):  # type: ignore[arg-type] # settings are loaded first
        pass
    for _ in Census(settings).pools():  # type: ignore[attr-defined] # `async for`
        pass


def reporting() -> None:
    try:
        made = poolcensus.report("latest", "s3://bucket/nightly", settings=settings)
    except MissingExtraError as error:
        assert_type(error, MissingExtraError)
        return
    assert_type(made, Report)
    assert_type(made.html, str)
    assert_type(made.unread, Mapping[str, str])
    made.write(Path("pools.html"), mode=0o640)
