"""How long a census blocks its event loop. Meanwhile nothing else in the loop can run, not even a timeout.

The census runs in a process of its own, in which every callback is timed. A `turn` is what the loop does
between two calls of select(): all callbacks that were ready, one after the other. The wall time of a callback
is the time for which it blocks the loop. If its CPU time is much shorter, a thread held the interpreter, or
another process the CPU. Garbage is collected inside any callback, and `gc` is this part of its time. The
command tunes the garbage collection of its process, which a library must not do: `--library` takes the census
in a program that has tuned nothing.
Target: no callback over 50 ms.

    python benches/loop.py
    python benches/loop.py --library
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import heapq
import json
import selectors
import sys
import threading
import time
from array import array
from asyncio import events
from dataclasses import dataclass
from typing import Any

from harness import REGIONS, BenchError, run, scratch, show, simulation
from poolcensus import Census, Settings, Snapshot
from poolcensus.cli import main as cli

_PROBE = "--probe"
_SHOWN = 5
# Private names of asyncio: there is no other way to time its callbacks.
_RUN, _CALLBACK = "_run", "_callback"
_SELECT = "select"


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--accounts", type=int, default=1000)
    parser.add_argument("--mean-pools", type=float, default=7.0)
    parser.add_argument("--regions", default=REGIONS)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--library", dest="embedded", action="store_true", help="the library, instead of the command"
    )
    options = parser.parse_args()
    world = ("--accounts", str(options.accounts), "--mean-pools", str(options.mean_pools), "--empty", "0.3")
    rows: list[dict[str, Any]] = []
    with simulation(*world, "--regions", options.regions) as simulator, scratch() as folder:
        pools = simulator.pools()
        for number in range(options.rounds):
            way = "library" if options.embedded else "command"
            given = (way, str(folder / str(number)), options.regions, str(options.concurrency))
            report = folder / f"{number}.json"
            run([sys.executable, __file__, _PROBE, *given, str(report)], simulator)
            row = json.loads(report.read_bytes())
            if row["pools"] != pools:
                raise BenchError(f"{row['pools']:,} pools of {pools:,}")
            rows.append(row)
    table = [
        [place, block["wall_ms"], block["cpu_ms"], block["gc_ms"], block["what"]]
        for place, block in sorted(
            (
                (f"run {number}, block {place}", block)
                for number, row in enumerate(rows, 1)
                for place, block in enumerate(row["longest"], 1)
            ),
            key=lambda each: -each[1]["wall_ms"],
        )[:_SHOWN]
    ]
    for number, row in enumerate(rows, 1):
        of = f"of {row['callbacks']:,} callbacks in {row['turns']:,} turns"
        table.append([f"run {number}, 99.9 % of callbacks", row["p999_ms"], None, None, of])
        table.append([f"run {number}, longest turn", row["longest_turn_ms"], None, None, ""])
    show("loop", options, ("block", "wall ms", "cpu ms", "gc ms", "what"), table, rows)


@dataclass(slots=True)
class Watch:
    """The times of the callbacks and of the turns of a loop."""

    walls: array[float]
    turns: array[float]
    # The few longest callbacks, the shortest of them first: wall time, CPU time, garbage collection, name.
    longest: list[tuple[float, float, float, str]]
    collecting: float = 0.0
    collection_began: float = 0.0

    def watch(self) -> None:
        """Time every callback and every turn of this process's loop."""
        gc.callbacks.append(self._collects)
        walls, longest, inner = self.walls, self.longest, getattr(events.Handle, _RUN)
        clock, cpu = time.perf_counter, time.thread_time

        def timed(handle: events.Handle) -> None:
            self.collecting = 0.0
            before, cpu_before = clock(), cpu()
            inner(handle)
            wall = clock() - before
            walls.append(wall)
            if len(longest) < _SHOWN or wall > longest[0][0]:
                heapq.heappush(longest, (wall, cpu() - cpu_before, self.collecting, name_of(handle)))
                if len(longest) > _SHOWN:
                    heapq.heappop(longest)

        setattr(events.Handle, _RUN, timed)
        look, turns = selectors.DefaultSelector.select, self.turns
        looked = clock()

        def select(
            selector: selectors.DefaultSelector, timeout: float | None = None
        ) -> list[tuple[selectors.SelectorKey, int]]:
            nonlocal looked
            turns.append(clock() - looked)
            ready = look(selector, timeout)
            looked = clock()
            return ready

        setattr(selectors.DefaultSelector, _SELECT, select)

    def _collects(self, phase: str, _: object) -> None:
        # A collection in another thread is not part of a callback, though it may hold the interpreter, too.
        if threading.current_thread() is not threading.main_thread():
            return
        if phase == "start":
            self.collection_began = time.perf_counter()
        else:
            self.collecting += time.perf_counter() - self.collection_began


def name_of(handle: events.Handle) -> str:
    """Return the name of a callback. For a task, that is its coroutine and what it awaits now."""
    callback: Any = getattr(handle, _CALLBACK)
    if callback is None:
        return "a callback that was cancelled"
    owner = getattr(callback, "__self__", None)
    if not isinstance(owner, asyncio.Task):
        return str(getattr(callback, "__qualname__", callback))
    coroutine: Any = owner.get_coro()
    path = [coroutine.__qualname__]
    while (coroutine := getattr(coroutine, "cr_await", None)) is not None and hasattr(
        coroutine, "__qualname__"
    ):
        path.append(coroutine.__qualname__)
    # The innermost coroutines tell most, and the whole stack is long.
    return " > ".join([path[0], *path[1:][-2:]])


async def census(dest: str, regions: str, concurrency: str) -> None:
    """Take a census with the library, as a program does."""
    async with Census(Settings.load(regions=regions.split(","), concurrency=int(concurrency))) as taken:
        await taken.collect(dest)


def probe(way: str, dest: str, regions: str, concurrency: str, report: str) -> None:
    """Take a census in this process, and write the times of its event loop into a file."""
    watch = Watch(array("d"), array("d"), [])
    watch.watch()
    if way == "library":
        asyncio.run(census(dest, regions, concurrency))
    elif cli(["collect", "--dest", dest, "--regions", regions, "--concurrency", concurrency]):
        sys.exit(1)
    pools = Snapshot.open("latest", dest).manifest.totals.pools
    walls = sorted(watch.walls)
    found = {
        "pools": pools,
        "callbacks": len(walls),
        "turns": len(watch.turns),
        "longest_ms": round(walls[-1] * 1e3, 3),
        "p999_ms": round(walls[int(len(walls) * 0.999)] * 1e3, 3),
        "longest_turn_ms": round(max(watch.turns) * 1e3, 3),
        "longest": [
            {
                "wall_ms": round(wall * 1e3, 3),
                "cpu_ms": round(cpu * 1e3, 3),
                "gc_ms": round(collecting * 1e3, 3),
                "what": what,
            }
            for wall, cpu, collecting, what in sorted(watch.longest, reverse=True)
        ],
    }
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123 - a name from the command line
        json.dump(found, file)


if __name__ == "__main__":
    if sys.argv[1:2] == [_PROBE]:
        probe(*sys.argv[2:])
    else:
        main()
