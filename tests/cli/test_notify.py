from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ended_census import MANIFEST, result
from poolcensus import errors
from poolcensus.cli import main, notify
from poolcensus.cli.exits import StoppedError
from poolcensus.config import Settings
from poolcensus.format.times import rfc3339
from poolcensus.model import Outcome, Totals

if TYPE_CHECKING:
    from ended_census import FakeLibrary

TOTALS = {
    "targets": 4,
    "covered": 4,
    "pools": 7,
    "pages": 3,
    "requests": 9,
    "retries": 1,
    "throttles": 1,
    "assume_role_calls": 2,
}
PUBLISHED = {
    "message_type": "summary",
    "status": "complete",
    "message": "4 of 4 targets covered, 7 pools.",
    "exit_code": 0,
    "run_id": MANIFEST.snapshot_id,
    "snapshot_id": MANIFEST.snapshot_id,
    "dest": "snapshots",
    "location": "snapshots/20261123T020000Z-3f9a1c",
    "started_at": rfc3339(MANIFEST.started_at),
    "finished_at": rfc3339(MANIFEST.finished_at),
    "seconds": 12.3,
    "totals": TOTALS,
    "outcomes": {"ok": 3, "empty": 1},
    "known_gaps": 0,
    "failures": [],
    "hidden": [],
}
UNPUBLISHED = {
    **PUBLISHED,
    "snapshot_id": None,
    "location": None,
}


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told"


def command(script: str) -> str:
    """A command line that runs a script of the shell."""
    return f"/bin/sh -c {shlex.quote(script)}"


def keeping(file: Path) -> str:
    return command(f"cat > {shlex.quote(str(file))}")


def read(file: Path) -> dict[str, Any]:
    text = file.read_text(encoding="ascii")
    assert text.count("\n") == 1
    found: dict[str, Any] = json.loads(text)
    if found.get("snapshot_id", "") is None:
        # Nothing is published that has them: they are of the run, which has just ended.
        began, ended = (datetime.fromisoformat(found.pop(key)) for key in ("started_at", "finished_at"))
        assert timedelta() <= datetime.now(UTC) - ended < timedelta(minutes=2)
        assert (ended - began).total_seconds() == pytest.approx(found["seconds"], abs=0.002)
        found |= {key: PUBLISHED[key] for key in ("started_at", "finished_at")}
    return found


