"""SIGKILL at any moment of a run: what is published is whole, and the next run finds nothing in its way."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from poolcensus.snapshot import Snapshot, list_snapshots
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.conftest import Bench, Served

LITTER = re.compile(r"\.(draft|latest)-\d{8}T\d{6}Z-[0-9a-f]{6}")

# Runs the program again and again, each time in a process of its own that has all modules already. A run
# counts its steps: every request that leaves and every call that changes the destination. At the step that
# it is told it is killed; a run that comes to its end writes down how many there were.
SCRIPT = """
import os, pathlib, signal, socket, sys, urllib.request
import botocore.session, poolcensus.census, poolcensus.cli.collect, poolcensus.cli.progress
from poolcensus.__main__ import main

CALLS = ("open", "write", "fsync", "close", "mkdir", "chmod", "rename", "symlink", "replace", "ftruncate")
kill_at = taken = first_sync = 0

def counted(name, real):
    def call(*args, **kwargs):
        global taken, first_sync
        taken += 1
        if taken == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if name == "fsync" and not first_sync:
            first_sync = taken
        return real(*args, **kwargs)
    return call

for name in CALLS:
    setattr(os, name, counted(name, getattr(os, name)))
socket.socket.send = counted("send", socket.socket.send)
# A process of macOS that has forked may not ask the system for its proxies.
urllib.request.getproxies = dict
sys.argv = ["poolcensus", "collect", "--regions", "us-east-1,eu-west-1"]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        kill_at, taken, first_sync = int(line), 0, 0
        try:
            main()
        except SystemExit as end:
            pathlib.Path("counts").write_text(f"{taken} {first_sync}")
            os._exit(end.code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Runs:
    """Runs of the program into one destination."""

    folder: Path
    process: subprocess.Popen[str]

    @property
    def dest(self) -> Path:
        return self.folder / "snapshots"

    def run(self, kill_at: int = 0) -> int:
        """The exit code of a run that is killed at this step; one at step 0 is not."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(kill_at, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def steps(self) -> tuple[int, int]:
        """How many steps a run has, and how many of them come before its commit."""
        assert self.run() == 0
        taken, before_commit = (self.folder / "counts").read_text().split()
        return int(taken), int(before_commit)

    def kill(self, step: int) -> int:
        """Kills a run at one of its steps, and checks all that a reader may see then."""
        before = [info.id for info in list_snapshots(self.dest)]
        code = self.run(step)
        assert code in {0, -signal.SIGKILL}
        published = [info.id for info in list_snapshots(self.dest)]
        assert {*published} >= {*before}
        for snapshot_id in {*published} - {*before} | {before[-1]}:
            assert verify(Snapshot.open(snapshot_id, dest=self.dest)) == (), step
        assert Snapshot.open("latest", dest=self.dest).id in {before[-1], published[-1]}
        left = {each.name for each in self.dest.iterdir()} - {*published, ".lock", "latest"}
        assert all(LITTER.fullmatch(name) for name in left), left
        return code

    def check_the_next_run(self) -> None:
        """The next run is clean, and clears up after those that were killed."""
        assert self.run() == 0
        assert (self.folder / "said").read_text() == ""
        published = [info.id for info in list_snapshots(self.dest)]
        latest = Snapshot.open("latest", dest=self.dest)
        assert latest.id == published[-1]
        assert verify(latest) == ()
        assert {each.name for each in self.dest.iterdir()} == {".lock", "latest", *published}


@pytest.fixture
def runs(simulator: Served, bench: Bench) -> Iterator[Runs]:
    """The program, to be killed."""
    with _started(bench, simulator.environment) as process:
        # There from the start, so that the first fsync of a run is that of its commit.
        (bench.folder / "snapshots").mkdir()
        yield Runs(bench.folder, process)


@contextmanager
def _started(bench: Bench, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=bench.folder,
        env={**bench.environment, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def test_a_run_that_is_killed_leaves_whole_snapshots_and_a_clean_next_run(runs: Runs) -> None:
    steps, before_commit = runs.steps()
    assert steps - before_commit > 15
    chance = random.Random(1)
    at = [chance.randint(1 + before_commit * part // 4, before_commit * (part + 1) // 4) for part in range(4)]
    at += sorted(chance.sample(range(before_commit, steps - 2), 4))
    codes = [runs.kill(step) for step in at]
    runs.check_the_next_run()
    # A few steps more or less are the machine's: what matters is that most of them hit.
    assert codes.count(-signal.SIGKILL) >= 7


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_random_kills_and_one_at_each_step_of_the_commit(runs: Runs) -> None:
    steps, before_commit = runs.steps()
    chance = random.Random(os.urandom(8))
    at = [chance.randint(1, steps) for _ in range(200)]
    at += range(before_commit - 5, steps + 1)
    codes = []
    for step in at:
        codes.append(runs.kill(step))
        runs.check_the_next_run()
    assert codes.count(-signal.SIGKILL) > 0.9 * len(at)
    assert not [
        info.id for info in list_snapshots(runs.dest) if verify(Snapshot.open(info.id, dest=runs.dest))
    ]
