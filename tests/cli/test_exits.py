from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import click
import pytest

from descriptors import needs_dev_full
from poolcensus import errors
from poolcensus.cli.exits import StoppedError, code_of, report


def fail(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("x"), 2),
        (click.UsageError("x"), 2),
        (errors.FatalError("x"), 1),
        (errors.CredentialsError("x"), 1),
        (errors.DestinationError("x"), 1),
        (errors.SnapshotError("x"), 1),
        (errors.DestinationLockedError("x"), 11),
        (errors.NotPublishedError("x", uncovered=(), count=0), 4),
        (errors.IncompleteError("x"), 3),
        (StoppedError(signal.SIGINT), 130),
        (StoppedError(signal.SIGTERM), 143),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
    ],
)
def test_every_way_to_end_has_its_code_and_a_line(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(error) == code
    with report() as outcome:
        fail(error)
    assert outcome.code == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("poolcensus: ")
    assert said.err.endswith("\n")
    assert "Traceback" not in said.err


def test_every_problem_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    with report():
        fail(errors.SettingsError("one\ntwo"))
    assert capsys.readouterr().err == "poolcensus: one\npoolcensus: two\n"


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), report():
        _ = 1 / 0


def test_a_reader_that_leaves_a_census_early_is_no_drama_either() -> None:
    script = (
        "import sys\n"
        "from poolcensus.cli.exits import report\n"
        "from poolcensus.errors import DestinationError\n"
        "with report() as outcome:\n"
        "    raise DestinationError('closed') from BrokenPipeError()\n"
        "sys.exit(outcome.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_a_reader_that_leaves_early_is_no_drama() -> None:
    script = (
        "import sys\n"
        "from poolcensus.cli.exits import report\n"
        "with report() as outcome:\n"
        "    for _ in range(100000): print('x' * 100)\n"
        "sys.exit(outcome.code)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


@needs_dev_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["--version", "--help", "collect --help"])
def test_a_full_device_behind_standard_output_is_one_line(arguments: str, unbuffered: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m poolcensus {arguments} > /dev/full"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == "poolcensus: No space left on device\n"
    assert done.returncode == 1
