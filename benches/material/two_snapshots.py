"""Write two snapshots of the simulator's pools, a day apart, for `benches/diff.py` and others.

On the second day half of the pools have other sessions, one in a hundred is in another state, one in two
hundred is gone, and as many are new.

    python benches/material/two_snapshots.py DEST POOLS POOLS_A_TARGET none|gzip|zstd
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from poolcensus.format.ids import parse_snapshot_id
from poolcensus.model import Account, Caller, Compression, Outcome, Page, Target, TargetResult, Totals
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.simulator.world import World, WorldConfig
from poolcensus.snapshot import RunDescription, SnapshotWriter
from poolcensus.storage.local.store import FolderStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.simulator.pools import PoolPress

IDS = ("20261123T020000Z-000000", "20261124T020000Z-000000")
REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2")
PAGE = 25
CALLER = Caller("000000000001", "arn:aws:iam::000000000001:user/u", "aws")


def pools_of(press: PoolPress, account: int, region: str, pages: int, day: int) -> Iterator[tuple[Any, ...]]:
    """Yield the pages of a target on a day."""
    for page in range(pages):
        found = orjson.loads(b"[%b]" % press.slice(account, region, page * PAGE, PAGE))
        for number, pool in enumerate(found, account * 7 + page * PAGE):
            WORKSPACES_POOLS.normalize(pool)
            if day:
                next_day(pool, number)
        yield tuple(pool for pool in found if pool)


def next_day(pool: dict[str, Any], number: int) -> None:
    """Change a pool for the second day. A pool that is gone becomes empty."""
    if number % 200 == 0:
        pool.clear()
        return
    if number % 200 == 1:
        pool["PoolId"] = f"wspool-z{number:08}"
    if number % 100 == 2:
        pool["State"] = "STOPPING"
    if number % 2:
        pool["CapacityStatus"]["ActiveUserSessions"] += 1


async def write(dest: Path, day: int, pools: int, per_target: int, compression: Compression) -> None:
    """Write the snapshot of a day."""
    started = parse_snapshot_id(IDS[day])
    accounts = max(1, pools // per_target // len(REGIONS))
    regions = REGIONS if pools > per_target else REGIONS[:1]
    press = World(WorldConfig(accounts=accounts, regions=regions, pools_per_target=per_target)).press
    async with (
        FolderStore(dest) as store,
        SnapshotWriter(
            await store.draft(IDS[day]),
            partition="aws",
            operation=WORKSPACES_POOLS.info,
            compression=compression,
        ) as writer,
    ):
        for number in range(accounts):
            account = Account(f"{number + 1:012}", f"acct-{number}")
            for region in regions:
                target, found, pages = Target(account, region), 0, 0
                for page in pools_of(press, number, region, per_target // PAGE, day):
                    await writer.room()
                    writer.page(Page(target, pages + 1, started + timedelta(seconds=3), page))
                    found, pages = found + len(page), pages + 1
                result = TargetResult(account.id, account.name, region, Outcome.OK, found, pages)
                writer.done(result, target)
        await writer.publish(
            RunDescription(
                started_at=started,
                finished_at=started + timedelta(minutes=10),
                tool="bench",
                caller=CALLER,
                organization_id="o-exampleorgid",
                request={},
                accounts_planned=accounts,
                accounts_skipped=(),
                totals=Totals(),
            ),
        )


def main() -> None:
    """Write both snapshots."""
    dest, pools, per_target, compression = sys.argv[1:]
    for day in range(2):
        asyncio.run(write(Path(dest), day, int(pools), int(per_target), Compression(compression)))


if __name__ == "__main__":
    main()
