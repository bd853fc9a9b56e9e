"""Small snapshots for the tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from poolcensus.format.times import utc_now
from poolcensus.model import (
    Account,
    Caller,
    Compression,
    Manifest,
    Outcome,
    Page,
    SkippedAccount,
    Target,
    TargetResult,
    Totals,
)
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import RunDescription, Snapshot, SnapshotWriter
from poolcensus.snapshot.info import info_or_none
from poolcensus.snapshot.latest import LatestAfter
from poolcensus.storage.local.store import FolderStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from poolcensus.model import JsonObject, KnownGap, PublishingRule, Shard
    from poolcensus.storage.base import Draft

POOLS = WORKSPACES_POOLS.info
ID = "20261123T020000Z-3f9a1c"
LATER_ID = "20261124T020000Z-000000"
STARTED = datetime(2026, 11, 23, 2, tzinfo=UTC)
FINISHED = STARTED + timedelta(seconds=4)
RECEIVED = STARTED + timedelta(seconds=3, milliseconds=123)
CALLER = Caller("000000000001", "arn:aws:sts::000000000001:assumed-role/census/run", "aws")


NOTHING_SPECIAL: JsonObject = {"pool_ids": [], "filters": []}


def target(account: int = 1, region: str = "us-east-1") -> Target:
    return Target(Account(f"{account:012}", f"acct-{account}"), region)


def pool(pool_id: str, padding: int = 0) -> JsonObject:
    return {"PoolId": pool_id, "State": "RUNNING", "Description": "x" * padding}


def page(of: Target, *pools: JsonObject, number: int = 1) -> Page:
    return Page(of, number, RECEIVED, pools)


def result(of: Target, outcome: Outcome = Outcome.OK, pools: int = 0, pages: int = 1) -> TargetResult:
    return TargetResult(
        account_id=of.account.id,
        account_name=of.account.name,
        region=of.region,
        outcome=outcome,
        pools=pools,
        pages=pages,
        attempts=pages,
        seconds=0.2124,
        operation=POOLS.name,
    )


def ago(hours: float, tail: str = "000000") -> str:
    """The id of a run that started so many hours ago."""
    return f"{datetime.now(UTC) - timedelta(hours=hours):%Y%m%dT%H%M%SZ}-{tail}"


def clock(hours: float) -> datetime:
    """The time so many hours ago."""
    return utc_now() - timedelta(hours=hours)


async def publish(
    writer: SnapshotWriter,
    *,
    planned: int | None = None,
    started_at: datetime = STARTED,
    finished_at: datetime = FINISHED,
    request: JsonObject = NOTHING_SPECIAL,
    shard: Shard | None = None,
    refused_by: PublishingRule | None = None,
    known_gaps: tuple[KnownGap, ...] = (),
    accounts: int = 2,
) -> Manifest:
    return await writer.publish(
        RunDescription(
            started_at=started_at,
            finished_at=finished_at,
            tool="poolcensus test",
            caller=CALLER,
            organization_id="o-exampleorgid",
            request=request,
            accounts_planned=accounts,
            accounts_skipped=(SkippedAccount("000000000009", None, "SUSPENDED"),),
            totals=Totals(requests=40, retries=2, throttles=1, assume_role_calls=3),
            shard=shard,
            known_gaps=known_gaps,
        ),
        planned=planned,
        refused_by=refused_by,
    )


SOME: Mapping[Target, Sequence[str] | Outcome] = {
    target(1): ["wspool-000000001", "wspool-000000002"],
    target(1, "eu-west-1"): Outcome.EMPTY,
    target(2): ["wspool-000000001"],
}


async def fill(writer: SnapshotWriter, content: Mapping[Target, Sequence[str] | Outcome]) -> None:
    """Pools in pages of two for the targets that list them, else the outcome."""
    for each, has in content.items():
        if isinstance(has, Outcome):
            writer.done(result(each, has), each)
            continue
        pages = [has[start : start + 2] for start in range(0, len(has), 2)]
        for number, ids in enumerate(pages, 1):
            writer.page(page(each, *map(pool, ids), number=number))
        writer.done(result(each, pools=len(has), pages=len(pages)), each)


async def commit(draft: Draft, manifest: bytes) -> None:
    """Commit a draft with a manifest as the writer would, whatever is in it."""
    await draft.commit(manifest, LatestAfter(draft.snapshot_id, info_or_none(manifest, draft.snapshot_id)))


def folder_of(snapshot: Snapshot) -> Path:
    """The folder of a snapshot that is in one."""
    assert snapshot.path is not None
    return snapshot.path


async def make(
    dest: Path,
    snapshot_id: str = ID,
    content: Mapping[Target, Sequence[str] | Outcome] = SOME,
    compression: Compression = Compression.NONE,
) -> Snapshot:
    async with (
        FolderStore(dest) as store,
        SnapshotWriter(
            await store.draft(snapshot_id),
            partition="aws",
            operation=POOLS,
            compression=compression,
        ) as writer,
    ):
        await fill(writer, content)
        await publish(writer, accounts=len({each.account for each in content}))
    return Snapshot.open(dest / snapshot_id)
