from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Self

import pytest

import poolcensus.cli
from poolcensus.engine.failures import FailureTally
from poolcensus.model import (
    Account,
    Caller,
    Manifest,
    Outcome,
    Plan,
    PoolRecord,
    Progress,
    SkippedAccount,
    SnapshotStatus,
    Target,
    TargetResult,
    Totals,
)
from poolcensus.operations import WORKSPACES_POOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from poolcensus.config import Settings
    from poolcensus.snapshot import SnapshotInfo

TOTALS = Totals(
    targets=4, covered=4, pools=7, pages=3, requests=9, retries=1, throttles=1, assume_role_calls=2
)
MANIFEST = Manifest(
    schema_version=2,
    snapshot_id="20261123T020000Z-3f9a1c",
    status=SnapshotStatus.COMPLETE,
    started_at=datetime(2026, 11, 23, 2, tzinfo=UTC),
    finished_at=datetime(2026, 11, 23, 2, 1, 5, tzinfo=UTC),
    tool="poolcensus 0.1.0",
    caller=Caller("000000000001", "arn:aws:iam::000000000001:user/u", "aws"),
    organization_id="o-abc",
    operation=WORKSPACES_POOLS.info,
    request={},
    accounts_planned=2,
    accounts_skipped=(SkippedAccount("000000000009", "old", "SUSPENDED"),),
    totals=TOTALS,
    outcomes={Outcome.OK: 3, Outcome.EMPTY: 1},
    files=(),
)
PROGRESS = Progress(
    elapsed=12.3,
    listing=True,
    accounts=2,
    skipped=1,
    totals=TOTALS,
    done=3,
    uncovered=1,
    in_flight=5,
    slowest=((Target(Account("000000000001", "acct-0"), "eu-west-1"), 7.0),),
)
PLAN = Plan(
    caller=MANIFEST.caller,
    organization_id="o-abc",
    accounts=(Account("000000000001", "acct-0"),),
    skipped=MANIFEST.accounts_skipped,
    regions=("eu-west-1", "us-east-1"),
    targets=2,
    region_disabled=0,
    calls={"workspaces:DescribeWorkspacesPools": 2},
)


def result(
    account: int, region: str = "eu-west-1", outcome: Outcome = Outcome.OK, code: str | None = None
) -> TargetResult:
    return TargetResult(f"{account:012d}", f"acct-{account - 1}", region, outcome, error_code=code)


@dataclass
class FakeSnapshot:
    manifest: Manifest
    location: str = "snapshots/20261123T020000Z-3f9a1c"
    results: tuple[TargetResult, ...] = ()
    records: tuple[PoolRecord, ...] = ()

    def uncovered(self) -> Iterator[TargetResult]:
        return (each for each in self.results if not each.outcome.covered)

    def pools(self) -> Iterator[PoolRecord]:
        return iter(self.records)


@dataclass
class FakeLibrary:
    """Stands for poolcensus.census: what a run ends with, and what it was asked."""

    resumable: bool = False
    published: FakeSnapshot | None = None
    closed: tuple[TargetResult, ...] = ()
    before: SnapshotInfo | None = None

    snapshot: FakeSnapshot = field(default_factory=lambda: FakeSnapshot(MANIFEST))
    error: BaseException | None = None
    asked: list[Settings] = field(default_factory=list)

    def partial(self, *uncovered: TargetResult) -> None:
        manifest = replace(
            MANIFEST,
            status=SnapshotStatus.PARTIAL,
            totals=replace(TOTALS, covered=4 - len(uncovered)),
        )
        self.snapshot = FakeSnapshot(manifest, results=(result(1), *uncovered))


@pytest.fixture
def manifest() -> Manifest:
    return MANIFEST


@pytest.fixture
def progress() -> Progress:
    return PROGRESS


@pytest.fixture
def plan() -> Plan:
    return PLAN


@pytest.fixture(name="result")
def result_fixture() -> Callable[..., TargetResult]:
    return result


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    fake = FakeLibrary()

    class Census:
        def __init__(self, settings: Settings) -> None:
            fake.asked.append(settings)

        run_id = property(lambda _: fake.snapshot.manifest.snapshot_id)
        outcomes = property(lambda _: fake.snapshot.manifest.outcomes)
        resumable = property(lambda _: fake.resumable)
        closed = property(lambda _: fake.closed)
        failures = property(lambda _: FailureTally(WORKSPACES_POOLS, fake.snapshot.results).groups())
        published = property(lambda _: fake.published or (None if fake.error else fake.snapshot))
        before = property(lambda _: fake.before)
        outdated_gaps = ()

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            return None

        async def collect(self) -> FakeSnapshot:
            if fake.error is not None:
                raise fake.error
            return fake.snapshot

        async def plan(self) -> Plan:
            if fake.error is not None:
                raise fake.error
            return PLAN

        def progress(self) -> Progress:
            return PROGRESS

    module = ModuleType("poolcensus.census")
    module.Census = Census  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "poolcensus.census", module)
    return fake


@pytest.fixture(autouse=True)
def nothing_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No setting comes from whoever runs the tests, and no logging set-up outlives a test."""
    for variable in [*os.environ]:
        if variable.startswith("POOLCENSUS_"):
            monkeypatch.delenv(variable)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for variable in ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    source = Path(poolcensus.cli.__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(source))
    monkeypatch.chdir(home)
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
