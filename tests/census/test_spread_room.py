"""What a spread run puts into its snapshot itself, where the destination is slower."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import pytest

from poolcensus.aws.call import CallCounts
from poolcensus.census.spread import Spread, SpreadEngine
from poolcensus.config import load_settings
from poolcensus.engine.deadlines import Deadline
from poolcensus.flow.breaker import Work
from poolcensus.model import Account, Outcome, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.regions import RegionChoice
from poolcensus.snapshot import SnapshotWriter
from snapshot.making import ID, POOLS, result
from snapshot.memory_draft import MemoryDraft

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from poolcensus.census.worker_slots import WorkerSlots
    from poolcensus.model import Target
    from poolcensus.scope.opening import Opened
    from poolcensus.workers import Workers

pytestmark = pytest.mark.usefixtures("no_task_left")

REGIONS = ("us-east-1", "eu-west-1")
ACCOUNTS = tuple(Account(f"{number:012}") for number in range(1, 1001))
TARGETS = len(ACCOUNTS) * len(REGIONS)


class Listing:
    """All accounts at once."""

    skipped = ()

    async def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        yield ACCOUNTS


class Former:
    """A run that has finished everything, with nothing to be seen."""

    def __init__(self) -> None:
        self.restored = 0

    def has(self, target: Target) -> bool:
        return True

    async def restore(self, target: Target) -> TargetResult | None:
        await anyio.lowlevel.checkpoint()
        self.restored += 1
        return result(target, Outcome.EMPTY)


def engine_of(
    writer: SnapshotWriter, dest: Path, former: Former | None = None, **given: object
) -> SpreadEngine:
    opened = SimpleNamespace(
        name=None,
        has_own_access=False,
        regions=RegionChoice(REGIONS, ()),
        listing=Listing(),
        aws=SimpleNamespace(client=SimpleNamespace(counts=CallCounts(), work=Work())),
    )
    settings = load_settings(None, {"dest": str(dest), **given})
    return SpreadEngine(
        cast("Opened", opened),
        writer,
        Spread(cast("Workers", None), cast("WorkerSlots", None), ID, writer),
        settings,
        operation=WORKSPACES_POOLS,
        deadline=Deadline.after(settings.deadline),
        former=former,
    )


@asynccontextmanager
async def full_writer() -> AsyncIterator[SnapshotWriter]:
    """Of a snapshot whose device takes nothing."""
    draft = MemoryDraft()
    draft.gate = anyio.Event()
    async with SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=50_000) as writer:
        yield writer


async def run_until_full(engine: SpreadEngine, writer: SnapshotWriter) -> None:
    """Let it go on for a while even then, and cancel it."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.run)
        with anyio.fail_after(20):
            while not writer.full():
                await anyio.lowlevel.checkpoint()
        for _ in range(3 * TARGETS):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()


async def test_no_more_is_restored_than_there_is_room_for(tmp_path: Path) -> None:
    former = Former()
    async with full_writer() as writer:
        engine = engine_of(writer, tmp_path, former)
        await run_until_full(engine, writer)
    assert former.restored < TARGETS / 4
    # The account that is half restored is among them.
    assert engine.counts.totals().targets == 2 * (former.restored // 2 + 1)
    assert engine.counts.outcomes[Outcome.EMPTY] == former.restored
    assert engine.counts.outcomes.total() == engine.counts.totals().targets


async def test_no_more_is_ended_at_the_deadline_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[Target] = []
    async with full_writer() as writer:
        done = writer.done

        def noted(result: TargetResult, target: Target) -> None:
            put.append(target)
            done(result, target)

        monkeypatch.setattr(writer, "done", noted)
        # No batch is sent that could not be back in time.
        engine = engine_of(writer, tmp_path, deadline=0.1)
        await run_until_full(engine, writer)
    assert len(put) < TARGETS / 4
    assert engine.counts.outcomes == {Outcome.CANCELLED: TARGETS}
