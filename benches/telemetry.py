"""The cost of telemetry for every call: of the log at level debug, and of OpenTelemetry's spans.

Each contender runs in a process of its own against one simulator, in turn, several times. The telemetry is
discarded, so that only making it is measured. The ratios are medians over paired runs, to a census without
telemetry.

    python benches/telemetry.py                     # 100 accounts
"""

from __future__ import annotations

import argparse

from harness import REGIONS, Contender, ratio, rounds, scratch, show, simulation, summary

WAYS = ("poolcensus", "debug_log", "spans")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    world = ("--accounts", str(options.accounts), "--regions", options.regions, "--empty", "0.3")
    with simulation(*world) as simulator, scratch() as folder:
        contenders = [Contender(name, options.regions, options.concurrency, folder) for name in WAYS]
        # The first run makes the simulator's pages, and is not counted.
        contenders[0].run(simulator, pools := simulator.pools())
        costs = rounds(contenders, simulator, pools, options.rounds)
    base = costs[WAYS[0]]
    rows = [
        {
            **summary(name, each),
            "pools": pools,
            "of_quiet": ratio(each, base),
            "cpu_of_quiet": ratio(each, base, "cpu"),
        }
        for name, each in costs.items()
    ]
    keys = ("name", "wall", "cpu", "peak_mb", "of_quiet", "cpu_of_quiet")
    columns = ("way", "wall s", "cpu s", "peak MB", "of the quiet one", "by cpu")
    show("telemetry", options, columns, [[row[key] for key in keys] for row in rows], rows)


if __name__ == "__main__":
    main()
