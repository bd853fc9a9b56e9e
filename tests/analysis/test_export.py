from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq
import pytest

from analysis.reading_lab import day_id, in_memory, written
from lost_replies import lose_replies
from poolcensus import export, query
from poolcensus.analysis.views import items_view, targets_view
from poolcensus.config import load_settings
from poolcensus.errors import DamagedSnapshotError, DestinationError, SettingsError, SnapshotError
from poolcensus.model import ColumnType, Compression, Outcome
from snapshot.making import POOLS, folder_of, result, target

if TYPE_CHECKING:
    from poolcensus.analysis.database import Database
    from poolcensus.analysis.views import View

# By its name: the package calls the function `export`.
export_module = import_module("poolcensus.analysis.export")

ATHENA = (Path(__file__).parents[2] / "config" / "athena.sql").read_text(encoding="utf-8")
VIEWS = (items_view(POOLS), targets_view(POOLS))
_ARROW = {
    ColumnType.TEXT: "string",
    ColumnType.JSON: "string",
    ColumnType.INTEGER: "int64",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "bool",
    ColumnType.TIMESTAMP: "timestamp[us]",
}
_ATHENA = {
    ColumnType.TEXT: "string",
    ColumnType.JSON: "string",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIMESTAMP: "timestamp",
}


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    made = tmp_path / "snapshots"
    written(made, day_id(23), {target(1): [{"PoolId": "a", "New": [1]}], target(2): Outcome.SCP_DENIED})
    written(
        made,
        day_id(24),
        {target(1): [{"PoolId": "a", "CreatedAt": "2025-03-04T05:06:07.123Z"}, {"PoolId": "b\ud800"}]},
        compression=Compression.ZSTD,
    )
    return made


def files_in(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file())


def test_every_snapshot_is_a_file_of_its_date_with_the_rows_of_the_views(dest: Path, tmp_path: Path) -> None:
    out = tmp_path / "it's" / "parquet"
    done = export(out, dest, ref=None)
    names = [
        f"{view}/date=2026-11-{day}/{day_id(day)}.parquet"
        for view in ("pools", "targets")
        for day in (23, 24)
    ]
    assert files_in(out) == names
    assert sorted(str(each.relative_to(out)) for each in done.files) == names
    assert not done.unreadable
    for view in VIEWS:
        pattern = str(out / view.name / "*" / "*.parquet")
        columns = ", ".join(f'"{each.name}"' for each in view.columns)
        with duckdb.connect() as connection:
            found = connection.execute(
                f"SELECT {columns} FROM read_parquet(?, hive_partitioning = true) ORDER BY ALL", [pattern]
            ).fetchall()
            dates = connection.execute("SELECT DISTINCT date FROM read_parquet(?)", [pattern]).fetchall()
        assert sorted(map(str, dates)) == [f"(datetime.date(2026, 11, {day}),)" for day in (23, 24)]
        cast = ", ".join(
            f'"{each.name}"::VARCHAR' if each.type is ColumnType.JSON else f'"{each.name}"'
            for each in view.columns
        )
        with query(f"SELECT {cast} FROM {view.name} ORDER BY ALL", dest, ref=None) as rows:
            expected = [
                tuple(each.replace(tzinfo=None) if isinstance(each, datetime) else each for each in row)
                for row in rows
            ]
        assert found == expected


def test_text_that_duckdb_can_not_read_is_exported_from_the_ledger_alone(tmp_path: Path) -> None:
    """One file has been written by then, and the other is written anew."""
    dest = tmp_path / "snapshots"
    refused = replace(result(target(2), Outcome.ACCESS_DENIED), error_message="no \ud800 here")
    written(dest, day_id(23), {target(1): [{"PoolId": "a"}], target(2): refused})
    for _ in range(2):
        pools, targets = export(tmp_path / "out", dest).files
        assert pq.read_table(in_memory(pools)).column("pool_id").to_pylist() == ["a"]
        assert pq.read_table(in_memory(targets)).column("error_message").to_pylist() == [
            None,
            "no \ufffd here",
        ]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view.name))
