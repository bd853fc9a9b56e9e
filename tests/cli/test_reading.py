from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from documented import example
from poolcensus.analysis.causes import without_remedies
from poolcensus.aws.refusals.assume_role import RoleRefusal, refusal_of
from poolcensus.cli import main
from poolcensus.errors import AssumeRoleError, ServiceError
from poolcensus.format.codec import dumps
from poolcensus.format.manifest import encode_manifest
from poolcensus.format.schema import Schema
from poolcensus.model import FileEntry, KnownGap, Outcome, Shard, SnapshotStatus, Totals
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.storage.naming import no_snapshots
from snapshot.making import ago, clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ended_census import FakeLibrary
    from poolcensus.model import JsonObject, Manifest, TargetResult

OLD, NEW = "20261123T020000Z-3f9a1c", "20261124T020000Z-000001"


def write(
    dest: Path, manifest: Manifest, snapshot_id: str, ledger: list[TargetResult], pool_names: list[str]
) -> Path:
    """A snapshot as the contract describes it, the pools all of the first target."""
    folder = dest / snapshot_id
    folder.mkdir(parents=True)
    first = ledger[0]
    pools = b"".join(
        dumps(
            {
                "snapshot_id": snapshot_id,
                "collected_at": "2026-11-23T02:00:03.123Z",
                "partition": "aws",
                "account_id": first.account_id,
                "account_name": first.account_name,
                "region": first.region,
                "pool": {"PoolId": f"wspool-{number:09d}", "PoolName": name},
            }
        )
        + b"\n"
        for number, name in enumerate(pool_names)
    )
    targets = b"".join(map(Schema(WORKSPACES_POOLS.info).encode_result, ledger))
    files = []
    for name, data in (("pools.ndjson", pools), ("targets.ndjson", targets)):
        (folder / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        files.append(FileEntry(name, len(data), data.count(b"\n"), digest))
    covered = sum(each.outcome.covered for each in ledger)
    outcomes: dict[Outcome, int] = {}
    for each in ledger:
        outcomes[each.outcome] = outcomes.get(each.outcome, 0) + 1
    made = replace(
        manifest,
        snapshot_id=snapshot_id,
        status=SnapshotStatus.COMPLETE if covered == len(ledger) else SnapshotStatus.PARTIAL,
        accounts_planned=len({each.account_id for each in ledger}),
        totals=Totals(targets=len(ledger), covered=covered, pools=len(pool_names), pages=1),
        outcomes=outcomes,
        files=tuple(files),
    )
    (folder / "manifest.json").write_bytes(encode_manifest(made))
    return folder


@pytest.fixture
def dest(tmp_path: Path, manifest: Manifest, result: Callable[..., TargetResult]) -> Path:
    folder = tmp_path / "snapshots"
    ok = replace(result(1), pools=2, pages=1)
    write(folder, manifest, OLD, [ok], ["alpha", "beta"])
    refused = replace(
        result(4, outcome=Outcome.SCP_DENIED, code="AccessDeniedException"), error_message="\x1b[2Jno"
    )
    write(folder, manifest, NEW, [ok, refused], ["gamma", "[red]\x1b[2Jdelta"])
    (folder / "latest").symlink_to(NEW)
    return folder


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "\x1b" not in captured.out
    return captured.out


def rows_of(text: str) -> list[dict[str, Any]]:
    """The objects of NDJSON: a line for each."""
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("command", "file"),
    [
        (("query", "SELECT 1", "--output"), "pools.ndjson"),
        (("query", "SELECT 1", "--output"), "../latest/new.csv"),
        (("query", "SELECT 1", "--output"), "../link.csv"),
        (("plan", "--output"), f"../{OLD}/manifest.json"),
        (("report", "--output"), "report.html"),
        (("export", "--output"), f"../{OLD}"),
        (("export", "--output"), "parquet/new"),
        (("collect", "--metrics-file"), "m.prom"),
    ],
)
def test_nothing_is_written_into_a_snapshot(  # noqa: PLR0917 - pytest gives them by name
    dest: Path,
    library: FakeLibrary,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    file: str,
) -> None:
    (dest / "link.csv").symlink_to(f"{NEW}/targets.ndjson")
    monkeypatch.chdir(dest / "latest")
    before = {each: each.read_bytes() for each in dest.rglob("*") if each.is_file()}
    assert main([*command, file, "--dest", ".."]) == 2
    said = capsys.readouterr().err.splitlines()[0]
    where = f"{file} lies in the snapshot {OLD if OLD in file else NEW}"
    assert said == f"poolcensus: {command[-1]}: {where}. Choose another folder."
    assert not library.asked
    assert {each: each.read_bytes() for each in dest.rglob("*") if each.is_file()} == before


