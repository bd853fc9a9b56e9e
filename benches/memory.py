"""The peak memory of a census, as the Organization grows.

There are three curves, each at a tenth, a third and the whole of its size: many pools; many accounts and
regions without pools; and many pools to a slow reader, which also stands for a slow disk, since data that is
not read yet has to wait somewhere. A flat curve means that memory is bounded. A small number does not.
Targets: at most 150 MB at full size, better 100.

    python benches/memory.py
    python benches/memory.py --pools 100000 --accounts 500
    python benches/memory.py --tls               # over TLS, as AWS is reached
"""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from harness import POOLCENSUS, BenchError, count_lines, numbers, run, scratch, show, simulation

if TYPE_CHECKING:
    from pathlib import Path

# Pools of one account in one region, 20 pages.
TARGET = 500
FIVE = "eu-central-1,eu-west-1,us-east-1,us-east-2,us-west-2"
CURVES = ("pools", "empty", "slow")
_READ = 1 << 16


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--curves", type=lambda text: text.split(","), default=list(CURVES))
    parser.add_argument("--pools", type=int, default=1_000_000, help="of the first curve")
    parser.add_argument("--accounts", type=int, default=5000, help="of the second, in all regions")
    parser.add_argument("--slow-pools", type=int, default=250_000, help="of the third")
    parser.add_argument("--slow-mb", type=float, default=5.0, help="MB a second that the slow reader takes")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--tls", action="store_true", help="the simulator serves TLS")
    parser.add_argument("--parts", type=numbers, default=[10, 3, 1], help="sizes, as parts of the whole")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with scratch() as folder:
        for curve in options.curves:
            rows += [measure(curve, part, options, folder) for part in options.parts]
    columns = ("curve", "accounts", "targets", "pools", "wall s", "peak MB")
    keys = ("curve", "accounts", "targets", "pools", "wall", "peak_mb")
    show("memory", options, columns, [[row[key] for key in keys] for row in rows], rows)


def measure(curve: str, part: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measure one point of a curve. One run is enough, since every peak of memory counts."""
    regions = FIVE.split(",")
    each = TARGET
    if curve == "empty":
        accounts, each = max(1, options.accounts // part), 0
        choice: tuple[str, ...] = ()
        # 17 is the number of regions of the partition, the default of the simulator and of poolcensus.
        targets = accounts * 17
    else:
        whole = options.pools if curve == "pools" else options.slow_pools
        accounts = max(1, whole // part // (TARGET * len(regions)))
        choice = ("--regions", FIVE)
        targets = accounts * len(regions)
    dest = folder / f"{curve}-{part}"
    slow = SlowReader(options.slow_mb * 1e6) if curve == "slow" else None
    command = [*POOLCENSUS, "collect", "--dest", "-" if slow else str(dest), *choice]
    command += ["--concurrency", str(options.concurrency)]
    world = ("--accounts", str(accounts), "--pools-per-target", str(each), *choice)
    with simulation(*world, authority=folder / "authority.pem" if options.tls else None) as simulator:
        cost = run(command, simulator, read=slow.read if slow else None)
    found = slow.lines if slow else count_lines(dest / "latest" / "pools.ndjson")
    if found != targets * each:
        raise BenchError(f"{found:,} pools of {targets * each:,}")
    return {
        "curve": curve,
        "accounts": accounts,
        "targets": targets,
        "pools": found,
        "wall": round(cost.wall, 3),
        "cpu": round(cost.cpu, 3),
        "peak_mb": round(cost.peak_mb, 1),
    }


class SlowReader:
    """Reads at a limited speed, and counts the lines."""

    def __init__(self, bytes_a_second: float) -> None:
        self._speed = bytes_a_second
        self.lines = 0

    def read(self, descriptor: int) -> None:
        """Read a descriptor to its end."""
        started, taken = time.monotonic(), 0
        while block := os.read(descriptor, _READ):
            taken += len(block)
            self.lines += block.count(b"\n")
            time.sleep(max(0.0, started + taken / self._speed - time.monotonic()))


if __name__ == "__main__":
    main()