def test_a_file_has_its_schema_whatever_is_in_it(dest: Path, tmp_path: Path, view: object) -> None:
    assert view in VIEWS
    of = next(each for each in VIEWS if each == view)
    written(dest, day_id(25), {target(): Outcome.EMPTY})
    done = export(tmp_path / "out", dest, ref=None)
    for each in done.files:
        if each.parts[-3] != of.name:
            continue
        parquet = pq.ParquetFile(in_memory(each))
        assert [(field.name, str(field.type)) for field in parquet.schema_arrow] == [
            (column.name, _ARROW[column.type]) for column in of.columns
        ]
        metadata = parquet.metadata
        if metadata.num_rows:
            assert metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view.name))
def test_the_table_of_athena_has_the_columns_of_the_files(view: object) -> None:
    of = next(each for each in VIEWS if each == view)
    table = re.search(rf"CREATE EXTERNAL TABLE poolcensus_{of.name} \((.*?)\n\)\n(.*?);", ATHENA, re.DOTALL)
    assert table is not None
    columns = re.findall(r"^  `(\w+)` (\w+) COMMENT '([^']*)',?$", table[1], re.MULTILINE)
    assert columns == [(each.name, _ATHENA[each.type], each.description) for each in of.columns]
    assert len(columns) == len(table[1].strip().splitlines())
    assert "PARTITIONED BY (`date` string)" in table[2]
    assert f"'storage.location.template' = 's3://BUCKET/PREFIX/{of.name}/date=${{date}}'" in table[2]


