"""The cost of merging the shards of a run, as they grow.

`poolcensus merge` merges plain or compressed shards. The other contender joins plain pools.ndjson with `cat`,
and computes the sha256. It checks nothing, and each record keeps the ID of its shard. Both write to the same
disk, poolcensus with an fsync. A flat curve of memory means that it is bounded. Both must write the same
numbers of bytes and lines.

    python benches/merge.py
    python benches/merge.py --pools 10000,100000 --shards 8
"""

from __future__ import annotations

import argparse
import shutil
from typing import TYPE_CHECKING, Any

from harness import (
    POOLCENSUS,
    BenchError,
    Cost,
    count_lines,
    numbers,
    ratio,
    run,
    scratch,
    show,
    simulation,
    summary,
    words,
)

if TYPE_CHECKING:
    from pathlib import Path

REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2")
# Pools of one account in one region, 20 pages.
TARGET = 500
# The files are read once, and written and digested at the same time.
PLAIN = 'out=$1; shift; cat "$@" | tee "$out" | sha256sum'
NAME = "pools.ndjson"


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pools", type=numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--files", type=words, default=["none", "zstd"], help="how they are compressed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for pools in options.pools:
            for files in options.files:
                rows += measure(pools, options.shards, files, options.rounds, folder)
    columns = ("contender", "files", "pools", "wall s", "records/s", "us/pool", "peak MB", "of cat: s")
    keys = ("name", "files", "pools", "wall", "records_per_second", "us_per_pool", "peak_mb", "time_ratio")
    show("merge", options, columns, [[row[key] for key in keys] for row in rows], rows)


def measure(pools: int, shards: int, files: str, rounds: int, folder: Path) -> list[dict[str, Any]]:
    """Merge the shards of a census with each contender in turn. Only plain shards are joined with cat."""
    parts, found = take(pools, shards, files, folder / "shards")
    dest = folder / "all"
    merged = dest / "latest" / NAME
    plain = folder / NAME
    commands = {"poolcensus": [*POOLCENSUS, "merge", *map(str, parts), "--dest", str(dest)]}
    if files == "none":
        sources = [part / "latest" / NAME for part in parts]
        size = sum(each.stat().st_size for each in sources)
        commands["cat, sha256sum"] = ["sh", "-c", PLAIN, "sh", str(plain), *map(str, sources)]
    else:
        commands["poolcensus"] += ["--compress", files]
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            shutil.rmtree(dest, ignore_errors=True)
            plain.unlink(missing_ok=True)
            costs[name].append(run(command))
            if files == "none":
                check(merged if name == "poolcensus" else plain, found, size)
    shutil.rmtree(folder / "shards")
    rows = []
    for name, runs in costs.items():
        row = {"files": files, "shards": shards, "pools": found, **summary(name, runs)}
        row["records_per_second"] = round(found / row["wall"])
        row["us_per_pool"] = round(row["wall"] / found * 1e6, 2)
        row["time_ratio"] = ratio(runs, costs["cat, sha256sum"]) if files == "none" else None
        rows.append(row)
    return rows


def take(pools: int, shards: int, files: str, folder: Path) -> tuple[list[Path], int]:
    """Take a census in shards, and return their folders and the number of their pools together."""
    accounts = max(shards, pools // (TARGET * len(REGIONS)))
    each = max(1, pools // (accounts * len(REGIONS)))
    regions = ",".join(REGIONS)
    world = ("--accounts", str(accounts), "--pools-per-target", str(each), "--regions", regions)
    listed = folder / "accounts.json"
    parts = [folder / str(index) for index in range(1, shards + 1)]
    folder.mkdir()
    with simulation(*world) as simulator:
        run([*POOLCENSUS, "plan", "--regions", regions, "--output", str(listed)], simulator)
        for index, part in enumerate(parts, 1):
            of = ("--shard", f"{index}/{shards}", "--accounts-snapshot", str(listed), "--regions", regions)
            run([*POOLCENSUS, "collect", *of, "--compress", files, "--dest", str(part)], simulator)
    listed.unlink()
    return parts, accounts * len(REGIONS) * each


def check(path: Path, pools: int, size: int) -> None:
    """Raise BenchError unless a file has these numbers of lines and bytes. All snapshot IDs are as long."""
    found, has = count_lines(path), path.stat().st_size
    if (found, has) != (pools, size):
        raise BenchError(f"{path} has {found:,} pools in {has:,} bytes, of {pools:,} in {size:,}")


if __name__ == "__main__":
    main()
