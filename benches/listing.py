"""The cost of printing the pools of a snapshot in order, as their number grows.

`poolcensus show --pools` prints NDJSON, or a table into a pipe. The other contender sorts a list of all
lines. A flat curve of memory means that it is bounded. The contenders that print NDJSON must print the same.

    python benches/listing.py
    python benches/listing.py --pools 10000,100000
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from harness import HERE, POOLCENSUS, BenchError, Cost, numbers, ratio, run, scratch, show, summary

if TYPE_CHECKING:
    from pathlib import Path

SNAPSHOT = "20261124T020000Z-000000"
# Pools of one account in one region, 20 pages.
TARGET = 500
_READ = 1 << 16


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pools", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for pools in options.pools:
            rows += measure(pools, options.rounds, folder)
    columns = ("contender", "pools", "wall s", "us/pool", "peak MB", "of a list: s", "MB")
    keys = ("name", "pools", "wall", "us_per_pool", "peak_mb", "time_ratio", "memory_ratio")
    show("listing", options, columns, [[row[key] for key in keys] for row in rows], rows)


def measure(pools: int, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Print the pools with each contender in turn."""
    dest = folder / "snapshots"
    make = HERE / "material" / "two_snapshots.py"
    run([sys.executable, str(make), str(dest), str(pools), str(min(pools, TARGET)), "none"])
    listing = [*POOLCENSUS, "show", SNAPSHOT, "--pools", "--dest", str(dest)]
    script = HERE / "contenders" / "sorted_lines.py"
    commands = {
        "show --json": [*listing, "--json"],
        "show": listing,
        "list": [sys.executable, str(script), str(dest / SNAPSHOT / "pools.ndjson")],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    printed: dict[str, str] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            reader = Digest()
            costs[name].append(run(command, read=reader.read))
            printed[name] = reader.digest()
    shutil.rmtree(dest)
    if printed["show --json"] != printed["list"]:
        raise BenchError("they print different lines")
    rows = []
    for name, runs in costs.items():
        row = {"pools": pools, **summary(name, runs)}
        row["us_per_pool"] = round(row["wall"] / pools * 1e6, 2)
        row["time_ratio"] = ratio(runs, costs["list"])
        row["memory_ratio"] = ratio(runs, costs["list"], "peak_mb")
        rows.append(row)
    return rows


class Digest:
    """Reads what a contender prints, and keeps its digest."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def read(self, descriptor: int) -> None:
        """Read a descriptor to its end."""
        while block := os.read(descriptor, _READ):
            self._digest.update(block)

    def digest(self) -> str:
        """Return the digest of everything that was printed."""
        return self._digest.hexdigest()


if __name__ == "__main__":
    main()