def test_an_export_that_is_made_again_replaces_its_own_and_nothing_else(dest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (first, _) = export(out, dest, ref=day_id(23)).files
    first.write_bytes(b"of another day")
    other = first.with_name("mine.parquet")
    other.write_bytes(b"mine")
    before = {each: each.read_bytes() for each in export(out, dest, ref=None).files}
    assert {each: each.read_bytes() for each in export(out, dest, ref=None).files} == before
    assert pq.read_table(in_memory(first)).num_rows == 1
    assert other.read_bytes() == b"mine"


def test_a_rename_whose_reply_is_lost_has_exported(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = lose_replies(monkeypatch, "rename", "20", errno.ENOENT)
    done = export(tmp_path / "out", dest)
    assert len(lost) == 1
    assert files_in(tmp_path / "out") == [str(each.relative_to(tmp_path / "out")) for each in done.files]


def test_files_and_folders_have_the_modes_of_the_settings(dest: Path, tmp_path: Path) -> None:
    for name, settings, modes in (
        ("private", None, (0o600, 0o700)),
        ("shared", load_settings(None, {"file_mode": "0640", "folder_mode": "0750"}), (0o640, 0o750)),
    ):
        (file, _) = export(tmp_path / name, dest, settings=settings).files
        assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == modes


def test_a_damaged_snapshot_leaves_what_was_there(dest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = {each: each.read_bytes() for each in export(out, dest, ref=day_id(23)).files}
    pools = folder_of(written(dest, day_id(25), {target(): [{"PoolId": "a"}]})) / "pools.ndjson"
    for damaged in (dest / day_id(23) / "pools.ndjson", pools):
        damaged.write_bytes(damaged.read_bytes().replace(b'"a"', b'"z"'))
    for ref in (day_id(23), "latest"):
        with pytest.raises(DamagedSnapshotError):
            export(out, dest, ref=ref)
    assert {each: each.read_bytes() for each in before} == before
    assert len(files_in(out)) == 2


def test_of_all_a_damaged_snapshot_is_left_out_and_named(dest: Path, tmp_path: Path) -> None:
    written(dest, day_id(25), {target(): [{"PoolId": "c"}]})
    for name in ("pools.ndjson.zst", "targets.ndjson.zst"):
        file = dest / day_id(24) / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-5])
        out = tmp_path / name
        done = export(out, dest, ref=None)
        file.write_bytes(whole)
        assert [each.stem for each in done.files] == [day_id(23)] * 2 + [day_id(25)] * 2
        assert len(files_in(out)) == 4
        (why,) = done.unreadable.values()
        assert done.unreadable.keys() == {day_id(24)}
        assert "is damaged" in why


def test_a_view_that_cannot_be_written_leaves_the_other_as_it_was(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    before = {each: each.read_bytes() for each in export(out, dest, ref=day_id(23)).files}
    for each in before:
        each.write_bytes(b"of an export before")
        before[each] = each.read_bytes()
    write = export_module._write

    def fail_for_targets(database: Database, view: View, made: Path, path: Path, mode: int) -> None:
        if view.name == "targets":
            raise SnapshotError("no longer there")
        write(database, view, made, path, mode)

    monkeypatch.setattr(export_module, "_write", fail_for_targets)
    with pytest.raises(SnapshotError, match="no longer there"):
        export(out, dest, ref=day_id(23))
    assert {each: each.read_bytes() for each in before} == before
    assert len(files_in(out)) == 2


# DuckDB has as many as the machine has processors, or as a container may use.
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_snapshot_that_is_repaired_is_written_by_however_many_threads(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    real = duckdb.connect

    def connect(database: str, config: dict[str, str]) -> duckdb.DuckDBPyConnection:
        return real(database, config={**config, "threads": str(threads)})

    with monkeypatch.context() as patch:
        patch.setattr(duckdb, "connect", connect)
        (pools, _) = export(tmp_path / "out", dest).files
    assert pq.read_table(in_memory(pools))["pool_id"].to_pylist() == ["a", "b\N{REPLACEMENT CHARACTER}"]


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS take names in UTF-8 only")
def test_paths_that_are_not_utf8_are_read_and_written(dest: Path, tmp_path: Path) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff"))
    dest.rename(place)
    with query("SELECT count(*) FROM pools", place, ref=None) as rows:
        assert [*rows] == [(3,)]
    (pools, _) = export(place / "parquet", place).files
    assert pq.read_table(in_memory(pools)).num_rows == 2


@pytest.mark.skipif(sys.platform == "darwin", reason="file systems of macOS take names in UTF-8 only")
def test_a_temporary_folder_that_is_not_utf8_is_a_sentence(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff"))
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with pytest.raises(DestinationError, match="Set TMPDIR to another"):
        query("SELECT 1", dest)
    assert not [*place.iterdir()]


def test_snapshots_that_cannot_be_read_are_named(dest: Path, tmp_path: Path) -> None:
    (dest / day_id(23) / "manifest.json").write_text("{")
    done = export(tmp_path / "out", dest, ref=None)
    assert [each.stem for each in done.files] == [day_id(24)] * 2
    assert done.unreadable.keys() == {day_id(23)}


def test_where_nothing_can_be_written_it_says_so(dest: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DestinationError, match="Could not write"):
        export(tmp_path / "file" / "out", dest)
    with pytest.raises(SettingsError, match=r"Run 'aws s3 sync FOLDER s3://bucket/x' afterwards"):
        export("s3://bucket/x", dest)
    with pytest.raises(SnapshotError, match="is a snapshot, not a folder of snapshots"):
        export(tmp_path / "out", (tmp_path / "file").parent / "snapshots" / day_id(23))


def test_an_export_into_a_snapshot_is_refused(dest: Path) -> None:
    inside = dest / day_id(23) / "parquet"
    with pytest.raises(SettingsError, match=f"^output: {inside} lies in the snapshot {day_id(23)}"):
        export(inside, dest)
    assert not inside.exists()


def test_where_nobody_can_look_for_a_snapshot_it_says_so(dest: Path, tmp_path: Path) -> None:
    output = tmp_path / ("x" * 300) / day_id(23)
    with pytest.raises(DestinationError, match=f"^Could not write {output}: File name too long"):
        export(output, dest)


def test_a_full_disk_is_a_sentence_with_the_name_of_the_file(dest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import resource, sys, poolcensus\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "try:\n"
        "    poolcensus.export(sys.argv[1], sys.argv[2])\n"
        "except poolcensus.CensusError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(out), str(dest)], capture_output=True, text=True, check=False
    )
    file = out / "pools" / "date=2026-11-24" / f"{day_id(24)}.parquet"
    assert (done.stdout, done.stderr) == (f"Could not write {file}: File too large.\n", "")
    assert not files_in(out)


def test_a_folder_named_like_a_home_is_a_folder(
    dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    export("./~x", dest)
    assert len(files_in(tmp_path / "~x")) == 2


def test_threads_may_export_side_by_side(dest: Path, tmp_path: Path) -> None:
    threads = [threading.Thread(target=export, args=(tmp_path / "out", dest)) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(files_in(tmp_path / "out")) == 2


@pytest.mark.parametrize("output", ["S3://bucket/x", "gs://bucket/x", "file:///tmp/x", "s3:/bucket", "-"])
def test_what_is_no_folder_is_refused_and_none_is_made(
    tmp_path: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"^output: |standard output"):
        export(output, tmp_path)
    assert not [*tmp_path.iterdir()]
