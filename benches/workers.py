"""The gain by workers: the throughput of one process, and of several Dask workers, by latency.

Each worker has the same number of calls in flight. `start` is the time of the same command for one account.
`speed` is the calls a second without the start, relative to those of one worker. The simulator, the caller
and the workers share the cores of this machine: without latency they wait for the cores, and with latency for
the replies. `peak MB` is of the largest of all processes.

    python benches/workers.py
    python benches/workers.py --accounts 5000 --mean-pools 24 --latencies 0 --workers 2 --rounds 1
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from harness import REGIONS, Contender, numbers, rounds, scratch, show, simulation, summary, words

if TYPE_CHECKING:
    from pathlib import Path


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--mean-pools", type=float, default=7.0)
    parser.add_argument(
        "--latencies", type=words, default=["0", "10", "50"], help="as of poolcensus simulate"
    )
    parser.add_argument("--workers", type=numbers, default=[1, 2, 4])
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--concurrency", type=int, default=48, help="calls in flight of each worker")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for latency in options.latencies:
            rows += measure(latency, options, folder)
    keys = (
        "latency",
        "name",
        "calls",
        "wall",
        "start",
        "calls_per_second",
        "speed",
        "cpu",
        "server_cpu",
        "peak_mb",
    )
    show(
        "workers",
        options,
        (
            "latency ms",
            "engine",
            "calls",
            "wall s",
            "start s",
            "calls/s",
            "speed",
            "cpu s",
            "simulator s",
            "peak MB",
        ),
        [[row[key] for key in keys] for row in rows],
        rows,
    )


def measure(latency: str, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run all engines at one latency."""
    contenders = [contender("poolcensus local", 1, options, folder)] + [
        contender(
            f"poolcensus dask {count}", count, options, folder, "--engine", "dask", "--workers", str(count)
        )
        for count in options.workers
    ]
    world = ("--regions", options.regions, "--mean-pools", str(options.mean_pools), "--latency", latency)
    with simulation("--accounts", "1", *world) as simulator:
        pools = simulator.pools()
        starts = rounds(contenders, simulator, pools, options.rounds)
    with simulation("--accounts", str(options.accounts), *world, "--cache-bytes", str(1 << 30)) as simulator:
        pools = simulator.pools()
        # The first run makes the simulator's pages, and is not counted.
        contenders[0].run(simulator, pools)
        costs = rounds(contenders, simulator, pools, options.rounds)
    found = []
    for name, runs in costs.items():
        row = summary(name.removeprefix("poolcensus "), runs)
        row |= {"latency": latency, "pools": pools, "cores": os.cpu_count()}
        row["start"] = summary(name, starts[name])["wall"]
        row["calls_per_second"] = round(row["calls"] / max(row["wall"] - row["start"], 0.001))
        found.append(row)
    base = next((row for row in found if row["name"] == "dask 1"), found[0])
    for row in found:
        row["speed"] = round(row["calls_per_second"] / base["calls_per_second"], 2)
    return found


def contender(name: str, workers: int, options: argparse.Namespace, folder: Path, *more: str) -> Contender:
    """Return a census with an engine. `workers` multiplies the number of calls in flight."""
    calls = options.concurrency * workers
    return Contender(name, options.regions, calls, folder, ("--per-region", str(min(calls, 4096)), *more))


if __name__ == "__main__":
    main()
