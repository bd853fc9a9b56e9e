"""A census of a service that takes only so many calls a second: how many are refused, how long it takes.

Every account has the same pools in one region, and its own token bucket there. With all accounts at once, the
least possible time is that of one: the burst's calls at once, and then one call every 1/rate seconds. A share
of refused calls is the price of finding the rate, which no service tells.
Targets: at most 15 % of the calls refused, better 5 %.

    python benches/rates.py
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from harness import POOLCENSUS, BenchError, Cost, run, scratch, show, simulation, summary

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 25
REGION = "us-east-1"


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=150)
    parser.add_argument("--pages", type=int, default=21, help="pages of each account")
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--burst", type=float, default=5.0)
    parser.add_argument("--latency", default="none")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with scratch() as folder:
        rows = [measure(options, folder)]
    columns = ("service", "calls", "refused", "% refused", "wall s", "least s", "wall / least")
    service = f"{options.rate:g}/s, burst {options.burst:g}"
    keys = ("calls", "refused", "refused_percent", "wall", "least", "of_least")
    table = [[service, *(row[key] for key in keys)] for row in rows]
    show("rates", options, columns, table, rows)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Several runs against fresh buckets."""
    pools = options.pages * PAGE
    shape = ("--accounts", str(options.accounts), "--regions", REGION, "--pools-per-target", str(pools))
    limits = ("--rate", str(options.rate), "--burst", str(options.burst), "--latency", options.latency)
    costs: list[Cost] = []
    calls, refused = [], []
    with simulation(*shape, *limits) as simulator:
        for number in range(options.rounds):
            dest = folder / str(number)
            command = [*POOLCENSUS, "collect", "--dest", str(dest), "--regions", REGION]
            cost = run([*command, "--concurrency", str(options.concurrency)], simulator)
            totals = json.loads((dest / "latest" / "manifest.json").read_bytes())["totals"]
            stats = simulator.stats()
            if totals["pools"] != pools * options.accounts:
                raise BenchError(f"{totals['pools']:,} pools of {pools * options.accounts:,}")
            if totals["throttles"] != stats["codes"].get("ThrottlingException", 0):
                raise BenchError(
                    f"the manifest's count of throttles is not the simulator's: {totals}, {stats}"
                )
            costs.append(cost)
            calls.append(stats["calls"]["workspaces.DescribeWorkspacesPools"])
            refused.append(totals["throttles"])
    least = max(0.0, options.pages - options.burst) / options.rate
    found = summary("poolcensus", costs)
    return {
        **found,
        # Of all rounds together.
        "calls": sum(calls),
        "refused": sum(refused),
        "refused_percent": round(100 * sum(refused) / sum(calls), 2),
        "refused_percents": [
            round(100 * each / every, 2) for each, every in zip(refused, calls, strict=True)
        ],
        "least": least,
        "of_least": round(found["wall"] / least, 3) if least else None,
    }


if __name__ == "__main__":
    main()
