"""What fails after a snapshot is published is a warning: the code is that of the snapshot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from descriptors import needs_dev_full
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.conftest import Bench, Served

REGIONS = ("--regions", "us-east-1,eu-west-1")
NO_SWEEP = """
import os, shutil
def fail(*args, **kwargs):
    raise OSError(5, os.strerror(5))
shutil.rmtree = fail
"""
NO_LATEST = """
import os
rename = os.rename
def fail(path, target, *args, **kwargs):
    if os.path.basename(target) == "latest":
        raise OSError(5, os.strerror(5))
    rename(path, target, *args, **kwargs)
os.rename = fail
"""
# The lock's descriptor closes, and says that it could not.
NO_CLOSE = """
import os
open_file, close = os.open, os.close
locks = set()
def noted(path, *args, **kwargs):
    fd = open_file(path, *args, **kwargs)
    if os.fspath(path).endswith(".lock"):
        locks.add(fd)
    return fd
def fail(fd):
    close(fd)
    if fd in locks:
        locks.discard(fd)
        raise OSError(5, os.strerror(5))
os.open, os.close = noted, fail
"""
# A signal that comes once the snapshot is published, and a disk that then holds up the metrics.
LATE_SIGNAL = """
import os, signal, time
from poolcensus.cli import metrics, running
from poolcensus.snapshot.writer import SnapshotWriter
publish = SnapshotWriter.publish
async def publish_late(self, *given, **options):
    manifest = await publish(self, *given, **options)
    os.kill(os.getpid(), signal.SIGTERM)
    return manifest
SnapshotWriter.publish = publish_late
metrics.write_metrics = lambda *_, **__: time.sleep(60)
running._CLEANUP_WITHIN = 0.3
"""
# The system has no thread left once the snapshot is published, as where a cgroup's pids.max is reached.
NO_THREAD = """
import threading
from poolcensus.snapshot.writer import SnapshotWriter
publish_first = SnapshotWriter.publish
def fail(thread):
    raise RuntimeError("can't start new thread")
async def publish_last(self, *given, **options):
    manifest = await publish_first(self, *given, **options)
    threading.Thread.start = fail
    return manifest
SnapshotWriter.publish = publish_last
"""
# What the library or the command raises once the snapshot is published.
RAISED = """
from poolcensus.snapshot.writer import SnapshotWriter
publish_first = SnapshotWriter.publish
async def publish_and_fail(self, *given, **options):
    await publish_first(self, *given, **options)
    raise {}
SnapshotWriter.publish = publish_and_fail
"""
RAISED_LATER = """
from poolcensus.cli import metrics
def fail(*given, **options):
    raise {}