def test_a_snapshot_with_a_name_of_two_lines_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "new\nline/latest"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(r'poolcensus: "new\nline/latest" is not a snapshot ID or path.')


def test_snapshots_are_listed(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshots", "--dest", str(dest)]) == 0
    _, old, new = said(capsys).splitlines()
    assert old.split()[:5] == [OLD, "complete", "1", "0", "2"]
    assert new.split()[:5] == [NEW, "partial", "2", "1", "2"]
    assert main(["snapshots", "--dest", str(dest), "--json"]) == 0
    found = rows_of(said(capsys))
    assert [each["snapshot_id"] for each in found] == [OLD, NEW]
    assert found[1]["covered"] == 1
    shown = example("At the terminal")
    assert [*found[1]] == [*shown]
    assert {key: type(value) for key, value in found[1].items()} == {
        key: type(value) for key, value in shown.items()
    }


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 99}'])
def test_snapshots_that_cannot_be_read_are_named(
    dest: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (dest / OLD / "manifest.json").write_text(text)
    for options in ((), ("--json",)):
        assert main(["snapshots", "--dest", str(dest), *options]) == 0
        captured = capsys.readouterr()
        assert NEW in captured.out
        assert OLD not in captured.out
        assert f"Can't read 1 snapshot: {OLD}. {dest / OLD}" in captured.err
        assert "is not a manifest: " in captured.err or "upgrade to read it" in captured.err
    (dest / NEW / "manifest.json").write_text(text)
    assert main(["snapshots", "--dest", str(dest)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("poolcensus: Can't read 2 snapshots: ")
    assert "No snapshots" not in captured.err


def test_no_snapshots_are_no_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ((), ("--json",)):
        assert main(["snapshots", "--dest", str(tmp_path), *options]) == 0
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"poolcensus: No snapshots in {tmp_path} yet. Run 'poolcensus collect")


def test_the_destination_may_come_from_the_environment(
    dest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POOLCENSUS_DEST", str(dest))
    assert main(["show"]) == 0
    assert NEW in said(capsys)


@pytest.mark.parametrize(
    ("ref", "found"), [([], NEW), (["latest"], NEW), (["latest~1"], OLD), ([OLD], OLD), (["path"], OLD)]
)
def test_show_takes_every_kind_of_reference(
    dest: Path, capsys: pytest.CaptureFixture[str], ref: list[str], found: str
) -> None:
    given = [str(dest / OLD)] if ref == ["path"] else ref
    assert main(["show", *given, "--dest", str(dest)]) == 0
    assert found in said(capsys)


def test_show_says_what_is_missing_and_lists_it(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--dest", str(dest)]) == 0
    summary = said(capsys)
    assert "1 of 2 covered" in summary
    assert "Denied by a service control policy in 1 account: 000000000004 acct-3 (eu-west-1)" in summary
    assert main(["show", "--failures", "--dest", str(dest)]) == 0
    _, row, _, why = said(capsys).splitlines()
    assert row.split() == [
        "000000000004", "acct-3", "scp_denied", "eu-west-1", "AccessDeniedException:", r"\x1b[2Jno",
    ]  # fmt: skip
    assert why in summary


def test_show_lists_pools_for_people_and_for_programs(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--pools", "--dest", str(dest)]) == 0
    table = said(capsys)
    assert "gamma" in table
    assert r"[red]\x1b[2Jdelta" in table
    assert main(["show", "--pools", "--json", "--dest", str(dest)]) == 0
    assert capsys.readouterr().out.encode() == (dest / NEW / "pools.ndjson").read_bytes()


def test_show_json_is_one_object(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--json", "--dest", str(dest)]) == 0
    out = said(capsys)
    assert out.count("\n") == 1
    found = json.loads(out)
    assert found["manifest"] == json.loads((dest / NEW / "manifest.json").read_text())
    assert [each["outcome"] for each in found["failures"]] == ["scp_denied"]
    # `path` is what `location` was called before: scripts read it.
    assert found["location"] == found["path"] == str(dest / NEW)


def test_a_name_that_the_terminal_cannot_write_is_escaped(
    tmp_path: Path, manifest: Manifest, result: Callable[..., TargetResult]
) -> None:
    write(tmp_path, manifest, OLD, [replace(result(1), pools=1, pages=1)], ["caf\u00e9 \u6771\u4eac"])
    done = subprocess.run(
        [sys.executable, "-m", "poolcensus", "show", "--pools", "--dest", str(tmp_path)],
        capture_output=True,
        encoding="latin-1",
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "caf\u00e9 \\u6771\\u4eac" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "latest~7"], 1),
        (["show", "nowhere/at-all"], 1),
        (["show", ""], 1),
        (["show", "--json", "--pools", "--failures"], 2),
    ],
)
def test_a_mistake_is_a_line(
    dest: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    assert main([*arguments, "--dest", str(dest)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("poolcensus: ")


def test_a_destination_in_place_of_a_snapshot_is_told_how_to_be_read(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("show", "verify"):
        assert main([command, str(dest)]) == 1
        assert (
            f"{dest} is not a snapshot: it has no manifest.json. To read the latest snapshot of that"
            f" destination, use --dest {dest}\n"
        ) in capsys.readouterr().err
    (dest / "empty").mkdir()
    assert main(["show", str(dest / "empty")]) == 1
    assert capsys.readouterr().err.endswith("it has no manifest.json\n")


def test_destinations_one_level_down_are_named(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dest.parent)
    shards = dest.parent / "shards of a census"
    shards.mkdir()
    for name in ("2", "1"):
        shutil.copytree(dest, shards / name, symlinks=True)
    (shards / "a-file").touch()
    (shards / "empty").mkdir()
    one = f"{shards.name}/1"
    said = f"No snapshots in {shards.name}, but in {one} and 1 more of its folders. Use --dest '{one}'\n"
    for command in ("snapshots", "show"):
        main([command, "--dest", shards.name])
        assert capsys.readouterr().err == f"poolcensus: {said}"
    shutil.rmtree(shards / "1")
    main(["snapshots", "--dest", str(shards)])
    assert f", but in {shards / '2'}. Use --dest" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "then"),
    [("s3://bucket", "Name their prefix in `dest`, if they have one"), ("s3://bucket/a", "Run 'poolcensus")],
)
def test_a_bucket_may_lack_its_prefix(place: str, then: str) -> None:
    assert no_snapshots(place).startswith(f"No snapshots in {place} yet. {then}")


def test_a_snapshot_that_is_given_as_a_destination_is_told_from_one_that_is_empty(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dest.parent)
    shutil.copytree(dest / NEW, "latest")
    within = f"{dest.name}/latest"
    for place, path in ((within, within), ("latest", "./latest")):
        for command in (
            ("show",), ("snapshots",), ("snapshots", "--json"), ("verify",), ("diff",),
            ("report", "--output", "-"), ("query", "SELECT 1"), ("query", "--all", "SELECT 1"),
        ):  # fmt: skip
            assert main([*command, "--dest", place]) == 1
            captured = capsys.readouterr()
            assert captured.out == ""
            assert (
                f": {place} is a snapshot, not a folder of snapshots."
                f" Run 'poolcensus show {path}' to read it.\n"
            ) in captured.err
        assert main(["show", path]) == 0
        assert NEW in said(capsys)


def test_in_a_bucket_a_snapshot_that_is_given_as_a_destination_is_told_by_its_name() -> None:
    place = f"s3://bucket/a/{NEW}"
    assert no_snapshots(place) == (
        f"No snapshots in {place}: its name is that of a snapshot. Run 'poolcensus show {place}' to read it."
    )


def test_standard_output_keeps_nothing_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--dest", "-"]) == 2
    assert "name a folder or a bucket with --dest" in capsys.readouterr().err


def test_json_on_a_terminal_is_printable_and_says_the_same(
    tmp_path: Path,
    manifest: Manifest,
    result: Callable[..., TargetResult],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(tmp_path, manifest, OLD, [replace(result(1), pools=1, pages=1)], ["\x9b31m\u202e\x7f"])
    command = ["show", "--pools", "--json", "--dest", str(tmp_path)]
    assert main(command) == 0
    piped = said(capsys)
    assert "\x9b31m\u202e\x7f" in piped
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(command) == 0
    shown = said(capsys)
    assert r'"\u009b31m\u202e\u007f"' in shown
    assert json.loads(shown) == json.loads(piped)


def test_verify_has_nothing_to_say_of_a_sound_snapshot(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "--dest", str(dest)]) == 0
    assert main(["verify", OLD, NEW, "--dest", str(dest)]) == 0
    assert said(capsys) == ""


def test_verify_says_ok_on_a_terminal(
    dest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["verify", "--dest", str(dest)]) == 0
    assert said(capsys) == f"latest ({NEW}): OK\n"
    assert main(["verify", OLD, str(dest / NEW), "20261124", "--dest", str(dest)]) == 0
    assert said(capsys) == f"{OLD}: OK\n{dest / NEW}: OK\n20261124 ({NEW}): OK\n"


def test_verify_exits_with_1_where_it_finds_something(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = dest / NEW / "pools.ndjson"
    file.write_bytes(file.read_bytes().replace(b"gamma", b"GAMMA"))
    assert main(["verify", OLD, NEW, "--dest", str(dest)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith(f"poolcensus: {NEW}: pools.ndjson: ")
    assert lines[-1] == f"poolcensus: {NEW}: the snapshot is damaged (1 problem)"
    assert main(["verify", OLD, NEW, "--json", "--dest", str(dest)]) == 1
    first, second = rows_of(said(capsys))
    assert first == {"snapshot": OLD, "snapshot_id": OLD, "ok": True, "status": "ok", "problems": []}
    assert second["status"] == "damaged"
    assert second["problems"][0]["file"] == "pools.ndjson"


def test_verify_finds_that_latest_names_what_is_no_snapshot(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dest / NEW / "manifest.json").unlink()
    message = f"latest names {NEW}, which has no manifest.json: what was verified is {OLD}"
    assert main(["verify", "--dest", str(dest)]) == 1
    # The snapshot itself is whole.
    assert capsys.readouterr().err == f"poolcensus: latest: {message}\n"
    assert main(["verify", "latest", OLD, "--dest", str(dest), "--json"]) == 1
    latest, old = rows_of(capsys.readouterr().out)
    assert (latest["ok"], latest["status"]) == (False, "misnamed")
    assert latest["snapshot_id"] == OLD
    (problem,) = latest["problems"]
    assert (problem["kind"], problem["message"]) == ("misnamed", message)
    assert old["ok"]


@pytest.mark.parametrize("command", [["diff", "latest", "latest~0"], ["show", "--failures"]])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_command_that_looks_twice_says_once_that_latest_names_no_snapshot(
    dest: Path, capsys: pytest.CaptureFixture[str], command: list[str], log_format: str
) -> None:
    (dest / NEW / "manifest.json").unlink()
    for _ in range(2):
        assert main([*command, "--dest", str(dest), "--log-format", log_format]) == 0
        (said,) = [each for each in capsys.readouterr().err.splitlines() if "is passed over" in each]
        assert f"latest in {dest} names {NEW}, which has no manifest.json" in said
        assert log_format == "text" or "once" not in json.loads(said)


def test_verify_calls_a_snapshot_damaged_that_has_the_wrong_name_as_well(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dest / NEW / "manifest.json").unlink()
    (dest / OLD / "pools.ndjson").unlink()
    assert main(["verify", "--dest", str(dest), "--json"]) == 1
    (latest,) = rows_of(capsys.readouterr().out)
    assert (latest["ok"], latest["status"]) == (False, "damaged")
    assert [each["kind"] for each in latest["problems"]] == ["misnamed", "damaged"]
    assert main(["verify", "--dest", str(dest)]) == 1
    first, second, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"poolcensus: latest: latest names {NEW}")
    assert second.startswith(f"poolcensus: latest ({OLD}): pools.ndjson: ")
    assert last == f"poolcensus: latest ({OLD}): the snapshot is damaged (1 problem)"


def test_verify_goes_on_after_a_snapshot_that_cannot_be_opened(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (dest / OLD / "manifest.json").write_text("{")
    assert main(["verify", OLD, NEW, "--dest", str(dest), "--json"]) == 1
    found = [(each["snapshot_id"], each["status"]) for each in rows_of(said(capsys))]
    assert found == [(None, "damaged"), (NEW, "ok")]


def test_verify_tells_what_it_cannot_read_from_what_is_damaged(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = json.loads((dest / OLD / "manifest.json").read_text())
    (dest / OLD / "manifest.json").write_text(json.dumps({**newer, "schema_version": 99}))
    missing = "20200101T000000Z-000000"
    assert main(["verify", OLD, NEW, missing, "--dest", str(dest), "--json"]) == 1
    assert [each["status"] for each in rows_of(said(capsys))] == ["unreadable", "ok", "unreadable"]
    assert main(["verify", OLD, "--dest", str(dest)]) == 1
    err = capsys.readouterr().err
    assert f"{OLD}: the snapshot can't be read (1 problem)" in err
    assert "damaged" not in err


def test_verify_names_options_in_json_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--dest", "nowhere", "--json"]) == 1
    (found,) = rows_of(said(capsys))
    assert [each["message"] for each in found["problems"]] == [
        "There is no folder nowhere. Check --dest, or run 'poolcensus collect --dest nowhere' first."
    ]


NARROW: JsonObject = {"accounts": ["000000000001", "000000000002"], "regions": ["eu-*"], "pool_ids": []}


@pytest.fixture
def mixed(tmp_path: Path, manifest: Manifest, result: Callable[..., TargetResult]) -> tuple[Path, list[str]]:
    """A folder with a full snapshot, a narrow one, a shard and one from the future, and their ids."""
    folder = tmp_path / "mixed"
    made = []
    for hours, request, shard in ((9.0, {}, None), (6, NARROW, None), (3, {}, Shard(1, 4)), (-24, {}, None)):
        times = replace(manifest, started_at=clock(hours), finished_at=clock(hours - 0.1))
        made.append(ago(hours))
        write(folder, replace(times, request=request, shard=shard), made[-1], [result(1)], [])
    return folder, made


def test_snapshots_say_their_scope_and_warn_of_the_future(
    mixed: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ids = mixed
    assert main(["snapshots", "--dest", str(folder)]) == 0
    captured = capsys.readouterr()
    rows = captured.out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ids
    scopes = ["whole organization", "2 accounts, regions eu-*", "shard 1/4", "whole organization"]
    for row, scope in zip(rows, scopes, strict=True):
        assert row.endswith(f"  {scope}")
    (line,) = captured.err.splitlines()
    assert line.startswith(f"poolcensus: Snapshot {ids[-1]} is dated in the future: it is never the latest, ")

    assert main(["snapshots", "--dest", str(folder), "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [line]
    found = rows_of(captured.out)
    assert [each["scope"] for each in found] == scopes
    assert [each["future"] for each in found] == [False, False, False, True]
    assert [each["shard"] for each in found] == [None, None, {"index": 1, "count": 4}, None]
    assert found[1]["request"] == NARROW


def test_show_says_the_scope_with_what_it_names(
    mixed: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ids = mixed
    assert main(["show", ids[1], "--dest", str(folder)]) == 0
    lines = [line.split(maxsplit=1) for line in said(capsys).splitlines()]
    number = next(number for number, line in enumerate(lines) if line[:1] == ["Scope"])
    assert lines[number][1] == "2 accounts: 000000000001, 000000000002"
    assert " ".join(lines[number + 1]) == "regions eu-*"
    assert main(["show", "--json", "--dest", str(folder)]) == 0
    found = json.loads(said(capsys))
    assert (found["manifest"]["snapshot_id"], found["scope"]) == (ids[2], "shard 1/4")


def test_show_names_some_of_many(
    tmp_path: Path,
    manifest: Manifest,
    result: Callable[..., TargetResult],
    capsys: pytest.CaptureFixture[str],
) -> None:
    request: JsonObject = {"accounts": [f"{number:012d}" for number in range(1000)]}
    write(tmp_path, replace(manifest, request=request), OLD, [result(1)], [])
    assert main(["show", "--dest", str(tmp_path)]) == 0
    shown = said(capsys)
    assert "1,000 accounts: 000000000000, 000000000001" in shown
    assert "000000000009, and 990 more" in shown
    assert "000000000010" not in shown


def test_show_warns_of_the_future_where_it_shows_it(
    mixed: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, ids = mixed
    assert main(["show", ids[-1], "--dest", str(folder)]) == 0
    assert "dated in the future" in capsys.readouterr().err
    assert main(["show", "latest", "--dest", str(folder)]) == 0
    assert ids[2] in said(capsys)
    assert main(["show", "latest~3", "--dest", str(folder)]) == 1
    assert "it has 3, and 1 dated in the future" in capsys.readouterr().err


def test_many_from_the_future_are_one_line(
    tmp_path: Path,
    manifest: Manifest,
    result: Callable[..., TargetResult],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = [ago(-24.0 * days) for days in range(1, 7)]
    for snapshot_id in ids:
        write(tmp_path, manifest, snapshot_id, [result(1)], [])
    assert main(["snapshots", "--dest", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("poolcensus: 6 snapshots are dated in the future: ")
    assert f"{', '.join(ids[:3])}, and 3 more. " in line


def test_a_known_gap_is_marked_and_not_to_be_mended(
    tmp_path: Path,
    manifest: Manifest,
    result: Callable[..., TargetResult],
    capsys: pytest.CaptureFixture[str],
) -> None:
    gap = KnownGap(("000000000004",), (), (Outcome.SCP_DENIED,), targets=1)
    ledger = [
        replace(result(4, outcome=Outcome.SCP_DENIED, code="AccessDenied"), error_message="no"),
        result(5, outcome=Outcome.THROTTLED, code="Throttling"),
    ]
    write(tmp_path, replace(manifest, known_gaps=(gap,)), OLD, ledger, [])
    assert main(["show", "--failures", "--dest", str(tmp_path)]) == 0
    _, known, other, *rest = said(capsys).splitlines()
    assert known.endswith("known gap: AccessDenied: no")
    assert "known gap" not in other
    assert "1 target failed as --known-gap expects." in rest
    assert main(["show", "--failures", "--outcome", "throttled", "--dest", str(tmp_path)]) == 0
    assert "expects" not in said(capsys)
    assert main(["snapshots", "--json", "--dest", str(tmp_path)]) == 0
    assert json.loads(said(capsys))["failed"] == 1
    assert main(["show", "--dest", str(tmp_path)]) == 0
    for text in ("\n".join(rest), said(capsys)):
        assert "Still throttled" in text
        assert "expect it with --known-gap" not in text


@pytest.mark.parametrize(
    "refusal",
    [
        (
            "ValidationError",
            "exceeds the MaxSessionDuration set for this role.",
            "at most the maximum session duration of the role.",
        ),
        (
            "ValidationError",
            "Value 'a b' at 'sourceIdentity' failed to satisfy constraint.",
            "for the value that the message names.",
        ),
        ("PackedPolicyTooLarge", "Packed size of the policy.", "Set fewer --session-tag."),
        ("PackedPolicyTooLarge", "Packed size of the policy.", "If the role takes no session policy, set"),
        ("MalformedPolicyDocument", "Syntax errors in policy.", "If the role takes no session policy, set"),
    ],
)
def test_what_mends_a_refused_session_is_said_once(
    tmp_path: Path,
    manifest: Manifest,
    result: Callable[..., TargetResult],
    capsys: pytest.CaptureFixture[str],
    refusal: tuple[str, str, str],
) -> None:
    code, message, advice = refusal
    role, error = "arn:aws:iam::000000000001:role/Reader", ServiceError(message, code=code)
    found = refusal_of(code, message)
    assert found is not None
    failure = AssumeRoleError.of(role, error, found.advice)
    refused = replace(
        result(1, outcome=failure.outcome, code=code), error_message=failure.message, pools=0, pages=0
    )
    write(tmp_path / "one", manifest, OLD, [refused], [])
    assert main(["show", "--failures", "--dest", str(tmp_path / "one")]) == 0
    shown = said(capsys)
    assert shown.count(advice) == 1
    assert "`" not in shown
    assert f"{code}: Could not assume {role}: {message}\n" in shown
    # What is said of several together leaves out what is said of one alone.
    denied = result(2, outcome=failure.outcome, code="AccessDenied")
    write(tmp_path / "two", manifest, OLD, [refused, denied], [])
    assert main(["show", "--failures", "--dest", str(tmp_path / "two")]) == 0
    assert said(capsys).count(advice) == 1


def test_the_advice_that_an_older_run_gave_is_said_once() -> None:
    # It named no tags where policy and tags were too large together.
    message = f"Packed size. {RoleRefusal.POLICY.advice}"
    assert without_remedies(message, [RoleRefusal.POLICY_AND_TAGS.advice]) == "Packed size."


def test_failures_for_programs_are_lines_of_the_ledger(
    dest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--failures", "--json", "--dest", str(dest)]) == 0
    ledger = (dest / NEW / "targets.ndjson").read_text().splitlines()
    assert said(capsys).splitlines() == ledger[1:]
    assert main(["show", OLD, "--failures", "--json", "--dest", str(dest)]) == 0
    assert said(capsys) == ""


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (f"{OLD} --failures", "No failures: 1 of 1 target covered."),
        (f"{NEW} --failures --outcome throttled", "No failures match."),
        (f"{NEW} --failures --account acct-0", "No failures match."),
        (f"{OLD} --pools --errors", "No pools match."),
        (f"{OLD} --pools --state ERROR", "No pools match.\nTheir states are none (2)."),
        (f"{NEW} --pools --account acct-0 --state ERROR", "No pools match.\nTheir states are none (2)."),
        (
            f"{OLD} --pools --errors --state ERROR",
            "No pools match.\nNone match in any other state either.",
        ),
    ],
)
def test_no_rows_are_a_sentence(
    dest: Path, capsys: pytest.CaptureFixture[str], line: str, sentence: str
) -> None:
    assert main(["show", *line.split(), "--dest", str(dest)]) == 0
    assert said(capsys) == f"{sentence}\n"
    assert main(["show", *line.split(), "--json", "--dest", str(dest)]) == 0
    assert said(capsys) == ""


def test_rows_are_chosen_and_sorted_by_option(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def names(*options: str) -> list[str]:
        assert main(["show", "202611" + OLD[6:8], "--pools", "--json", "--dest", str(dest), *options]) == 0
        return [each["pool"]["PoolName"] for each in rows_of(capsys.readouterr().out)]

    assert names() == ["alpha", "beta"]
    assert names("--sort", "-pool-name") == ["beta", "alpha"]
    assert names("--sort=state,-pool", "--account", "acct-0,other", "--region", "eu-*") == ["beta", "alpha"]
    assert names("--account", "other") == []
    assert names("--state", "running") == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--account x", "--account, --region and --sort are for rows: add --pools or --failures"),
        ("--failures --state RUNNING", "--state chooses pools: add --pools"),
        ("--pools --outcome throttled", "--outcome chooses failures: add --failures"),
        ("--failures --outcome ok", '--outcome: "ok" is not one of access_denied, scp_denied'),
        ("--pools --sort size", 'Can\'t sort by "size". Use account, name, organization, region, '),
        ("--failures --sort pool", 'Can\'t sort by "pool". Use account, name, organization, outcome, '),
        (
            "--pools --failures --sort outcome",
            'Can\'t sort by "outcome". Use account, name, organization, with - before',
        ),
        (
            "--pools --failures --sort -sessions",
            'Can\'t sort by "sessions". Use account, name, organization, with - before',
        ),
    ],
)
def test_an_option_that_would_change_nothing_is_wrong_usage(
    dest: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    assert main(["show", *line.split(), "--dest", str(dest)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err


@pytest.mark.parametrize("command", ["show", "verify"])
def test_the_beginning_of_an_id_names_a_snapshot(
    dest: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "20261124", "--dest", str(dest)]) == 0
    assert main([command, "2026", "--dest", str(dest)]) == 1
    assert f'"2026" begins 2 snapshot IDs: {OLD}, {NEW}. Type more of it.' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", ""],
        ["show", "", "--failures"],
        ["verify", ""],
        ["diff", "", "latest"],
        ["diff", "latest", ""],
        ["report", "", "--output", "page.html"],
        ["export", "", "--output", "parquet"],
        ["query", "SELECT 1", "--snapshot", ""],
        ["query", "--named", "pools-by-bundle", "--snapshot", ""],
    ],
)
def test_an_empty_name_is_refused_wherever_a_snapshot_is_named(
    dest: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main([*arguments, "--dest", str(dest)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert '"" is not a snapshot ID or path. Use latest, latest~N, or an ID from' in captured.err
    assert not any(line.startswith("poolcensus: : ") for line in captured.err.splitlines())


@pytest.mark.parametrize("ref", [f"{NEW}/", "20261124", "20261124/"])
def test_what_names_a_snapshot_does_so_beside_a_folder_and_with_a_slash(
    dest: Path, capsys: pytest.CaptureFixture[str], ref: str
) -> None:
    Path("20261124").mkdir()
    assert main(["show", ref, "--pools", "--dest", str(dest)]) == 0
    captured = capsys.readouterr()
    assert "gamma" in captured.out
    # The command that lists the failures finds the same one.
    assert f"poolcensus show {ref} --failures --dest {dest}" in " ".join(captured.out.split())
    assert main(["verify", ref, "--dest", str(dest)]) == 0
