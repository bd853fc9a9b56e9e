"""Many starts at once on one destination: one runs, the others say who does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest

import poolcensus
from poolcensus.snapshot import list_snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

# Imports first: all of them are let go at the same moment, when the other end of their pipe closes.
PROGRAM = """
    import os, sys, time
    import poolcensus.cli.collect, poolcensus.census, poolcensus.cli.trouble
    from poolcensus.cli import main

    go, ready = int(sys.argv[1]), int(sys.argv[2])
    os.write(ready, b".")
    os.read(go, 1)
    began = time.process_time()
    code = main(["collect", "--dest", sys.argv[3], "--regions", sys.argv[4]])
    print(time.process_time() - began)
    sys.exit(code)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    processor_seconds: float
    said: str


def start(hold: int, tell: int, alive: int, dest: Path, regions: str) -> subprocess.Popen[str]:
    source = Path(poolcensus.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), str(hold), str(tell), str(dest), regions],
        # The first reply comes when all others have ended, however long that takes here.
        env={**os.environ, "PYTHONPATH": str(source), "POOLCENSUS_ATTEMPT_TIMEOUT": "900"},
        # What it has open closes with its end, whatever that is.
        pass_fds=(hold, tell, alive),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def _ended_with_the_test(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def started(count: int, dest: Path, regions: str) -> Iterator[dict[int, subprocess.Popen[str]]]:
    """So many programs, let go at once, each by a descriptor that is at its end when the program is."""
    hold, go = os.pipe()
    ready, tell = os.pipe()
    with contextlib.ExitStack() as stack:
        with os.fdopen(ready, "rb") as reports, os.fdopen(go, "wb"):
            try:
                processes = {}
                for _ in range(count):
                    end, alive = os.pipe()
                    stack.callback(os.close, end)
                    try:
                        process = start(hold, tell, alive, dest, regions)
                    finally:
                        os.close(alive)
                    processes[end] = stack.enter_context(_ended_with_the_test(process))
            finally:
                os.close(hold)
                os.close(tell)
            assert len(reports.read(count)) == count
        yield processes


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate()
    return Ended(process.returncode, float(out), err)


def first_to_end(processes: dict[int, subprocess.Popen[str]], count: int) -> list[subprocess.Popen[str]]:
    """The first so many that end."""
    poll = select.poll()
    for end in processes:
        poll.register(end, select.POLLIN)
    found: list[subprocess.Popen[str]] = []
    while len(found) < count:
        for end, _ in poll.poll():
            poll.unregister(end)
            found.append(processes[end])
    return found


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
async def test_of_many_starts_one_runs_and_the_others_name_it(lab: Start, count: int) -> None:
    here = await lab(accounts=3, pools_per_target=2)
    here.dest.mkdir()
    with started(count, here.dest, ",".join(here.simulator.world.config.regions)) as processes:
        # The simulator lives in the loop that this holds up: whoever has the lock waits for its first reply.
        refused = first_to_end(processes, count - 1)
        holder = json.loads((here.dest / ".lock").read_bytes())
        (winner,) = (each for each in processes.values() if each not in refused)
        assert winner.poll() is None
        assert holder["pid"] == winner.pid
        for each in map(ended, refused):
            assert each.code == 11, each.said
            assert re.fullmatch(r"poolcensus: Destination .* is locked by another run .*\n", each.said)
            assert f"(started {holder['started_at']}, host {holder['host']}, PID {winner.pid})" in each.said
            # Of its own time, not of the clock's: a hundred of them share few processors.
            assert each.processor_seconds < 1
        won = await anyio.to_thread.run_sync(ended, winner)
    assert (won.code, won.said) == (0, "")
    (snapshot,) = list_snapshots(here.dest)
    assert (snapshot.status, snapshot.pools) == ("complete", 18)
    assert here.calls("sts.GetCallerIdentity") == 1
