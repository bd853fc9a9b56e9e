from __future__ import annotations

import errno
import io
import json
import os
import select
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click
import pytest

from descriptors import needs_dev_full
from poolcensus import errors
from poolcensus.cli import logs, main, standard_output
from poolcensus.cli.exits import NO_THREADS, StoppedError, code_of, report
from poolcensus.config import Settings
from poolcensus.exit_error import exit_error
from poolcensus.scope.joining import naming

if TYPE_CHECKING:
    from pathlib import Path


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
        (RuntimeError("can't start new thread"), 1),
        (ExceptionGroup("x", [RuntimeError("can't start new thread")]), 1),
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


@pytest.mark.parametrize("is_group", [False, True])
def test_what_can_be_done_about_a_limit_on_threads_is_said(
    is_group: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("can't start new thread")
    with report():
        fail(ExceptionGroup("x", [error]) if is_group else error)
    assert capsys.readouterr().err == f"poolcensus: {NO_THREADS}\n"


def test_every_problem_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    with report():
        fail(errors.SettingsError("one", "two"))
    assert capsys.readouterr().err == "poolcensus: one\npoolcensus: two\n"


@pytest.mark.parametrize(
    "error",
    [
        errors.SettingsError("a\nb"),
        errors.CredentialsError("a\nb"),
        errors.SnapshotError("a\nb"),
        errors.DestinationError("a\nb"),
        click.UsageError("a\nb"),
        OSError(errno.ENOENT, "No such file or directory", "a\nb"),
    ],
)
def test_a_name_of_two_lines_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with report():
        fail(error)
    assert capsys.readouterr().err.startswith(r"poolcensus: a\nb")


@pytest.mark.parametrize(
    "error",
    [
        errors.OrganizationError("none is left.", advice="Check `accounts`, or set `deadline`."),
        errors.ScopeError("none is left.", advice="Check `accounts`, or set `deadline`."),
    ],
)
def test_an_error_of_one_organization_names_no_option_for_what_its_table_sets(
    error: errors.FatalError, capsys: pytest.CaptureFixture[str]
) -> None:
    with report(), naming("gov"):
        fail(error)
    assert capsys.readouterr().err == (
        "poolcensus: Organization gov: none is left. Check accounts, or set --deadline.\n"
    )


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), report():
        _ = 1 / 0
    with pytest.raises(RuntimeError, match="x"), report():
        fail(RuntimeError("x"))
    beside_a_bug = ExceptionGroup("x", [RuntimeError("can't start new thread"), ZeroDivisionError()])
    with pytest.raises(ExceptionGroup, match="x"), report():
        fail(beside_a_bug)


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


