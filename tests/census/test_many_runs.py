"""Many runs in one process: nothing adds up."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import poolcensus
from census_lab import FEW_REGIONS
from descriptors import descriptors
from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.config import Settings


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds between two runs. `blocks` are Python's, of any kind of object."""

    descriptors: frozenset[int]
    tasks: int
    blocks: int
    resident_bytes: int


def held() -> Held:
    gc.collect()
    return Held(
        descriptors=descriptors(),
        tasks=len(asyncio.all_tasks()),
        blocks=sys.getallocatedblocks(),
        resident_bytes=psutil.Process().memory_info().rss,
    )


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Settings]:
    """Settings for a simulator in a process of its own: what it remembers is not the library's."""
    world = f"--accounts=6 --mean-pools=3 --no-role=0.2 --regions={','.join(FEW_REGIONS)}"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "poolcensus", "simulate", "--json", "--fault=throttle:0.05"),
            *world.split(),
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(poolcensus.__file__).parents[1])},
    ) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            for name in ("endpoint_url", "access_key_id", "secret_access_key"):
                monkeypatch.setenv(f"AWS_{name.upper()}", said[name])
            yield poolcensus.Settings.load(regions=FEW_REGIONS, dest=str(tmp_path / "snapshots"))
        finally:
            process.terminate()


async def one_run(settings: Settings) -> None:
    """A snapshot, and a stream that is left."""
    async with poolcensus.Census(settings) as census:
        snapshot = await census.collect()
        assert isinstance(snapshot, Snapshot)
        assert snapshot.manifest.totals.pools
        async for _ in census.pages():
            break
    shutil.rmtree(settings.dest)


@pytest.mark.parametrize(
    ("runs", "blocks_a_run", "resident_bytes"),
    # At first every run fills some cache; a run that were kept would be 500 blocks.
    [
        (8, 250, 64 << 20),
        pytest.param(200, 20, 16 << 20, marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
async def test_descriptors_tasks_and_memory_stay_flat(
    settings: Settings, runs: int, blocks_a_run: int, resident_bytes: int
) -> None:
    between = []
    for _ in range(runs):
        await one_run(settings)
        between.append(held())
    assert {each.tasks for each in between} == {1}
    # What all of several runs in a row leave: a cancelled one may still have a thread that ends its reading.
    quarter = runs // 4
    early, late = between[quarter : 2 * quarter], between[-quarter:]
    assert frozenset.intersection(*(each.descriptors for each in late)) == frozenset.intersection(
        *(each.descriptors for each in early)
    )
    blocks = [min(each.blocks for each in some) for some in (early, late)]
    assert (blocks[1] - blocks[0]) / (runs - 2 * quarter) < blocks_a_run, [each.blocks for each in between]
    resident = [min(each.resident_bytes for each in some) for some in (early, late)]
    assert resident[1] - resident[0] < resident_bytes, [each.resident_bytes for each in between]
