"""Signals: in the middle of imports, in the middle of a run, and while something hangs for ever."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from poolcensus.cli import exits, running
from poolcensus.snapshot import Snapshot, list_snapshots
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from pathlib import Path

    from faults.conftest import Bench, Served

WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
REGIONS = ("--regions", "us-east-1,eu-west-1")

# The program sends itself a signal as it begins to import a module.
AT_IMPORT = """
import os, sys

class Signals:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Signals)
"""

# A write to the records never returns: it waits for a pipe that stays silent.
DEAD_DISK = """
import os
open_file, write = os.open, os.write
records = []

def noted(path, *args, **kwargs):
    fd = open_file(path, *args, **kwargs)
    if os.fspath(path).endswith("pools.ndjson"):
        records.append(fd)
    return fd

def dead(fd, data):
    if fd in records:
        open({pipe!r}).read()
    return write(fd, data)

os.open, os.write = noted, dead
"""


# The terminal that it is given becomes the one that controls it.
IN_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "poolcensus", *sys.argv[1:]])
"""


@pytest.mark.parametrize("number", WORDS)
@pytest.mark.parametrize(
    "module", ["poolcensus.cli", "poolcensus.temporary", "poolcensus.config.values", "poolcensus.census"]
)
def test_a_signal_in_the_middle_of_the_imports_is_one_word(
    simulator: Served, bench: Bench, module: str, number: signal.Signals
) -> None:
    sabotage = bench.sabotage(AT_IMPORT.format(module=module, number=int(number)))
    ended = bench.run("collect", *REGIONS, **simulator.environment, **sabotage)
    assert (ended.code, ended.out, ended.err) == (128 + number, "", f"poolcensus: {WORDS[number]}\n")
    assert simulator.calls == {}
    assert not (bench.folder / "snapshots").exists()


@pytest.mark.parametrize("module", ["poolcensus.cli", "poolcensus.census"])
def test_a_signal_in_the_middle_of_the_imports_is_one_line_of_json_where_that_is_asked_for(
    simulator: Served, bench: Bench, module: str
) -> None:
    sabotage = bench.sabotage(AT_IMPORT.format(module=module, number=int(signal.SIGTERM)))
    ended = bench.run("collect", *REGIONS, "--log-format=json", **simulator.environment, **sabotage)
    last = json.loads(ended.err)
    assert (ended.code, ended.out) == (143, "")
    assert (last["message_type"], last["code"], last["message"]) == ("exit_error", 143, "terminated")


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """A named pipe: who reads from it waits for the test."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.fixture
def never_answering(simulator: Served, bench: Bench, pipe: Path) -> dict[str, str]:
    """The environment in which credentials wait for the pipe."""
    config = bench.folder / "aws"
    config.write_text(f"[default]\nregion = us-east-1\ncredential_process = /bin/cat {pipe}\n")
    return {"AWS_ENDPOINT_URL": simulator.endpoint_url, "AWS_CONFIG_FILE": str(config)}


def test_a_signal_ends_a_run_whose_disk_never_answers(simulator: Served, bench: Bench, pipe: Path) -> None:
    sabotage = bench.sabotage(DEAD_DISK.format(pipe=str(pipe)))
    with bench.popen("collect", *REGIONS, **simulator.environment, **sabotage) as process:
        held = os.open(pipe, os.O_WRONLY)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    os.close(held)
    assert (process.returncode, out) == (143, "")
    # The library leaves the thread behind that hangs: in time, or else the program does.
    late = ", without waiting for what did not end within 4 s"
    assert err.replace(late, "") == "poolcensus: terminated\n"
    dest = bench.folder / "snapshots"
    assert list_snapshots(dest) == ()
    assert bench.run("collect", *REGIONS, **simulator.environment).code == 0
    published = Snapshot.open("latest", dest=dest)
    assert verify(published) == ()
    assert sorted(each.name for each in dest.iterdir()) == [".lock", published.id, "latest"]


@pytest.mark.parametrize("number", WORDS)
def test_a_signal_ends_a_run_whose_credentials_never_come(
    simulator: Served,
    bench: Bench,
    pipe: Path,
    never_answering: dict[str, str],
    number: signal.Signals,
) -> None:
    with bench.popen("collect", *REGIONS, **never_answering) as process:
        held = os.open(pipe, os.O_WRONLY)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    os.close(held)
    assert (process.returncode, out, err) == (128 + number, "", f"poolcensus: {WORDS[number]}\n")
    assert simulator.calls == {}


def test_a_terminal_that_closes_ends_a_run_in_good_order(
    simulator: Served, bench: Bench, pipe: Path, never_answering: dict[str, str]
) -> None:
    terminal, inside = pty.openpty()
    process = _started_in_terminal(bench, inside, never_answering)
    os.close(inside)
    held = os.open(pipe, os.O_WRONLY)
    os.close(terminal)
    assert process.wait(30) == 129
    os.close(held)
    assert simulator.calls == {}


def test_a_signal_ends_a_run_whose_terminal_takes_no_bytes(
    simulator: Served, bench: Bench, pipe: Path, never_answering: dict[str, str]
) -> None:
    terminal, inside = pty.openpty()
    process = _started_in_terminal(bench, inside, never_answering)
    try:
        held = os.open(pipe, os.O_WRONLY)
        # As Ctrl-S does.
        termios.tcflow(inside, termios.TCOOFF)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 143
    finally:
        process.kill()
        process.wait()
        os.close(inside)
        os.close(terminal)
    os.close(held)
    assert simulator.calls == {}


def _started_in_terminal(bench: Bench, inside: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", IN_ITS_TERMINAL, "collect", *REGIONS],
        cwd=bench.folder,
        env={**bench.environment, **environment, "TERM": "xterm"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )


def test_no_end_takes_longer_than_five_seconds() -> None:
    assert running._CLEANUP_WITHIN + exits._LAST_THREADS <= 5


def test_signals_that_whoever_started_it_ignores_are_ignored(simulator: Served, bench: Bench) -> None:
    sabotage = bench.sabotage(
        "import os, signal, sys\n"
        "if sys.argv[-1:] == ['us-east-1,eu-west-1']:\n"
        "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
        "        signal.signal(number, signal.SIG_IGN)\n"
        "fsync = os.fsync\n"
        "def stopped(fd):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    return fsync(fd)\n"
        "os.fsync = stopped\n"
    )
    ended = bench.run("collect", *REGIONS, **simulator.environment, **sabotage)
    assert (ended.code, ended.err) == (0, "")