def test_a_signal_while_the_program_ends_does_not_change_its_code() -> None:
    script = (
        "import os, signal, threading, time\n"
        "from poolcensus.cli.exits import end\n"
        "def ends_late():\n"
        "    time.sleep(0.1)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=ends_late).start()\n"
        "end(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode == 3


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
    assert done.stderr == "poolcensus: standard output: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_pipe_that_does_not_block_takes_everything(
    monkeypatch: pytest.MonkeyPatch, unbuffered: bool
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    read: list[bytes] = []
    wait = standard_output._Output._wait

    def read_and_wait(output: standard_output._Output) -> None:
        read.append(os.read(reading, 1 << 16))
        wait(output)

    monkeypatch.setattr(standard_output._Output, "_wait", read_and_wait)
    text = "".join(f"{number}\n" for number in range(50_000))
    with open(reading, "rb", closefd=True) as reader, open(writing, "wb", buffering=0) as raw:  # noqa: PTH123 - a descriptor
        with io.TextIOWrapper(raw, write_through=unbuffered) as stream:
            named = standard_output._named(stream)
            named.write(text)
            named.flush()
        assert len(read) > 1
        assert b"".join(read) + reader.read() == text.encode()


def test_a_pipe_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    waited: list[bytes] = []

    class ReadMeanwhile:
        def __init__(self) -> None:
            self._poll = real()
            self.register = self._poll.register

        def poll(self) -> list[tuple[int, int]]:
            assert self._poll.poll(0) == []
            waited.append(os.read(reading, 1 << 20))
            return self._poll.poll()

    real = select.poll
    monkeypatch.setattr(select, "poll", ReadMeanwhile)
    with open(reading, "rb"), open(writing, "wb", buffering=0) as raw:  # noqa: PTH123 - a descriptor
        while raw.write(b"x" * (1 << 16)) is not None:
            pass
        with standard_output._Output(writing, "wb", closefd=False) as output:
            output._wait()
        assert waited
        assert raw.write(b"x") == 1


def lines_of(err: str) -> list[dict[str, object]]:
    """The lines of a log, each of which has to be JSON."""
    return [json.loads(line) for line in err.splitlines()]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (errors.SettingsError("one", "two"), 2, "one\ntwo"),
        (errors.ScopeError("no such unit"), 1, "no such unit"),
        (click.UsageError("no such option"), 2, "no such option"),
        (errors.FatalError('a "name"\x1b[2J'), 1, 'a "name"\x1b[2J'),
        (errors.DestinationLockedError("held"), 11, "held"),
        (errors.NotPublishedError("`strict` is set", uncovered=(), count=1), 4, "--strict is set"),
        (StoppedError(signal.SIGINT), 130, "interrupted"),
        (StoppedError(signal.SIGTERM), 143, "terminated"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device"),
        (ZeroDivisionError("x"), 1, "unexpected ZeroDivisionError"),
    ],
)
def test_a_fatal_end_is_the_last_line_of_a_log_in_json(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings.load(log_format="json", log_level="error"))
    with report() as outcome:
        fail(error)
    assert outcome.code == code
    *before, last = lines_of(capsys.readouterr().err)
    assert last.pop("timestamp")
    assert last == {
        "level": "ERROR",
        "logger": "poolcensus",
        "message": message,
        "message_type": "exit_error",
        "code": code,
    }
    assert before
    assert all("message_type" not in each for each in before)
    assert ("Traceback" in str(before[0].get("exc_info"))) is isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_snapshot_that_is_published_in_part_is_no_fatal_end(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings.load(log_format=log_format))
    with report() as outcome:
        fail(errors.IncompleteError("x"))
    assert outcome.code == 3
    assert "exit_error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "variable", "is_json"),
    [
        ("collect --no-such --log-format json", None, True),
        ("collect --log-format=json --page-size 900", None, True),
        ("collect --log-format text --no-such", "json", False),
        ("collect --page-size 900", "json", True),
        ("colect", "json", True),
        ("", "json", True),
        ("show --dest -", "json", True),
        ("collect --no-such", "JSON", True),
        ("collect --no-such --log-format", None, False),
        ("collect --no-such -- --log-format json", None, False),
    ],
)
def test_a_usage_error_is_json_where_the_command_line_or_the_environment_asks_for_it(
    arguments: str,
    variable: str | None,
    is_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if variable is not None:
        monkeypatch.setenv("POOLCENSUS_LOG_FORMAT", variable)
    assert main(arguments.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    if is_json:
        *_, last = lines_of(said.err)
        assert (last["message_type"], last["code"]) == ("exit_error", 2)
    else:
        assert "exit_error" not in said.err
        assert not said.err.startswith("{")


def test_the_line_that_signal_handlers_write_is_that_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings.load(log_format="json"))
    logs.exit_error(143, "terminated")
    (logged,) = lines_of(capsys.readouterr().err)
    (written,) = lines_of(exit_error(143, "terminated").decode())
    times = [datetime.fromisoformat(str(each.pop("timestamp"))) for each in (logged, written)]
    assert times[0].utcoffset() == times[1].utcoffset() == timedelta(0)
    assert logged == written


@pytest.mark.parametrize("code", [0, 3])
def test_exit_functions_run_and_what_they_print_is_printed(code: int) -> None:
    script = (
        "import atexit, threading\n"
        "from poolcensus import cli\n"
        "from poolcensus.__main__ import main\n"
        "def run():\n"
        "    atexit.register(print, 'called', end='')\n"
        "    threading.Thread(target=print, args=('ended',)).start()\n"
        f"    return {code}\n"
        "cli.main = run\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "ended\ncalled", "")


def test_no_file_takes_the_place_of_a_standard_stream_that_is_closed(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from poolcensus import cli\n"
        "from poolcensus.__main__ import main\n"
        "def run():\n"
        "    nothing = os.stat(os.devnull)\n"
        "    there = [os.path.samestat(os.fstat(number), nothing) for number in range(3)]\n"
        "    passed_on = [os.get_inheritable(number) for number in range(3)]\n"
        "    text = repr((there, passed_on, sys.stdin, sys.stdout, sys.stderr))\n"
        "    Path(sys.argv[1]).write_text(text)\n"
        "    return 0\n"
        "cli.main = run\n"
        "main()\n"
    )
    closed = 'exec "$@" <&- >&- 2>&-'
    seen = tmp_path / "seen"
    subprocess.run(["/bin/sh", "-c", closed, "sh", sys.executable, "-c", script, seen], check=True)
    assert seen.read_text() == repr(([True] * 3, [True] * 3, None, None, None))


def test_a_bug_ends_as_python_ends() -> None:
    script = (
        "import sys\n"
        "from poolcensus import cli\n"
        "from poolcensus.__main__ import main\n"
        "cli.main = lambda: 1 // 0\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ZeroDivisionError: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--version"], "standard output: Bad file descriptor"),
        (["completion", "bash"], "standard output: Bad file descriptor"),
        (["collect", "--dest", "-"], "standard output is closed: nothing can be written there"),
    ],
)
def test_what_would_go_to_a_standard_output_that_is_closed_is_an_error(
    arguments: list[str], said: str
) -> None:
    # Without anything to call: the destination is looked at before.
    environment = {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    ended = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "poolcensus", *arguments],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (1, f"poolcensus: {said}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "s3://AKIA:sEcretpw@bucket/x"),
        ("verify", "https://user:sEcretpw@host/x"),
        ("diff", "https://user:sEcretpw@host/x", "latest"),
        ("collect", "--engine", "dask", "--scheduler", "tls://user:sEcretpw@host:1"),
        ("export", "--output", "s3://AKIA:sEcretpw@bucket/x"),
        ("collect", "--accounts-from", "https://user:sEcretpw@host/x.csv"),
        ("collect", "--config", "https://user:sEcretpw@host/x.toml"),
        ("collect", "--dest", "https://user:sEcretpw@host/x"),
    ],
)
def test_a_password_in_what_is_refused_is_not_shown(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) in {1, 2}
    captured = capsys.readouterr()
    assert "sEcretpw" not in captured.out + captured.err
