"""The order in which a run reaches the disk, as the kernel saw it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Bench, Served

TRACED = "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,symlink,symlinkat"
BEGUN = re.compile(r"(\d+) +(\w+)\((.*)")
RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
UNFINISHED = " <unfinished ...>"


def _traced(bench: Bench, environment: dict[str, str]) -> list[tuple[str, str]]:
    """The system calls of a run as (call, arguments and result), in the order in which they began."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trial = subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    if trial.returncode:
        pytest.skip(f"this machine lets no process be traced: {trial.stderr.strip()}")
    log = bench.folder / "trace"
    tracer = (strace, "-f", "-y", "-e", f"trace={TRACED}", "-e", "signal=none", "-s", "16", "-o", str(log))
    subprocess.run(
        [*tracer, sys.executable, "-m", "poolcensus", "collect", "--regions", "us-east-1,eu-west-1"],
        cwd=bench.folder,
        env={**bench.environment, **environment},
        check=True,
        timeout=100,
    )
    calls: list[tuple[str, str]] = []
    open_at: dict[str, int] = {}
    for line in log.read_text().splitlines():
        if (begun := BEGUN.match(line)) is not None:
            process, call, rest = begun.groups()
            if rest.endswith(UNFINISHED):
                open_at[process] = len(calls)
            calls.append((call, rest.removesuffix(UNFINISHED)))
        elif (resumed := RESUMED.match(line)) is not None:
            at = open_at.pop(resumed[1])
            calls[at] = (calls[at][0], calls[at][1] + resumed[2])
    return calls


def _on(dest: Path, calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The calls about the destination as (call, name of the file), several in a row as one."""
    found: list[tuple[str, str]] = []
    for call, rest in calls:
        # A descriptor with its path, or the last path of two: the one that appears.
        paths = re.findall(rf'[<"]([^<>"]*{dest.name}[^<>"]*)[>"]', rest)
        if not paths:
            continue
        assert re.search(r"\) += \d+$", rest), f"{call}({rest}"
        step = (re.sub(r"\d+$|at\d*$", "", call), paths[-1].rsplit("/", 1)[-1])
        if step[1] != ".lock" and step not in found[-1:]:
            found.append(step)
    return found


def test_a_run_writes_syncs_renames_and_syncs_again(simulator: Served, bench: Bench) -> None:
    dest = bench.folder / "snapshots"
    steps = _on(dest, _traced(bench, simulator.environment))
    snapshot = Snapshot.open("latest", dest=dest)
    data = ("pools.ndjson", "targets.ndjson")
    first_sync = steps.index(("fsync", data[0]))
    # Beside them there is only the journal, which is no part of the snapshot.
    written = {name for call, name in steps[:first_sync] if call == "write"}
    assert written - {"journal"} == set(data)
    assert steps[first_sync:] == [
        *(("fsync", name) for name in data),
        ("write", "manifest.json"),
        ("fsync", "manifest.json"),
        ("fsync", f".draft-{snapshot.id}"),
        ("rename", snapshot.id),
        ("fsync", dest.name),
        ("symlink", f".latest-{snapshot.id}"),
        ("rename", "latest"),
        ("fsync", dest.name),
    ]
