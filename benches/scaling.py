"""How the cost of a census grows with accounts, and with pages in one account and region.

There are two curves of poolcensus and of the floors (see throughput.py): more accounts with a few pools each,
and the same number of pages in many short chains up to a few long ones. A page is a call, as the simulator
counts them. `us/call` includes the start of the process. `us/call more` is the time of each additional call
compared with the size before.

    python benches/scaling.py
    python benches/scaling.py --accounts 10,100,1000,5000
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from harness import FLOORS, REGIONS, Contender, numbers, of_floors, rounds, scratch, show, simulation, summary

if TYPE_CHECKING:
    from pathlib import Path

CONTENDERS = (*FLOORS, "poolcensus")
# Pools on a page.
PAGE = 25


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=numbers, default=[10, 100, 1000], help="up to 5,000 is sensible")
    parser.add_argument("--mean-pools", type=float, default=7.0)
    parser.add_argument("--pages", type=numbers, default=[1, 10, 100, 400], help="pages of each target")
    parser.add_argument("--total-pages", type=int, default=6000, help="pages of all targets together")
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for accounts in options.accounts:
            world = ["--accounts", str(accounts), "--mean-pools", str(options.mean_pools), "--empty", "0.3"]
            rows += measure("accounts", accounts, world, options, folder)
        regions = options.regions.count(",") + 1
        for pages in options.pages:
            accounts = max(1, options.total_pages // (pages * regions))
            world = ["--accounts", str(accounts), "--pools-per-target", str(pages * PAGE)]
            rows += measure("pages", pages, world, options, folder)
    add_slopes(rows)
    columns = ("grows", "size", "contender", "calls", "wall s", "us/call", "us/call more", "cpu us/call")
    keys = ("curve", "size", "name", "calls", "wall", "us_per_call", "us_per_call_more", "cpu_us_per_call")
    show(
        "scaling",
        options,
        (*columns, "peak MB", "of the lower floor", "of the floor"),
        [[row[key] for key in (*keys, "peak_mb", "of_lower_floor", "of_floor")] for row in rows],
        rows,
    )


def measure(
    curve: str, size: int, world: list[str], options: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    """Measure one point of a curve with all contenders."""
    contenders = [Contender(name, options.regions, options.concurrency, folder) for name in CONTENDERS]
    # All pages stay in the simulator's cache, so that the time to make them is not measured.
    shape = ("--regions", options.regions, "--cache-bytes", str(1 << 30))
    with simulation(*shape, *world) as simulator:
        pools = simulator.pools()
        # The first run makes the simulator's pages, and is not counted.
        contenders[0].run(simulator, pools)
        costs = rounds(contenders, simulator, pools, options.rounds)
    found = []
    for name, runs in costs.items():
        row = summary(name, runs)
        row |= {"curve": curve, "size": size, "pools": pools}
        row["us_per_call"] = round(row["wall"] / row["calls"] * 1e6, 1)
        row["cpu_us_per_call"] = round(row["cpu"] / row["calls"] * 1e6, 1)
        row |= of_floors(runs, costs)
        found.append(row)
    return found


def add_slopes(rows: list[dict[str, Any]]) -> None:
    """Add the time of each additional call compared with the size before, if there are more calls."""
    before: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        last = before.get((row["curve"], row["name"]))
        more = row["calls"] - last["calls"] if last is not None else 0
        # The curve of pages has about the same number of calls at every size, and so no meaningful slope.
        worth = last is not None and row["curve"] == "accounts" and more > 0
        slope = (row["wall"] - last["wall"]) / more * 1e6 if last is not None and worth else None
        row["us_per_call_more"] = round(slope, 1) if slope is not None else None
        before[row["curve"], row["name"]] = row


if __name__ == "__main__":
    main()
