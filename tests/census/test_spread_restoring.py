"""What an interrupted run has finished, put into a spread run before anything is sent to its workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import pytest

from poolcensus.aws.call import CallCounts
from poolcensus.census.spread import Spread, SpreadEngine
from poolcensus.config import load_settings
from poolcensus.model import Account, Outcome, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import SnapshotWriter
from snapshot.making import ID, POOLS, result
from snapshot.memory_draft import MemoryDraft

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from poolcensus.census.places import Places
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


async def test_no_more_is_restored_than_there_is_room_for_and_all_is_counted(tmp_path: Path) -> None:
    draft = MemoryDraft()
    draft.gate = anyio.Event()
    former = Former()
    opened = SimpleNamespace(
        name=None,
        has_own_access=False,
        regions=SimpleNamespace(regions=REGIONS),
        listing=Listing(),
        aws=SimpleNamespace(channel=SimpleNamespace(counts=CallCounts())),
    )
    async with SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=50_000) as writer:
        engine = SpreadEngine(
            cast("Opened", opened),
            writer,
            Spread(cast("Workers", None), cast("Places", None), ID, writer),
            load_settings(None, {"dest": str(tmp_path)}),
            operation=WORKSPACES_POOLS,
            former=former,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run)
            while not writer.full():
                await anyio.lowlevel.checkpoint()
            for _ in range(3 * TARGETS):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert former.restored < TARGETS / 4
        totals = engine.totals()
        # The account that is half restored is among them.
        assert totals.targets == 2 * (former.restored // 2 + 1)
        assert engine.outcomes[Outcome.EMPTY] == former.restored
        assert engine.outcomes.total() == totals.targets
