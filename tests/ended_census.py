"""A fake census that has ended, for tests of what commands print and write about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from poolcensus.cli.metrics import write_metrics
from poolcensus.model import (
    Account,
    Caller,
    Manifest,
    Outcome,
    PoolRecord,
    Progress,
    SkippedAccount,
    SnapshotStatus,
    Target,
    TargetResult,
    Totals,
)
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.planned import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """A fake of poolcensus.census: the results of a run, and the settings that it was given."""

    resumable: bool = False
    published: FakeSnapshot | None = None
    hidden: dict[Outcome, tuple[TargetResult, ...]] = field(default_factory=dict)
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


def metric_names() -> frozenset[str]:
    """Return the names of the metrics in a file that a run has written."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "poolcensus.prom")
        write_metrics(file, exit_code=0, progress=PROGRESS, manifest=MANIFEST)
        return frozenset(re.findall(r"^poolcensus_\w+", file.read_text(encoding="utf-8"), re.MULTILINE))