def test_the_command_gets_the_summary_of_a_snapshot_that_is_whole(
    library: FakeLibrary, told: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--notify-command", keeping(told)]) == 0
    assert read(told) == PUBLISHED
    assert capfd.readouterr() == ("", "")


def test_the_message_counts_one_as_one(library: FakeLibrary, told: Path) -> None:
    library.snapshot.manifest = replace(MANIFEST, totals=Totals(targets=1, covered=1, pools=1))
    assert main(["collect", "--notify-command", keeping(told)]) == 0
    assert read(told)["message"] == "1 of 1 target covered, 1 pool."


def test_the_command_is_told_of_pools_that_are_hidden_now(library: FakeLibrary, told: Path) -> None:
    hidden = tuple(
        replace(result(each, region), pools=3)
        for each in range(1, 8)
        for region in ("af-south-1", "eu-south-1")
    )
    library.hidden = {Outcome.REGION_DISABLED: hidden, Outcome.NOT_ENTITLED: hidden[:1]}
    assert main(["collect", "--notify-command", keeping(told)]) == 0
    found = read(told)
    assert found["message"] == (
        "4 of 4 targets covered, 7 pools. 45 pools of earlier snapshots can't be listed now."
    )
    disabled, closed = found["hidden"]
    examples = disabled.pop("examples")
    assert disabled == {"outcome": "region_disabled", "pools": 42, "targets": 14, "accounts": 7}
    assert [(each["account_id"], each["region"], each["regions"]) for each in examples] == [
        (f"{each:012d}", "af-south-1", 2) for each in range(1, 6)
    ]
    assert (closed["outcome"], closed["pools"], len(closed["examples"])) == ("not_entitled", 3, 1)


def test_of_many_kinds_of_hidden_pools_the_command_is_told_the_first(
    library: FakeLibrary, told: Path
) -> None:
    many = tuple(replace(result(1), pools=1, organization=f"org-{number:02d}") for number in range(12))
    library.hidden = {Outcome.REGION_DISABLED: many}
    assert main(["collect", "--notify-command", keeping(told)]) == 0
    assert len(read(told)["hidden"]) == 10


def test_the_command_is_told_of_which_organization_each_kind_is(library: FakeLibrary, told: Path) -> None:
    one, two, other = (
        replace(result(each, outcome=Outcome.SCP_DENIED, code="AccessDenied"), organization=name)
        for each, name in ((4, "one"), (5, "two"), (6, "two"))
    )
    library.partial(one, two, other)
    library.hidden = {
        Outcome.NOT_ENTITLED: tuple(replace(each, pools=3) for each in (one, two, other)),
        Outcome.REGION_DISABLED: (replace(two, pools=1),),
    }
    assert main(["collect", "--notify-command", keeping(told)]) == 3
    found = read(told)
    assert [(each["organization"], each["outcome"], each["targets"]) for each in found["failures"]] == [
        ("two", "scp_denied", 2),
        ("one", "scp_denied", 1),
    ]
    assert [(each["organization"], each["outcome"], each["pools"]) for each in found["hidden"]] == [
        ("one", "not_entitled", 3),
        ("two", "not_entitled", 6),
        ("two", "region_disabled", 1),
    ]


def test_the_command_gets_the_failures_of_a_snapshot_in_part(library: FakeLibrary, told: Path) -> None:
    hostile = replace(
        result(4, outcome=Outcome.SCP_DENIED, code="AccessDenied"), account_name="\x1b\n" * 50_000
    )
    library.partial(hostile, result(4, "us-east-1", Outcome.SCP_DENIED, "AccessDenied"))
    assert main(["collect", "--notify-command", keeping(told)]) == 3
    found = read(told)
    (failure,) = found.pop("failures")
    (example,) = failure.pop("examples")
    assert failure == {
        "outcome": "scp_denied",
        "error_code": "AccessDenied",
        "policy": None,
        "region": None,
        "targets": 2,
        "accounts": 1,
    }
    assert (example["account_id"], example["region"], example["regions"]) == ("000000000004", "eu-west-1", 2)
    assert len(told.read_bytes()) < 10_000
    assert found["status"] == "partial"
    assert found["message"] == "2 of 4 targets covered, 7 pools."
    assert found["exit_code"] == 3


@pytest.mark.parametrize(
    ("error", "told_of"),
    [
        (errors.CredentialsError("No AWS credentials found."), (1, "failed", "No AWS credentials found.")),
        (errors.DestinationLockedError("held"), (11, "failed", "held")),
        (
            errors.NotPublishedError("Not published: `strict` is set.", uncovered=(), count=1),
            (4, "not_published", "Not published: --strict is set."),
        ),
        (errors.SettingsError("no such profile"), (2, "failed", "no such profile")),
    ],
)
def test_the_command_gets_why_nothing_was_published(
    library: FakeLibrary, told: Path, error: Exception, told_of: tuple[int, str, str]
) -> None:
    code, status, message = told_of
    library.error = error
    assert main(["collect", "--notify-command", keeping(told)]) == code
    assert read(told) == {**UNPUBLISHED, "status": status, "message": message, "exit_code": code}


def test_a_bug_is_told_too_and_keeps_its_traceback(library: FakeLibrary, told: Path) -> None:
    library.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(["collect", "--notify-command", keeping(told)])
    assert (read(told)["status"], read(told)["exit_code"]) == ("failed", 1)


def test_after_a_signal_the_command_is_started_and_not_waited_for(
    library: FakeLibrary, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    library.error = StoppedError(signal.SIGTERM)
    # It ends once the test reads what it writes.
    assert main(["collect", "--notify-command", keeping(pipe)]) == 143
    assert read(pipe) == {**UNPUBLISHED, "status": "interrupted", "message": "terminated", "exit_code": 143}


def test_nor_is_it_where_the_signal_came_too_late_for_the_snapshot(
    library: FakeLibrary, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    library.error = StoppedError(signal.SIGTERM)
    library.published = library.snapshot
    assert main(["collect", "--notify-command", keeping(pipe)]) == 0
    assert json.loads(pipe.read_text()) == PUBLISHED


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo out; echo err >&2; exit 7", ["/bin/sh exited with status 7", "out", "err"]),
        ("kill -9 $$", ["/bin/sh was ended by signal 9"]),
        ("printf '\\033[2J\\377'; exit 1", ["/bin/sh exited with status 1", r"\x1b[2J"]),
        ("seq 100000; exit 1", ["/bin/sh exited with status 1", "99999", "100000"]),
    ],
)
def test_a_command_that_fails_is_a_warning_and_the_code_of_the_run_stays(
    library: FakeLibrary,
    capsys: pytest.CaptureFixture[str],
    script: str,
    words: list[str],
    published: bool,
) -> None:
    if not published:
        library.error = errors.DestinationLockedError("held")
    assert main(["collect", "--notify-command", command(script)]) == (0 if published else 11)
    said = capsys.readouterr()
    assert said.out == ""
    for word in words:
        assert word in said.err
    assert "The run itself is not affected." in said.err
    assert len(said.err.splitlines()) <= 12
    assert all(line.startswith("poolcensus: ") for line in said.err.splitlines())


def test_a_command_that_is_not_there_is_a_warning(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--notify-command", "/no/such secret-word"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("poolcensus: The notify command /no/such could not be started: No such file")
    assert "secret-word" not in said


def test_a_command_that_does_not_end_is_ended_with_all_that_it_has_started(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(notify, "TIME_LIMIT", 0.3)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Open for reading and writing, so that no open waits. The end of all writers is that of the processes.
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert main(["collect", "--notify-command", command(f"sleep 1000 > {pipe} & wait")]) == 0
        assert "took more than 0.3 s" in capsys.readouterr().err
        os.set_blocking(reading, True)
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)


def test_a_command_that_prints_without_end_is_ended(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--notify-command", command("yes printed")]) == 0
    first, *said = capsys.readouterr().err.splitlines()
    assert "/bin/sh was ended: printed more than 16 MB" in first
    # The last line may have been cut off.
    assert said[:-1] == ["poolcensus: printed"] * 9


def test_a_command_that_can_not_be_ended_is_not_waited_for(
    library: FakeLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[int] = []

    def refuse(group: int, _: int) -> None:
        started.append(group)
        raise PermissionError

    monkeypatch.setattr(notify, "TIME_LIMIT", 0.1)
    monkeypatch.setattr(notify, "_KILLED_WITHIN", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", refuse)
        assert main(["collect", "--notify-command", "/bin/sleep 1000"]) == 0
    (group,) = started
    os.killpg(group, signal.SIGKILL)
    os.waitpid(group, 0)
    assert "/bin/sleep still runs and could not be ended: took more than 0.1 s" in capsys.readouterr().err


def test_a_signal_ends_the_wait_and_not_the_run(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    script = f"kill -TERM {os.getpid()}; sleep 1000"
    assert main(["collect", "--notify-command", command(script)]) == 0
    assert "/bin/sh was ended: SIGTERM" in capsys.readouterr().err
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_a_command_says_that_works_is_for_those_who_ask(
    library: FakeLibrary, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["collect", "--notify-command", command("echo done")]
    assert main(line) == 0
    assert capfd.readouterr() == ("", "")
    assert main([*line, "--log-level", "info"]) == 0
    assert "the notify command said: done" in capfd.readouterr().err


def test_a_log_in_json_stays_json(library: FakeLibrary, capfd: pytest.CaptureFixture[str]) -> None:
    library.error = errors.CredentialsError("none")
    script = command("echo not json; exit 1")
    assert main(["collect", "--log-format", "json", "--notify-command", script]) == 1
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [each["message"] for each in lines][1:] == ["not json", "none", "none"]
    assert lines[-1]["message_type"] == "exit_error"
    assert {each["run_id"] for each in lines} == {MANIFEST.snapshot_id}


def test_the_environment_is_passed_on_and_the_words_go_through_no_shell(
    library: FakeLibrary, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "yes")
    script = "import os, sys; print(os.environ['CANARY'], *sys.argv[2:], file=open(sys.argv[1], 'w'))"
    line = shlex.join([sys.executable, "-c", script, str(told), "$HOME", "a b", ">x"])
    assert main(["collect", "--notify-command", line]) == 0
    assert told.read_text() == "yes $HOME a b >x\n"


@pytest.mark.parametrize("line", ['mail "open', "   ", "''", "a\0b"])
def test_a_command_that_is_none_is_a_wrong_setting(
    library: FakeLibrary, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    assert main(["collect", "--notify-command", line]) == 2
    assert library.asked == []
    said = capsys.readouterr().err
    assert "--notify-command: " in said
    assert "open" not in said


@pytest.mark.parametrize(
    ("wrong", "a_run"),
    [
        ("--concurrency=0", False),
        ("--no-such-option", False),
        ("--config=nowhere.toml", False),
        ("--external-id-file=nowhere", True),
        ("--accounts-snapshot=nowhere", True),
    ],
)
def test_a_wrong_setting_is_a_failed_run_only_where_it_is_found_as_the_run_begins(
    wrong: str, a_run: bool, told: Path
) -> None:
    metrics = Path("run.prom")
    assert main(["collect", wrong, f"--metrics-file={metrics}", f"--notify-command={keeping(told)}"]) == 2
    assert metrics.exists() is told.exists() is a_run
    if a_run:
        assert "\npoolcensus_run_exit_code 2.0\n" in metrics.read_text(encoding="utf-8")
        assert read(told)["exit_code"] == 2


def test_plan_tells_nobody(library: FakeLibrary, told: Path) -> None:
    assert main(["plan", "--notify-command", keeping(told)]) == 0
    assert not told.exists()


def test_a_file_may_name_the_command(library: FakeLibrary, told: Path) -> None:
    Path("poolcensus.toml").write_text(f"notify_command = {json.dumps(keeping(told))}\n")
    assert main(["collect"]) == 0
    assert read(told) == PUBLISHED
    assert Settings.load().notify_command == keeping(told)
