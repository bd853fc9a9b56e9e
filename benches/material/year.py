"""Write daily snapshots of the simulator's pools for `benches/report.py`.

Every account has a pool in each of the first five regions, and is asked in all regions. Each pool is used in
a rhythm of its own, some never, and every tenth snapshot is partial. The first days and the last two are
written. The files of the other days are hard links to them.

    python benches/material/year.py DEST DAYS ACCOUNTS POOLS_A_TARGET none|gzip|zstd
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from poolcensus.model import Account, Caller, Compression, Outcome, Page, Target, TargetResult, Totals
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.simulator.world import World, WorldConfig
from poolcensus.snapshot import RunDescription, SnapshotWriter
from poolcensus.storage.local.store import FolderStore

if TYPE_CHECKING:
    from poolcensus.simulator.pools import PoolPress

FIRST = datetime(2025, 11, 24, 2, tzinfo=UTC)
# The regions of the simulator's world. Those at the beginning have pools.
REGIONS = (
    "eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-south-1", "ap-northeast-1", "ap-northeast-2",
    "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-west-2", "eu-west-3", "sa-east-1", "il-central-1",
    "af-south-1",
)  # fmt: skip
WITH_POOLS = 5
# The first days, which are written. The others repeat them.
WRITTEN = 10
CALLER = Caller("000000000001", "arn:aws:iam::000000000001:user/u", "aws")


def id_of(day: int) -> str:
    """Return the ID of the snapshot of a day."""
    return f"{FIRST + timedelta(days=day):%Y%m%dT%H%M%SZ}-{day:06x}"


def pools_of(press: PoolPress, account: int, region: str, count: int, day: int) -> tuple[dict[str, Any], ...]:
    """Return the pools of a target on a day."""
    found = orjson.loads(b"[%b]" % press.slice(account, region, 0, count))
    for number, pool in enumerate(found, account):
        WORKSPACES_POOLS.normalize(pool)
        capacity = pool["CapacityStatus"]
        rhythm = number % 7
        capacity["ActiveUserSessions"] = rhythm if rhythm and day % rhythm == 0 else 0
        capacity["ActualUserSessions"] = max(capacity["ActualUserSessions"], capacity["ActiveUserSessions"])
    return tuple(found)


async def write(dest: Path, day: int, accounts: int, pools: int, compression: Compression) -> None:
    """Write the snapshot of a day."""
    press = World(WorldConfig(accounts=accounts, regions=REGIONS, pools_per_target=pools)).press
    moment = FIRST + timedelta(days=day)
    async with (
        FolderStore(dest) as store,
        SnapshotWriter(
            await store.draft(id_of(day)),
            partition="aws",
            operation=WORKSPACES_POOLS.info,
            compression=compression,
        ) as writer,
    ):
        for number in range(accounts):
            place = f"o-exampleorgid/r-ab12/ou-ab12-{number % 12:08}/{number + 1:012}/"
            account = Account(f"{number + 1:012}", f"acct-{number}", place)
            is_refused = day % 10 == 9 and number % 50 == 7
            for at, region in enumerate(REGIONS):
                target, outcome, count = Target(account, region), Outcome.EMPTY, 0
                if is_refused:
                    outcome = Outcome.ACCESS_DENIED
                elif at < WITH_POOLS:
                    outcome, count = Outcome.OK, pools
                    await writer.room()
                    writer.page(Page(target, 1, moment, pools_of(press, number, region, pools, day)))
                writer.done(
                    TargetResult(account.id, account.name, region, outcome, count, 1, ou_path=place), target
                )
        await writer.publish(
            RunDescription(
                started_at=moment,
                finished_at=moment + timedelta(minutes=10),
                tool="bench",
                caller=CALLER,
                organization_id="o-exampleorgid",
                request={},
                accounts_planned=accounts,
                accounts_skipped=(),
                totals=Totals(),
            ),
        )


def repeat(dest: Path, day: int, written: int) -> None:
    """Make the snapshot of a day from the files of another day, with a manifest of its own."""
    there, here = dest / id_of(written), dest / id_of(day)
    here.mkdir()
    for path in there.iterdir():
        if path.name != "manifest.json":
            os.link(path, here / path.name)
    moment = FIRST + timedelta(days=day)
    manifest = orjson.loads((there / "manifest.json").read_bytes())
    manifest |= {
        "snapshot_id": id_of(day),
        "started_at": moment.isoformat(),
        "finished_at": (moment + timedelta(minutes=10)).isoformat(),
    }
    (here / "manifest.json").write_bytes(orjson.dumps(manifest))


def main() -> None:
    """Write the snapshots of all days."""
    place, days, accounts, pools, compression = sys.argv[1:]
    dest = Path(place)
    shutil.rmtree(dest, ignore_errors=True)
    last = int(days) - 1
    written = sorted({*range(min(WRITTEN, int(days))), max(last - 1, 0), last})
    for day in written:
        asyncio.run(write(dest, day, int(accounts), int(pools), Compression(compression)))
    for day in {*range(int(days))} - {*written}:
        repeat(dest, day, day % WRITTEN)


if __name__ == "__main__":
    main()