metrics.write_metrics = fail
"""
NO_OUTPUT = "import os; os.close(1)"
NO_ERRORS = "import os; os.close(2)"
FULL_ERRORS = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"


def stale_draft(dest: Path) -> None:
    (dest / ".draft-20200101T000000Z-000000").mkdir(parents=True)


def latest_folder(dest: Path) -> None:
    (dest / "latest").mkdir(parents=True)
    (dest / "latest" / "mine").touch()


def draft_and_folder(dest: Path) -> None:
    stale_draft(dest)
    latest_folder(dest)


def nothing(_: Path) -> None:
    pass


FAILURES = {
    # As many as one run can meet, each of which says what it says alone.
    "all at once": (
        draft_and_folder,
        NO_SWEEP + NO_CLOSE,
        ("--metrics-file", "missing/metrics"),
        2,
    ),
    "a folder latest": (latest_folder, "", (), 1),
    "the sweep": (stale_draft, NO_SWEEP, (), 0),
    "latest": (nothing, NO_LATEST, (), 1),
    "the lock": (nothing, NO_CLOSE, (), 0),
    "no thread": (nothing, NO_THREAD, (), 0),
    "metrics": (nothing, "", ("--metrics-file", "missing/metrics"), 1),
    "output": (nothing, NO_OUTPUT, ("--json",), 1),
}


def failures(*later: str) -> pytest.MarkDecorator:
    """Parametrize a test with them, of which those that are named are for the long run."""
    return pytest.mark.parametrize(
        ("before", "code", "options", "lines"),
        [
            pytest.param(
                *each,
                id=name,
                marks=[pytest.mark.long] if name in later else [],
            )
            for name, each in FAILURES.items()
        ],
    )


@failures("a folder latest", "the sweep", "the lock", "metrics")
def test_a_warning_is_all_that_comes_of_it(
    trial: Trial, before: Callable[[Path], None], code: str, options: tuple[str, ...], lines: int
) -> None:
    before(trial.dest)
    said = trial.collect(0, code, "--strict", *options)
    assert len(said) == lines, said


@failures("a folder latest", "the sweep", "latest", "the lock", "metrics")
def test_a_partial_snapshot_stays_one(
    trial: Trial, before: Callable[[Path], None], code: str, options: tuple[str, ...], lines: int
) -> None:
    before(trial.dest)
    said = trial.collect(3, code, "--role-name", "NoSuchRole", *options)
    # Of the snapshot two lines speak, which come with it.
    assert len(said) - lines in {2, 3}, said


def test_a_signal_then_ends_what_hangs_and_changes_no_code(trial: Trial) -> None:
    for code, options in ((0, ()), (3, ("--role-name", "NoSuchRole"))):
        (said,) = trial.collect(code, LATE_SIGNAL, "--metrics-file", "metrics.prom", *options)
        assert said.endswith("was published when the signal came")


def test_a_signal_then_ends_it_where_no_thread_can_say_so(trial: Trial) -> None:
    trial.collect(0, LATE_SIGNAL + NO_THREAD, "--metrics-file", "metrics.prom")


@pytest.mark.parametrize("step", [RAISED, RAISED_LATER], ids=["run", "metrics"])
@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("TypeError('a bug')", "TypeError"),
        ("RuntimeError('changed size')", "RuntimeError"),
        ("MemoryError()", "MemoryError"),
        ("ExceptionGroup('two', [OSError(5, 'x'), KeyError('x')])", "ExceptionGroup"),
    ],
)
def test_a_defect_changes_no_code_and_keeps_its_traceback(
    trial: Trial, step: str, error: str, name: str
) -> None:
    options = ("--metrics-file", "metrics.prom")
    said, *traceback = trial.collect(0, step.format(error), *options)
    assert said.endswith(f"was published before this: unexpected {name}")
    assert "Traceback (most recent call last):" in traceback[0]
    assert any(name in each for each in traceback)


def test_a_defect_is_in_a_log_in_json_with_its_traceback(trial: Trial) -> None:
    said = trial.collect(
        3, RAISED.format("TypeError('a bug')"), "--log-format", "json", "--role-name", "NoSuchRole"
    )
    lines = [json.loads(each) for each in said]
    (told,) = (each for each in lines if each["level"] == "CRITICAL")
    assert told["message"] == "unexpected TypeError: please report it"
    assert "TypeError: a bug" in told["exc_info"]
    assert any(each["message"].endswith("before this: unexpected TypeError") for each in lines)
    assert not any("code" in each for each in lines)


def test_what_the_machine_causes_is_a_line(trial: Trial) -> None:
    for error, words in (("OSError(5, 'gone')", "[Errno 5] gone"), ("TimeoutError()", "TimeoutError")):
        (said,) = trial.collect(0, RAISED.format(error))
        assert said.endswith(f"was published before this: {words}")


@pytest.mark.parametrize(
    "name", ["poolcensus.cli.collect.standing", "poolcensus.cli.exits.end"], ids=["before", "after"]
)
def test_a_signal_beside_all_that_takes_it_changes_no_code_either(trial: Trial, name: str) -> None:
    module, _, function = name.rpartition(".")
    code = (
        f"import os, signal, {module} as module\n"
        f"real = module.{function}\n"
        "def late(*given):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return real(*given)\n"
        f"module.{function} = late\n"
    )
    assert trial.collect(0, code) == []


@pytest.mark.parametrize(
    "code", [NO_ERRORS, pytest.param(FULL_ERRORS, marks=needs_dev_full)], ids=["closed", "full"]
)
def test_nor_does_it_matter_whether_anybody_hears_of_it(trial: Trial, code: str) -> None:
    trial.collect(3, code, "--role-name", "NoSuchRole", "--progress", "always", "--json")


@dataclass
class Trial:
    """Runs of the program that publish a snapshot, whatever happens to them then."""

    bench: Bench
    simulator: Served

    @property
    def dest(self) -> Path:
        return self.bench.folder / "snapshots"

    def collect(self, exit_code: int, sabotage: str, *options: str) -> list[str]:
        """A run that ends with this code. Returns the lines on standard error."""
        changed = self.bench.sabotage(sabotage)
        ended = self.bench.run("collect", *REGIONS, *options, **self.simulator.environment, **changed)
        assert ended.code == exit_code, ended
        found = max(each.name for each in self.dest.glob("2*"))
        assert verify(Snapshot.open(found, self.dest)) == ()
        return ended.err.splitlines()


@pytest.fixture
def trial(bench: Bench, simulator: Served) -> Trial:
    return Trial(bench, simulator)
