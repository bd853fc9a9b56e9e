"""The cost of comparing two snapshots, as they grow.

`poolcensus diff --json` compares two snapshots that are a day apart. The other contender reads all pools into
dicts with orjson. There are curves with many targets, and a size with all pools in a single target. Half of
the pools have other sessions, and one in fifty has a difference that counts. A flat curve of memory means
that it is bounded. Both contenders must find the same.

    python benches/diff.py
    python benches/diff.py --pools 10000,100000
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import HERE, POOLCENSUS, BenchError, Cost, LastLine, numbers, ratio, run, scratch, show, summary

if TYPE_CHECKING:
    from pathlib import Path

A, B = "20261123T020000Z-000000", "20261124T020000Z-000000"
# Pools of one account in one region, 20 pages.
TARGET = 500
COUNTS = ("added", "removed", "changed", "unchanged")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pools", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one-target", type=int, default=100_000, help="pools in a single target")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for pools in options.pools:
            rows += measure(Size("many targets", pools, TARGET), options.rounds, folder)
        rows += measure(Size("many targets", options.pools[-1], TARGET, "zstd"), options.rounds, folder)
        rows += measure(Size("one target", options.one_target, options.one_target), options.rounds, folder)
    columns = ("what", "files", "contender", "pools", "wall s", "us/pool", "peak MB", "of dicts: s", "MB")
    keys = ("curve", "files", "name", "pools", "wall", "us_per_pool", "peak_mb", "time_ratio", "memory_ratio")
    show("diff", options, columns, [[row[key] for key in keys] for row in rows], rows)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the snapshots: the pools in each snapshot, and in each target."""

    curve: str
    pools: int
    per_target: int
    files: str = "none"


def measure(size: Size, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Compare two snapshots with each contender in turn. The one with dicts can't read compressed files."""
    dest = folder / "snapshots"
    make = HERE / "material" / "two_snapshots.py"
    run([sys.executable, str(make), str(dest), str(size.pools), str(size.per_target), size.files])
    commands = {"poolcensus": [*POOLCENSUS, "diff", A, B, "--json", "--dest", str(dest)]}
    if size.files == "none":
        script = HERE / "contenders" / "pool_dicts.py"
        commands["dicts"] = [sys.executable, str(script), str(dest), A, B]
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    found: dict[str, dict[str, int]] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            reader = LastLine()
            costs[name].append(run(command, read=reader.read))
            statistics = reader.value()
            found[name] = {each: statistics[each] for each in COUNTS}
    shutil.rmtree(dest)
    if any(each != found["poolcensus"] for each in found.values()) or not found["poolcensus"]["changed"]:
        raise BenchError(f"they find different things: {found}")
    rows = []
    for name, runs in costs.items():
        row = {"curve": size.curve, "files": size.files, "pools": size.pools, **summary(name, runs)}
        row |= found[name]
        row["us_per_pool"] = round(row["wall"] / size.pools * 1e6, 2)
        row["time_ratio"] = ratio(runs, costs["dicts"]) if "dicts" in costs else None
        row["memory_ratio"] = ratio(runs, costs["dicts"], "peak_mb") if "dicts" in costs else None
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
