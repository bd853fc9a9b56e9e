"""Throughput side by side: the SDK's idioms, poolcensus, and a collector with no SDK and no safety.

Each contender runs in a process of its own against one simulator in another, in turn, several times. The
ratios hold for one machine and one run; compare them, not the seconds.

    python benches/throughput.py                          # the fast ones, 1,000 accounts
    python benches/throughput.py --accounts 100 --all     # the slow ones too
"""

from __future__ import annotations

import argparse
import sys

from harness import HERE, REGIONS, Cost, Row, median, plain, run, scratch, show, simulation

FAST = ("floor", "poolcensus")
ALL = ("floor", "poolcensus", "shared_client", "boto3_threads", "aioboto3_idiom")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--mean-pools", type=float, default=7.0)
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all", action="store_true", help="the contenders that take minutes too")
    options = parser.parse_args()
    names = ALL if options.all else FAST
    world = ("--accounts", str(options.accounts), "--mean-pools", str(options.mean_pools), "--empty", "0.3")
    with simulation(*world) as simulator, scratch() as folder:
        costs: dict[str, list[Cost]] = {name: [] for name in names}
        commands = {
            name: [
                sys.executable,
                str(HERE / "contenders" / f"{name}.py"),
                options.regions,
                str(folder / "pools.ndjson"),
                str(options.concurrency),
            ]
            for name in names
        }
        commands["poolcensus"] = [
            sys.executable,
            *("-m", "poolcensus", "collect", "--dest", str(folder / "snapshots")),
            *("--regions", options.regions, "--concurrency", str(options.concurrency)),
        ]
        # The first to run would pay for the pages that the simulator has not made yet.
        run(commands["floor"], simulator.environment)
        for _ in range(options.rounds):
            for name in names:
                costs[name].append(run(commands[name], simulator.environment))
        rows = [median(name, costs[name]) for name in names]
    _print(rows, options.accounts)


def _print(rows: list[Row], accounts: int) -> None:
    floor = rows[0].wall
    show(
        f"throughput, {accounts} accounts",
        ("contender", "wall s", "cpu s", "peak MB", "of the floor"),
        [
            (row.name, f"{row.wall:.2f}", f"{row.cpu:.2f}", f"{row.peak_mb:.0f}", f"{row.wall / floor:.2f}")
            for row in rows
        ],
        [{**plain(row), "of_floor": round(row.wall / floor, 3)} for row in rows],
    )


if __name__ == "__main__":
    main()
