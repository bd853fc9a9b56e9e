"""A census of services that throttle, beside the same program without a limit on the rate of its calls.

There are seven kinds of throttling: calls that are refused at random, a limit for each account in each
region, a limit that all accounts of a region share, and an account whose limit is a tenth of the others'. The
other program is `contenders/backoff_alone.py`, which backs off and retries throttled calls, and holds back no
others. Both run in turn, each with reset limits, and must find every pool.
Targets: at most 1.15 times the other's wall clock everywhere, and at most half of its throttled calls where
there is a limit.

    python benches/throttling.py
    python benches/throttling.py --regimes random-20,pair-2,region --latency exponential:50
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from typing import TYPE_CHECKING, Any

from harness import (
    HERE,
    POOLCENSUS,
    REGIONS,
    BenchError,
    Cost,
    Simulation,
    ratio,
    run,
    scratch,
    show,
    simulation,
    words,
)

if TYPE_CHECKING:
    from pathlib import Path

CONTENDERS = {
    "backoff_alone": (sys.executable, str(HERE / "contenders" / "backoff_alone.py")),
    "poolcensus": POOLCENSUS,
}
CODES = ("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded")
REGIMES = {
    "random-20": ("--fault", "throttle:0.2"),
    "random-5": ("--fault", "throttle:0.05"),
    "pair-2": ("--rate", "2", "--burst", "5"),
    "pair-5": ("--rate", "5", "--burst", "10"),
    "pair-10": ("--rate", "10", "--burst", "20"),
    "region": ("--region-rate", "30", "--burst", "30"),
    "slow-account": ("--rate", "2", "--burst", "5", "--slow-account"),
}


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--mean-pools", type=float, default=30.0)
    parser.add_argument("--max-pools", type=int, default=500, help="20 pages of 25 pools")
    parser.add_argument(
        "--slow-account", default="000000000021", help="by default one whose longest target has 9 pages"
    )
    parser.add_argument("--regimes", type=words, default=list(REGIMES), help=f"some of {','.join(REGIMES)}")
    parser.add_argument("--latency", default="none")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with scratch() as folder:
        rows = [measure(regime, options, folder) for regime in options.regimes]
    columns = ("regime", "wall s", "alone s", "ratio", "throttled", "alone", "ratio")
    keys = ("name", "wall", "alone_wall", "of_alone", "throttled", "alone_throttled", "throttled_of_alone")
    show("throttling", options, columns, [[row[key] for key in keys] for row in rows], rows)


def measure(regime: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run both several times, in turn."""
    throttling = REGIMES[regime]
    if throttling[-1] == "--slow-account":
        throttling = (*throttling, options.slow_account)
    world = (
        *("--accounts", str(options.accounts), "--regions", options.regions, "--empty", "0.3"),
        *("--mean-pools", str(options.mean_pools), "--max-pools", str(options.max_pools)),
    )
    found: dict[str, list[tuple[Cost, int]]] = {name: [] for name in CONTENDERS}
    with simulation(*world, *throttling, "--latency", options.latency) as simulator:
        pools = simulator.pools()
        for _ in range(options.rounds):
            for name, runs in found.items():
                runs.append(census(name, options, simulator, pools, folder / "snapshots"))
    costs = {name: [cost for cost, _ in runs] for name, runs in found.items()}
    throttled = {name: [count for _, count in runs] for name, runs in found.items()}
    walls = {name: [round(cost.wall, 3) for cost in runs] for name, runs in costs.items()}
    middle = {name: statistics.median(counts) for name, counts in throttled.items()}
    alone = middle["backoff_alone"]
    return {
        "name": regime,
        "runs": options.rounds,
        "pools": pools,
        "wall": statistics.median(walls["poolcensus"]),
        "alone_wall": statistics.median(walls["backoff_alone"]),
        "of_alone": ratio(costs["poolcensus"], costs["backoff_alone"]),
        "throttled": middle["poolcensus"],
        "alone_throttled": alone,
        "throttled_of_alone": round(middle["poolcensus"] / alone, 3) if alone else None,
        "walls": walls,
        "throttles": throttled,
    }


def census(
    name: str, options: argparse.Namespace, simulator: Simulation, pools: int, dest: Path
) -> tuple[Cost, int]:
    """Run one of them, and return its cost and the number of its throttled calls."""
    command = (*CONTENDERS[name], "collect", "--dest", str(dest), "--regions", options.regions)
    cost = run((*command, "--concurrency", str(options.concurrency)), simulator)
    totals = json.loads((dest / "latest" / "manifest.json").read_bytes())["totals"]
    codes = simulator.stats()["codes"]
    if totals["pools"] != pools:
        raise BenchError(f"{name} found {totals['pools']:,} pools, and there are {pools:,}")
    if totals["throttles"] != sum(codes.get(code, 0) for code in CODES):
        raise BenchError(f"the manifest's count of throttles is not the simulator's: {totals}, {codes}")
    shutil.rmtree(dest)
    return cost, totals["throttles"]


if __name__ == "__main__":
    main()
