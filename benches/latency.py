"""A census of services with latency, against the least time that it can take, and against the floors.

The model has the calls that can't overlap, with unlimited calls in flight and no time between calls:

- GetCallerIdentity, then the pages of ListAccounts one after the other, since each has the token of the next;
- from the page that lists an account: its AssumeRole (none for the caller's own account);
- from there, for every region that is always enabled, the pages of that target one after the other;
- for every opt-in region the same, after the ListRegions of the account, which all its opt-in regions share.

The path is the time until the last chain ends. It is drawn --draws times with latencies of the simulator's
own distribution, and a run is compared with the mean. The number of pages of each target is that of the
simulator's world, and the counts of all calls must be those that the simulator received. `last account` is a
simpler bound: the mean time of the listing and then of the longest chain of the last account alone.

`run` is from the manifest's start time to its end time, without the start of Python. `wall` is that of the
whole process. If the CPU seconds come near the path, the machine limits the speed, and not the services. The
floors (see throughput.py) run in turn with it, at the same concurrency. They don't call GetCallerIdentity, so
their path is shorter by this call. A latency with `+tls` is that of a simulator that serves TLS. Its path is
the same, without handshakes.
Targets: wall at most 1.3 times the path, better 1.15; at most 1.15 times the lower floor, better 1.05.

    python benches/latency.py
    python benches/latency.py --latency exponential:150,exponential:150+tls
"""

from __future__ import annotations

import argparse
import json
import statistics
from datetime import datetime
from typing import TYPE_CHECKING, Any

from harness import (
    FLOORS,
    POOLCENSUS,
    BenchError,
    Contender,
    Cost,
    Simulation,
    of_floors,
    run,
    scratch,
    show,
    simulation,
    summary,
    words,
)
from poolcensus.simulator.latency import Clockwork, Latency
from poolcensus.simulator.world import World, WorldConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

PAGE = 25
ACCOUNTS_A_PAGE = 20
TLS = "+tls"


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--latency",
        type=words,
        default=[
            "exponential:50",
            "exponential:100",
            "exponential:150",
            "exponential:200",
            "exponential:150+tls",
        ],
        help="of the simulator's replies, each with +tls where it serves TLS",
    )
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--regions", default="", help="default: all that have WorkSpaces")
    parser.add_argument("--concurrency", type=int, default=1024)
    parser.add_argument("--per-region", type=int, help="default: that of poolcensus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=100)
    options = parser.parse_args()
    config = WorldConfig(accounts=options.accounts, regions=tuple(filter(None, options.regions.split(","))))
    with scratch() as folder:
        rows = [measure(each, World(config), options, folder) for each in options.latency]
    columns = (
        *("latency", "path s", "last account s", "calls", "cpu s", "run s", "wall s", "run / path"),
        *("wall / path", "of the lower floor", "by cpu", "of the floor"),
    )
    keys = (
        *("latency", "path", "last_account", "calls", "cpu", "run", "wall", "run_of_path"),
        *("of_path", "of_lower_floor", "cpu_of_lower_floor", "of_floor"),
    )
    show("latency", options, columns, [[row[key] for key in keys] for row in rows], rows)


def measure(kind: str, world: World, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all contenders several times at one latency, and return their costs and the path."""
    latency = kind.removesuffix(TLS)
    authority = folder / "authority.pem" if kind.endswith(TLS) else None
    pages = pages_of(world)
    opt_in = [region in world.partition.opt_in for region in world.regions]
    regions = ",".join(world.regions)
    shape = ["--accounts", str(options.accounts), "--latency", latency, "--regions", regions]
    floors = [Contender(name, regions, options.concurrency, folder) for name in FLOORS]
    costs: dict[str, list[Cost]] = {name: [] for name in (*FLOORS, "poolcensus")}
    runs: list[float] = []
    with simulation(*shape, authority=authority) as simulator:
        pools = simulator.pools()
        for number in range(options.rounds):
            for floor in floors:
                costs[floor.name].append(floor.run(simulator, pools))
                check_calls(simulator, pages, any(opt_in), identity=False)
            dest = folder / f"{kind.replace(':', '-')}-{number}"
            command = [*POOLCENSUS, "collect", "--dest", str(dest), "--regions", regions]
            command += ["--concurrency", str(options.concurrency)]
            command += ["--per-region", str(options.per_region)] if options.per_region else []
            costs["poolcensus"].append(run(command, simulator))
            runs.append(seconds_of(dest))
            check_calls(simulator, pages, any(opt_in))
    paths = [draw(latency, number, pages, opt_in) for number in range(options.draws)]
    path = statistics.mean(whole for whole, _ in paths)
    census = summary(kind, costs["poolcensus"])
    inside = statistics.median(runs)
    return {
        **census,
        "latency": kind,
        "path": round(path, 3),
        "path_deviation": round(statistics.pstdev(whole for whole, _ in paths), 3),
        "last_account": round(statistics.mean(last for _, last in paths), 3),
        "run": round(inside, 3),
        "run_of_path": round(inside / path, 3),
        "of_path": round(census["wall"] / path, 3),
        **of_floors(costs["poolcensus"], costs),
        "floors": [summary(name, costs[name]) for name in FLOORS],
    }


def pages_of(world: World) -> list[list[int]]:
    """Return the number of pages of each account in each region. A target without pools has an empty one."""
    return [
        [max(1, -(-world.pool_count(index, region) // PAGE)) for region in world.regions]
        for index in range(world.config.accounts)
    ]


def seconds_of(dest: Path) -> float:
    """Return the duration of a run in seconds, from its manifest."""
    manifest = json.loads((dest / "latest" / "manifest.json").read_bytes())
    started, finished = (datetime.fromisoformat(manifest[key]) for key in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


def check_calls(
    simulator: Simulation, pages: Sequence[Sequence[int]], asks_regions: bool, *, identity: bool = True
) -> None:
    """Raise BenchError if a run made other calls than the model, since its path would be another one."""
    expected = {
        "sts.GetCallerIdentity": int(identity),
        "organizations.ListAccounts": -(-len(pages) // ACCOUNTS_A_PAGE),
        "sts.AssumeRole": len(pages) - 1,
        "account.ListRegions": len(pages) if asks_regions else 0,
        "workspaces.DescribeWorkspacesPools": sum(map(sum, pages)),
    }
    made = simulator.stats()["calls"]
    if made != {name: count for name, count in expected.items() if count}:
        raise BenchError(f"the run made the calls {made}, and the path is that of {expected}")


def draw(
    latency: str, seed: int, pages: Sequence[Sequence[int]], opt_in: Sequence[bool]
) -> tuple[float, float]:
    """Draw the path once: over all accounts, and to the end of the last account alone."""
    clockwork = Clockwork(Latency.parse(latency), seed)

    def call() -> float:
        return clockwork.seconds("")

    now = call()
    longest = chain = 0.0
    for index, targets in enumerate(pages):
        if index % ACCOUNTS_A_PAGE == 0:
            now += call()
        chain = _end_of_account(now if index == 0 else now + call(), targets, opt_in, call)
        longest = max(longest, chain)
    return longest, chain


def _end_of_account(
    ready: float, targets: Sequence[int], opt_in: Sequence[bool], call: Callable[[], float]
) -> float:
    asked = ready + call() if any(opt_in) else ready
    return max(
        (asked if late else ready) + sum(call() for _ in range(count))
        for count, late in zip(targets, opt_in, strict=True)
    )


if __name__ == "__main__":
    main()
