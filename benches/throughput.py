"""Throughput: the usual ways to use the SDK, poolcensus, and two programs with no SDK and no safety.

The lower floor has no HTTP library either: no program in Python makes these calls in much less time. The
floor sends through aiohttp. `no_safety` is poolcensus without everything that only keeps it safe.

Each contender runs in a process of its own, against one simulator in another, in turn, several times. It must
write every pool that the simulator has. The ratios are medians over paired runs. They are for one machine and
one run of the bench. Compare the ratios, not the seconds.

    python benches/throughput.py                          # the fast ones, 1,000 accounts
    python benches/throughput.py --accounts 100 --all     # the slow ones too
    python benches/throughput.py --accounts 400 --tls     # over TLS
"""

from __future__ import annotations

import argparse

from harness import (
    FLOORS,
    REGIONS,
    Contender,
    of_floors,
    rounds,
    scratch,
    show,
    simulation,
    summary,
    words,
)

FAST = (*FLOORS, "poolcensus")
ALL = (*FAST, "no_safety", "two_shards", "shared_client", "boto3_threads", "aioboto3_idiom")


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--mean-pools", type=float, default=7.0)
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--all", action="store_true", help="the contenders that take minutes too")
    parser.add_argument("--contenders", type=words, help=f"some of {', '.join(ALL)}; the floors always run")
    parser.add_argument("--tls", action="store_true", help="the simulator serves TLS")
    options = parser.parse_args()
    world = (
        *("--accounts", str(options.accounts), "--regions", options.regions),
        *("--mean-pools", str(options.mean_pools), "--empty", "0.3"),
    )
    with (
        scratch() as folder,
        simulation(*world, authority=folder / "authority.pem" if options.tls else None) as simulator,
    ):
        contenders = [
            Contender(name, options.regions, options.concurrency, folder) for name in chosen(options)
        ]
        # The first run makes the simulator's pages, and is not counted.
        contenders[0].run(simulator, pools := simulator.pools())
        costs = rounds(contenders, simulator, pools, options.rounds)
    rows = [
        {
            **summary(name, runs),
            "pools": pools,
            **of_floors(runs, costs),
        }
        for name, runs in costs.items()
    ]
    columns = (
        *("contender", "wall s", "cpu s", "server's cpu s", "peak MB"),
        *("of the lower floor", "by cpu", "of the floor", "by cpu"),
    )
    keys = (
        *("name", "wall", "cpu", "server_cpu", "peak_mb"),
        *("of_lower_floor", "cpu_of_lower_floor", "of_floor", "cpu_of_floor"),
    )
    show("throughput", options, columns, [[row[key] for key in keys] for row in rows], rows)


def chosen(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the contenders that the options choose, in the order of `ALL`."""
    if options.contenders:
        return tuple(name for name in ALL if name in FLOORS or name in options.contenders)
    return ALL if options.all else FAST


if __name__ == "__main__":
    main()
