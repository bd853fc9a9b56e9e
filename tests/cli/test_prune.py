from __future__ import annotations

import errno
import json
import os
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.cli import main
from poolcensus.snapshot import list_snapshots
from poolcensus.storage.local.store import FolderStore
from snapshot.making import ago, make

if TYPE_CHECKING:
    from pathlib import Path

OLD, MIDDLE, NEW = (f"202611{day}T020000Z-000000" for day in (21, 22, 23))


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    folder = tmp_path / "snapshots"
    for snapshot_id in (OLD, MIDDLE, NEW):
        anyio.run(make, folder, snapshot_id)
    return folder


def ids(dest: Path) -> list[str]:
    return [each.id for each in list_snapshots(dest)]


def test_without_a_terminal_it_is_quiet(dest: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--dest", str(dest), "--keep-last", "2"]) == 0
    assert capfd.readouterr() == ("", "")
    assert ids(dest) == [MIDDLE, NEW]


def test_a_terminal_sees_what_was_done(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["prune", "--dest", str(dest), "--keep-daily", "1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    # Older versions of rich take a dumb terminal for one of 80 columns, where reasons go on in a second line.
    of_snapshots = [row[:2] for row in rows if row[0] in {OLD, MIDDLE, NEW}]
    assert of_snapshots == [[OLD, "remove"], [MIDDLE, "remove"], [NEW, "keep"]]


def test_a_dry_run_prints_and_removes_nothing(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prune", "--dest", str(dest), "--keep-monthly", "1", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert [line.split() for line in said.out.splitlines()[1:]] == [
        [OLD, "remove", "whole", "organization"],
        [MIDDLE, "remove", "whole", "organization"],
        [NEW, "keep", "whole", "organization", "keep-monthly,", "newest-complete,", "latest"],
    ]
    assert ids(dest) == [OLD, MIDDLE, NEW]


@pytest.mark.parametrize("dry_run", [False, True])
def test_json_is_an_object_a_line(dest: Path, capsys: pytest.CaptureFixture[str], dry_run: bool) -> None:
    line = ["prune", "--dest", str(dest), "--keep-last", "2", "--keep-daily", "1", "--json"]
    assert main([*line, *(["--dry-run"] if dry_run else [])]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert [json.loads(each) for each in said.out.splitlines()] == [
        {"snapshot_id": OLD, "action": "remove", "reasons": [], "scope": "whole organization", "error": None},
        {
            "snapshot_id": MIDDLE,
            "action": "keep",
            "reasons": ["keep-last"],
            "scope": "whole organization",
            "error": None,
        },
        {
            "snapshot_id": NEW,
            "action": "keep",
            "reasons": ["keep-last", "keep-daily", "newest-complete", "latest"],
            "scope": "whole organization",
            "error": None,
        },
    ]
    assert ids(dest) == ([OLD, MIDDLE, NEW] if dry_run else [MIDDLE, NEW])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--keep-last, --keep-daily or --keep-monthly"),
        (["--dry-run"], "--keep-last, --keep-daily or --keep-monthly"),
        (["--keep-last", "0"], "--keep-last"),
        (["--keep-daily", "-1"], "--keep-daily"),
        (["--keep-monthly", "many"], "--keep-monthly"),
        (["--keep-weekly", "1"], "--keep-"),
        (["--keep-last", "1", "--dest", "-"], "--dest"),
    ],
)
def test_wrong_usage_removes_nothing(
    dest: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], word: str
) -> None:
    assert main(["prune", "--dest", str(dest), *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("poolcensus: ")
    assert word in said.err
    assert ids(dest) == [OLD, MIDDLE, NEW]


def test_a_run_that_holds_the_destination_is_named(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = FolderStore(dest)
    anyio.run(held.__aenter__)
    try:
        assert main(["prune", "--dest", str(dest), "--keep-last", "1"]) == 11
        said = capsys.readouterr()
        assert said.out == ""
        assert f'Destination "{dest}" is locked by another run (started ' in said.err
        assert main(["prune", "--dest", str(dest), "--keep-last", "1", "--dry-run"]) == 0
    finally:
        anyio.run(held.__aexit__, None, None, None)
    assert ids(dest) == [OLD, MIDDLE, NEW]


def test_what_cannot_be_read_is_a_line_and_stays(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dest / OLD / "manifest.json").write_text("{")
    assert main(["prune", "--dest", str(dest), "--keep-last", "1"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("poolcensus: left alone: ")
    assert str(dest / OLD) in line
    assert (dest / OLD).exists()
    assert ids(dest) == [NEW]


def test_what_cannot_be_removed_is_a_line_and_the_others_go(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dest / f".pruned-{OLD}").write_text("in the way")
    assert main(["prune", "--dest", str(dest), "--keep-last", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"poolcensus: can't remove {dest / OLD}: ")
    assert ids(dest) == [OLD, NEW]


def test_json_says_of_each_snapshot_why_it_is_still_there(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dest / f".pruned-{OLD}").write_text("in the way")
    assert main(["prune", "--dest", str(dest), "--keep-last", "1", "--json"]) == 1
    said = capsys.readouterr()
    errors = {each["snapshot_id"]: each["error"] for each in map(json.loads, said.out.splitlines())}
    assert errors.pop(OLD) == said.err.removeprefix("poolcensus: ").rstrip()
    assert errors == {MIDDLE: None, NEW: None}


def test_a_log_in_json_ends_with_what_could_not_be_removed(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dest / f".pruned-{OLD}").write_text("in the way")
    assert main(["prune", "--dest", str(dest), "--keep-last", "1", "--log-format", "json"]) == 1
    said, last = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert said["message"].startswith(f"can't remove {dest / OLD}: ")
    assert (last["message_type"], last["code"]) == ("exit_error", 1)
    assert last["message"] == "1 snapshot could not be removed"


def test_what_cannot_be_removed_is_said_though_nobody_reads_the_rows(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "standard output")

    monkeypatch.setattr("poolcensus.cli.output.write_line", closed)
    (dest / f".pruned-{OLD}").write_text("in the way")
    assert main(["prune", "--dest", str(dest), "--keep-last", "1", "--json"]) == 1
    assert f"poolcensus: can't remove {dest / OLD}: " in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--json"]])
def test_no_destination_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    missing = tmp_path / "missing"
    assert main(["prune", "--dest", str(missing), "--keep-last", "1", *options]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"poolcensus: There is no folder {missing}. Check --dest, or run ")
    assert not missing.exists()


def test_one_from_the_future_is_a_line_and_stays(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ahead = ago(-24)
    anyio.run(make, dest, ahead)
    assert main(["prune", "--dest", str(dest), "--keep-last", "1", "--json"]) == 0
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"poolcensus: Snapshot {ahead} is dated in the future: ")
    assert "prune leaves it alone" in line
    assert {each["snapshot_id"]: each["reasons"] for each in map(json.loads, said.out.splitlines())} == {
        OLD: [],
        MIDDLE: [],
        NEW: ["keep-last", "newest-complete", "latest"],
        ahead: ["future"],
    }
    assert {*ids(dest)} == {NEW, ahead}
