"""`poolcensus diff`: what a person reads, what a program reads, and what it ends with."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analysis.two_snapshots import A_ID, B_ID, LATER, MANIFEST, Content, key, pool, two, write
from poolcensus.cli import main
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.model import JsonObject

REGIONS = [f"region-{number:02}" for number in range(17)]
A: Content = {
    key(1, "eu-west-1"): [pool(1, PoolName="desks", State="RUNNING"), pool(2, PoolName="old")],
    key(1, "us-east-1"): [pool(3, Settings={"Idle": 900, "Max": 1, "Tags": ["a"]})],
    **{key(2, region): [pool(9)] for region in REGIONS},
    key(3, "eu-west-1"): [pool(4)],
    key(3, "us-east-1"): Outcome.EMPTY,
    key(4): [pool(5, CapacityStatus={"ActiveUserSessions": 1})],
}
B: Content = {
    key(1, "eu-west-1"): [pool(1, PoolName="desks", State="STOPPED", Note="x"), pool(6, PoolName="new")],
    key(1, "us-east-1"): [pool(3, Settings={"Idle": None, "Max": 1, "Tags": ["b"]})],
    **{key(2, region): Outcome.ASSUME_ROLE_FAILED for region in REGIONS},
    key(3, "eu-west-1"): [pool(4), pool(7, State="CREATING")],
    key(3, "us-east-1"): Outcome.THROTTLED,
    key(4): [pool(5, CapacityStatus={"ActiveUserSessions": 2})],
}
TABLE = """\
A  20261123T020000Z-aaaaaa  22 pools, 22 of 22 targets covered
B  20261124T020000Z-bbbbbb  6 pools, 4 of 22 targets covered

000000000001 acct-1
  eu-west-1
    changed  wspool-000000001  desks
             Note: (none) -> x
             State: RUNNING -> STOPPED
    removed  wspool-000000002  old
    added    wspool-000000006  new
  us-east-1
    changed  wspool-000000003
             Settings.Idle: 900 -> (none)
             Settings.Tags: ["a"] -> ["b"]
000000000002 acct-2  unknown  17 regions: assume_role_failed in B (17 pools in A)
000000000003 acct-3
  eu-west-1
    added    wspool-000000007  CREATING
  unknown  us-east-1: throttled in B

