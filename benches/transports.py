"""Both transports and the floors: throughput, latency and memory of the same census.

`busy` is a service that answers at once, so that the time is that of the calls themselves. `far` is a service
with latency, so that the number of calls in flight counts. The floors (see throughput.py) make one call less:
they don't call GetCallerIdentity. Each contender runs in a process of its own against one simulator, in turn,
several times, and must write every pool. The ratios are medians over paired runs.

    python benches/transports.py                     # 400 accounts
"""

from __future__ import annotations

import argparse

from harness import (
    FLOORS,
    REGIONS,
    Contender,
    of_floors,
    ratio,
    rounds,
    scratch,
    show,
    simulation,
    summary,
)

KINDS = ("fast", "sdk")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--mean-pools", type=float, default=7.0)
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--latency", default="exponential:150", help="of the far service's replies")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    with scratch() as folder:
        contenders = [Contender(name, options.regions, options.concurrency, folder) for name in FLOORS]
        contenders += [
            Contender(
                f"poolcensus-{kind}", options.regions, options.concurrency, folder, ("--transport", kind)
            )
            for kind in KINDS
        ]
        for service, latency in (("busy", ()), ("far", ("--latency", options.latency))):
            world = (
                *("--accounts", str(options.accounts), "--regions", options.regions),
                *("--mean-pools", str(options.mean_pools), "--empty", "0.3", *latency),
            )
            with simulation(*world) as simulator:
                # The first run makes the simulator's pages, and is not counted.
                contenders[0].run(simulator, pools := simulator.pools())
                costs = rounds(contenders, simulator, pools, options.rounds)
            base = costs["poolcensus-fast"]
            for kind, each in zip((*FLOORS, *KINDS), costs.values(), strict=True):
                row = summary(kind, each)
                row |= {
                    "service": service,
                    "pools": pools,
                    "calls_per_second": round(row["calls"] / row["wall"], 1),
                    "of_fast": ratio(each, base),
                    "cpu_of_fast": ratio(each, base, "cpu"),
                    "memory_of_fast": ratio(each, base, "peak_mb"),
                    **of_floors(each, costs),
                }
                rows.append(row)
    keys = (
        *("wall", "calls_per_second", "cpu", "peak_mb", "of_fast", "cpu_of_fast", "memory_of_fast"),
        *("of_lower_floor", "cpu_of_lower_floor", "of_floor"),
    )
    columns = (
        *("transport", "service", "s", "calls/s", "CPU s", "MB", "time of fast", "CPU of fast", "MB of fast"),
        *("of the lower floor", "by CPU", "of the floor"),
    )
    table = [(row["name"], row["service"], *(row[key] for key in keys)) for row in rows]
    show("transports", options, columns, table, rows)


if __name__ == "__main__":
    main()