2 added, 1 removed, 2 changed, 2 unchanged; 18 targets unknown
"""


def run(dest: Path, *arguments: str) -> int:
    return main(["diff", "--dest", str(dest), *arguments])


def test_a_person_reads_a_line_for_each_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two(tmp_path, A, B)
    assert run(tmp_path, A_ID, B_ID) == 0
    assert capsys.readouterr() == (TABLE, "")


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ({"X": {"on": True, "b": 1}}, {"X": {"on": 1, "b": 1}}, "X.on: true -> 1"),
        ({"X": {"Idle": None}}, {"X": {}}, 'X: {"Idle":null} -> {}'),
        ({"X": {"Y": {"Idle": None}}}, {"X": {"Y": {}}}, 'X.Y: {"Idle":null} -> {}'),
    ],
)
def test_a_change_always_says_what_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], before: JsonObject, after: JsonObject, shown: str
) -> None:
    two(tmp_path, {key(1): [pool(1, **before)]}, {key(1): [pool(1, **after)]})
    assert run(tmp_path, A_ID, B_ID) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("    changed  wspool-000000001") + 1].strip() == shown
    assert lines[:2] == [
        f"{name}  {each}  1 pool, 1 of 1 target covered" for name, each in (("A", A_ID), ("B", B_ID))
    ]


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_no_line_is_broken_by_the_width(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    two(tmp_path, A, B)
    monkeypatch.setenv("COLUMNS", columns)
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == TABLE


def test_a_terminal_has_colours_and_nothing_else_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    two(tmp_path, A, B)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert run(tmp_path) == 0
    coloured = capsys.readouterr().out
    assert "\x1b[31mremoved\x1b[0m  wspool-000000002" in coloured
    assert coloured.count("\x1b[0m") == coloured.count("\x1b[") / 2
    monkeypatch.setenv("NO_COLOR", "1")
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == TABLE


def test_a_program_reads_events_and_the_statistics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two(tmp_path, A, B)
    assert run(tmp_path, "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    *events, statistics = map(json.loads, captured.out.splitlines())
    assert [each["change"] for each in events] == [
        "changed", "removed", "added", "changed", *["unknown"] * 17, "added", "unknown",
    ]  # fmt: skip
    assert statistics == {
        "change": "statistics",
        "a": A_ID,
        "b": B_ID,
        "added": 2,
        "removed": 1,
        "changed": 2,
        "unknown": 18,
        "expected": 0,
        "unchanged": 2,
    }
    assert events[0]["fields"] == {"Note": [None, "x"], "State": ["RUNNING", "STOPPED"]}
    assert events[2]["pool"] == pool(6, PoolName="new")


def test_where_nothing_differs_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same: Content = {key(1): [pool(1), pool(2)], key(2): Outcome.EMPTY}
    two(tmp_path, same, same)
    assert run(tmp_path, "--exit-code") == 0
    assert capsys.readouterr() == (f"No differences: 2 pools unchanged between {A_ID} and {B_ID}.\n", "")
    assert run(tmp_path, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["unchanged"] == 2


@pytest.mark.parametrize(
    ("b", "code"),
    [
        ({key(1): [pool(1)]}, 0),
        ({key(1): [pool(1), pool(2)]}, 1),
        ({key(1): []}, 1),
        ({key(1): [pool(1, State="x")]}, 1),
        ({key(1): Outcome.THROTTLED}, 1),
        ({key(1): [pool(1, CapacityStatus={})]}, 0),
    ],
)
def test_the_exit_code_says_where_anything_differs_or_is_unknown(
    tmp_path: Path, b: Content, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    two(tmp_path, {key(1): [pool(1)]}, b)
    assert run(tmp_path, "--exit-code") == code
    assert run(tmp_path, "--exit-code", "--json") == code
    assert run(tmp_path) == 0


@pytest.mark.parametrize(
    ("arguments", "first", "second"),
    [
        ([], A_ID, B_ID),
        (["latest~1"], A_ID, B_ID),
        (["latest", "latest~1"], B_ID, A_ID),
        ([A_ID, "latest"], A_ID, B_ID),
        (["latest", A_ID], B_ID, A_ID),
        (["path"], A_ID, B_ID),
    ],
)
def test_snapshots_are_named_as_elsewhere(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    first: str,
    second: str,
) -> None:
    two(tmp_path, A, B)
    given = [str(tmp_path / A_ID) if each == "path" else each for each in arguments]
    assert run(tmp_path, "--json", *given) == 0
    statistics = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (statistics["a"], statistics["b"]) == (first, second)


@pytest.mark.parametrize(
    ("ignore", "fields"),
    [
        ([], ["PoolName", "State"]),
        (["--ignore", ""], ["CapacityStatus", "PoolName", "State"]),
        (["--ignore", "State"], ["CapacityStatus", "PoolName"]),
        (["--ignore", "State, CapacityStatus"], ["PoolName"]),
        (["--ignore", "State", "--ignore", "CapacityStatus"], ["PoolName"]),
    ],
)
def test_fields_are_ignored_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ignore: list[str], fields: list[str]
) -> None:
    two(
        tmp_path,
        {key(1): [pool(1, State="a", PoolName="a", CapacityStatus={"x": 1})]},
        {key(1): [pool(1, State="b", PoolName="b", CapacityStatus={"x": 2})]},
    )
    assert run(tmp_path, "--json", *ignore) == 0
    change, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert [*change["fields"]] == fields


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("Capacitystatus", "CapacityStatus"),
        ("State,poolname", "PoolName"),
        ("pool_name", "PoolName"),
        ("Stat", "State"),
    ],
)
def test_what_is_nearly_a_field_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, meant: str
) -> None:
    two(tmp_path, {key(1): [pool(1)]}, {key(1): [pool(1)]})
    assert run(tmp_path, "--ignore", given) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"Did you mean {meant}?" in captured.err


def test_a_field_that_the_service_may_add_can_be_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two(tmp_path, {key(1): [pool(1, PoolType="a")]}, {key(1): [pool(1, PoolType="b")]})
    assert run(tmp_path, "--json", "--ignore", "PoolType") == 0
    assert json.loads(capsys.readouterr().out)["unchanged"] == 1


EVIL = "[red]\x1b[2J\u202e\n000000000009"


def test_a_name_is_never_an_order_nor_a_line_and_is_cut_where_it_is_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two(
        tmp_path,
        {key(1): [pool(1, PoolName="x", **{EVIL: 1})], key(2): [pool(1)]},
        {
            key(1): [pool(1, PoolName="y" * 100_000), pool(2, PoolName=EVIL, State={"a": EVIL})],
            key(2): Outcome.ERROR,
        },
        named=lambda _: EVIL,
    )
    assert run(tmp_path) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.isascii()
    assert not {*captured.out} & {"\x1b", "\r"}
    shown = r"[red]\x1b[2J\u202e\n000000000009"
    assert captured.out.splitlines()[3:] == [
        f"000000000001 {shown}",
        "  us-east-1",
        "    changed  wspool-000000001",
        f"             PoolName: x -> {'y' * 200}... (100,000 characters)",
        f"             {shown}: 1 -> (none)",
        f"    added    wspool-000000002  {shown} " + r'{"a":"[red]\u001b[2J\u202e\n000000000009"}',
        f"000000000002 {shown}  unknown  us-east-1: error in B (1 pool in A)",
        "",
        "1 added, 0 removed, 1 changed, 0 unchanged; 1 target unknown",
    ]


def test_warnings_are_lines_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {key(1): [pool(1)]})
    write(tmp_path, {key(1): Outcome.NOT_ENTITLED}, replace(LATER, organization_id="o-other"))
    assert run(tmp_path) == 0
    captured = capsys.readouterr()
    assert "unknown  us-east-1: not_entitled in B (1 pool in A)" in captured.out
    organizations, closed = captured.err.splitlines()
    assert organizations.startswith("poolcensus: The snapshots are of different Organizations")
    assert closed.startswith(
        "poolcensus: In B, WorkSpaces Pools is closed to 1 account in which A saw 1 pool"
    )


def only_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()
    assert line.startswith("poolcensus: ")
    return line


def test_a_newer_first_snapshot_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two(tmp_path, A, B)
    assert run(tmp_path, B_ID, A_ID) == 0
    assert f"A ({B_ID}) is newer than B ({A_ID})" in only_sentence(capsys)


@pytest.mark.parametrize("name", ["s5", ".", "a night's census", "-d"])
def test_the_commands_that_are_advised_work_as_they_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def advised() -> list[str]:
        found = re.search(r"Run '(poolcensus .+)' (?:for|to) ", only_sentence(capsys))
        assert found is not None
        return shlex.split(found[1])[1:]

    monkeypatch.chdir(tmp_path)
    dest = tmp_path / name
    write(dest, A)
    newest = write(dest, dict.fromkeys(B, Outcome.UNREACHABLE), LATER)
    assert main(["diff", f"--dest={name}", "latest~1", "latest"]) == 0
    show = advised()
    assert (show[0], main(show)) == ("show", 0)
    assert "UNREACHABLE" in capsys.readouterr().out.upper()
    assert newest.path is not None
    shutil.rmtree(newest.path)
    write(dest, B, LATER)
    assert main(["diff", f"--dest={name}", "latest", "latest~1"]) == 0
    usual = advised()
    assert (usual[0], main(usual)) == ("diff", 0)
    assert capsys.readouterr() == (TABLE, "")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_what_can_not_be_compared_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    write(tmp_path, {key(1): [pool(1)]})
    assert run(tmp_path, *arguments) == 1
    assert "No snapshot latest~1" in only_sentence(capsys)
    b = write(tmp_path, {key(1): []}, replace(LATER, request={"pool_ids": ["wspool-000000001"]}))
    assert run(tmp_path, *arguments) == 1
    assert "were asked for different pools by --pool-id:" in only_sentence(capsys)
    assert b.path is not None
    manifest = b.path / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"schema_version": 2', b'"schema_version": 3'))
    assert run(tmp_path, A_ID, B_ID, *arguments) == 1
    assert "was written by a newer poolcensus" in only_sentence(capsys)
    manifest.write_bytes(b"")
    assert run(tmp_path, A_ID, B_ID, *arguments) == 1
    assert "the snapshot is damaged" in only_sentence(capsys)


def test_a_damaged_snapshot_has_no_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two(tmp_path, A, B)
    pools = tmp_path / B_ID / "pools.ndjson"
    pools.write_bytes(pools.read_bytes().replace(b'wspool-000000007"', b"wspool-000000007"))
    for option in ("--json", "--no-json"):
        assert run(tmp_path, "--exit-code", option) == 1
        captured = capsys.readouterr()
        assert "; the snapshot is damaged" in captured.err
        assert "statistics" not in captured.out
        assert "unchanged" not in captured.out


def test_a_snapshot_without_covered_targets_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {key(1, region): Outcome.ACCESS_DENIED for region in REGIONS}, MANIFEST)
    write(tmp_path, {key(1, region): [] for region in REGIONS}, LATER)
    assert run(tmp_path) == 0
    captured = capsys.readouterr()
    assert "000000000001 acct-1  unknown  17 regions: access_denied in A\n" in captured.out
    assert f"A ({A_ID}) covers none of its 17 targets" in captured.err
