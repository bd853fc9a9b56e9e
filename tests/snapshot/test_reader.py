from __future__ import annotations

import errno
import json
import os
import shutil
import tracemalloc
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.errors import DamagedSnapshotError, SettingsError, SnapshotError
from poolcensus.format.times import rfc3339
from poolcensus.model import Compression, Outcome, SnapshotStatus
from poolcensus.snapshot import Snapshot, list_snapshots
from poolcensus.snapshot.inventory import take_inventory
from poolcensus.snapshot.latest import ids_that_begin, is_beginning, named_latest
from poolcensus.snapshot.refused import refused_run
from poolcensus.snapshot.series import newest_first, open_series
from poolcensus.storage.local import reading
from poolcensus.storage.local.files import open_file
from poolcensus.storage.local.reading import LocalFiles, LocalSource
from poolcensus.storage.local.store import FolderStore
from snapshot.making import FINISHED, ID, LATER_ID, SOME, STARTED, ago, clock, folder_of, make, pool, target

if TYPE_CHECKING:
    from collections.abc import Callable

OLDEST_ID = "20261101T020000Z-aaaaaa"


@pytest.fixture
async def dest(tmp_path: Path) -> Path:
    for snapshot_id in (OLDEST_ID, ID, LATER_ID):
        await make(tmp_path, snapshot_id)
    return tmp_path


async def test_references_find_their_snapshot(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Snapshot.open("latest", dest).id == LATER_ID
    assert Snapshot.open("latest~0", dest).id == LATER_ID
    assert Snapshot.open("latest~2", str(dest)).id == OLDEST_ID
    assert Snapshot.open(ID, dest).path == dest / ID
    assert Snapshot.open(str(dest / ID)).id == ID
    assert Snapshot.open(dest / "latest").id == LATER_ID
    monkeypatch.chdir(dest)
    assert Snapshot.open("latest~1").id == ID
    assert Snapshot.open(ID).id == ID


async def test_a_snapshot_names_itself(dest: Path) -> None:
    assert repr(Snapshot.open("latest", dest)) == f"<Snapshot {str(dest / LATER_ID)!r}>"


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("latest~3", r"No snapshot latest~3 in .*: it has 3\."),
        (
            "20261123T020000Z-000000",
            r"No snapshot 20261123T020000Z-000000 in .*\. Run 'poolcensus snapshots --dest .*' to list",
        ),
        ("latest~x", '"latest~x" is not a snapshot ID or path. Use latest, latest~N, or an ID from'),
        ("nowhere/at/all", '"nowhere/at/all" is not a snapshot ID or path'),
        ("", '"" is not a snapshot ID or path. Use latest, latest~N, or an ID from'),
        ("\0", "can't be read"),
    ],
)
async def test_a_snapshot_that_is_not_there_is_named(dest: Path, ref: str, message: str) -> None:
    with pytest.raises(SnapshotError, match=message):
        Snapshot.open(ref, dest)


@pytest.mark.parametrize("ref", ["latest", "latest~1", ID, "20261123T"])
async def test_a_snapshot_that_is_removed_once_it_was_found_is_said_to_be(
    dest: Path, monkeypatch: pytest.MonkeyPatch, ref: str
) -> None:
    real = LocalFiles.manifest
    removed: list[Path] = []

    def manifest(files: LocalFiles) -> bytes:
        shutil.rmtree(files.path)
        removed.append(files.path)
        return real(files)

    monkeypatch.setattr(LocalFiles, "manifest", manifest)
    with pytest.raises(SnapshotError) as caught:
        Snapshot.open(ref, dest)
    assert str(caught.value) == f"{removed[0]} was removed while it was read"


@pytest.mark.parametrize("ref", ["latest", ID])
async def test_a_snapshot_that_loses_its_manifest_once_it_was_found_is_not_said_to_be_removed(
    dest: Path, monkeypatch: pytest.MonkeyPatch, ref: str
) -> None:
    real = LocalFiles.manifest

    def manifest(files: LocalFiles) -> bytes:
        (files.path / "manifest.json").unlink()
        return real(files)

    monkeypatch.setattr(LocalFiles, "manifest", manifest)
    with pytest.raises(SnapshotError, match=r"is not a snapshot: it has no manifest\.json"):
        Snapshot.open(ref, dest)


async def test_the_beginning_of_an_id_is_enough(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ref in ("20261123", "20261123T020000Z-3f9a1", "20261123T"):
        assert Snapshot.open(ref, dest).id == ID
    with pytest.raises(SnapshotError) as caught:
        Snapshot.open("202611", dest)
    assert str(caught.value) == (
        f'"202611" begins 3 snapshot IDs: {OLDEST_ID}, {ID}, {LATER_ID}. Type more of it.'
    )
    with pytest.raises(SnapshotError, match=r'"2025" is not a snapshot ID or path\. Use latest'):
        Snapshot.open("2025", dest)
    with pytest.raises(SnapshotError, match="There is no folder .*none"):
        Snapshot.open("2025", dest / "none")
    # A folder that is there goes before the beginning of an id.
    monkeypatch.chdir(dest)
    shutil.copytree(dest / OLDEST_ID, dest / "20261123")
    assert Snapshot.open("20261123", dest).id == OLDEST_ID


IDS = st.builds(
    lambda time, tail: f"{time:%Y%m%dT%H%M%SZ}-{tail:06x}",
    st.datetimes(datetime(2026, 11, 23, 2), datetime(2026, 11, 23, 2, 1)),  # noqa: DTZ001 - an id's time is naive
    st.integers(0, 0xFFFFFF),
)


@given(st.sets(IDS, min_size=1), st.data())
def test_what_begins_one_id_names_it_and_an_id_names_itself(ids: set[str], data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from(sorted(ids)))
    ref = wanted[: data.draw(st.integers(1, len(wanted)))]
    matches = [each for each in ids if each.startswith(ref)]
    if len(ref) == len(wanted):
        assert ids_that_begin(ref, ids) == []
    elif matches == [wanted]:
        assert ids_that_begin(ref, ids) == [wanted]
    else:
        with pytest.raises(SnapshotError, match=f"begins {len(matches):,} snapshot IDs: {min(matches)}"):
            ids_that_begin(ref, ids)


@pytest.mark.parametrize(
    "read",
    [
        partial(Snapshot.open, "latest"),
        partial(Snapshot.open, "latest~1"),
        list_snapshots,
        open_series,
        lambda dest: [*newest_first(LocalSource(dest))],
        partial(refused_run, None),
    ],
)
async def test_a_latest_that_is_no_snapshot_is_said_once_each_time_that_it_is_read(
    dest: Path, caplog: pytest.LogCaptureFixture, read: Callable[[Path], object]
) -> None:
    await to_thread.run_sync(read, dest)
    assert not caplog.messages
    (dest / LATER_ID / "manifest.json").unlink()
    said = (
        f"latest in {dest} names {LATER_ID}, which has no manifest.json: it is no snapshot and is passed over"
    )
    for times in (1, 2):
        await to_thread.run_sync(read, dest)
        assert caplog.messages == [said] * times


async def test_a_snapshot_that_was_published_after_the_listing_is_one(
    dest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LocalSource(dest) as source:
        assert named_latest(source, [OLDEST_ID, ID]) == LATER_ID
    assert not caplog.messages


@pytest.mark.parametrize("ref", ["", "latest", "latest~1", "2026-11", "20261123t", "x", "20261123T020000Z-G"])
def test_what_no_id_begins_with_is_looked_for_nowhere(ref: str) -> None:
    assert not is_beginning(ref)
    assert ids_that_begin(ref, [ID]) == []


async def test_the_folder_of_another_user_hides_no_snapshot_but_its_own(
    dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat, open_ = os.stat, os.open

    def closed(path: object) -> None:
        # A test that is run by root could look into any folder.
        if str(path).startswith(str(dest / ID)):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    def closed_stat(path: Any, **options: Any) -> os.stat_result:
        if str(path) != str(dest / ID):
            closed(path)
        return stat(path, **options)

    def closed_open(path: Any, *options: Any, **others: Any) -> int:
        closed(path)
        return open_(path, *options, **others)

    monkeypatch.setattr(os, "stat", closed_stat)
    monkeypatch.setattr(os, "open", closed_open)
    assert Snapshot.open("latest", dest).id == LATER_ID
    assert Snapshot.open(OLDEST_ID, dest).id == OLDEST_ID
    inventory = await take_inventory(FolderStore(dest))
    assert [each.id for each in inventory.snapshots] == [OLDEST_ID, LATER_ID]
    assert list(inventory.unreadable) == [ID]
    with pytest.raises(SnapshotError, match=f"{ID}/manifest.json can't be read: Permission denied"):
        Snapshot.open(ID, dest)


async def test_what_is_no_snapshot_is_said_to_be_none(dest: Path) -> None:
    with pytest.raises(SnapshotError, match=f'"{dest / "x"}" is not a snapshot ID or path'):
        Snapshot.open(dest / "x")
    with pytest.raises(SnapshotError, match=r"it has no manifest\.json"):
        Snapshot.open(dest)
    with pytest.raises(SnapshotError, match="it is not a folder"):
        Snapshot.open(dest / ".lock")
    with pytest.raises(
        SnapshotError, match=f"There is no folder {dest / 'x'}. Check `dest`, or run 'poolcensus collect"
    ):
        Snapshot.open("latest", dest / "x")
    with pytest.raises(SnapshotError, match=r"\.lock is a file, not a folder\. Check `dest`\."):
        Snapshot.open("latest", dest / ".lock")
    (dest / "empty").mkdir()
    with pytest.raises(
        SnapshotError, match=r"No snapshots in .*empty yet\. Run 'poolcensus collect --dest .*empty' first"
    ):
        Snapshot.open("latest", dest / "empty")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a manifest.*damaged"),
        (b"{}", "schema_version is missing.*damaged"),
        (b"[" * 100_000, "is not a manifest"),
        (b"\xff\xfe", "is not a manifest"),
    ],
)
async def test_a_broken_manifest_is_told(dest: Path, content: bytes, message: str) -> None:
    (dest / LATER_ID / "manifest.json").write_bytes(content)
    with pytest.raises(SnapshotError, match=message):
        Snapshot.open("latest", dest)


def change(path: Path, **values: object) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


async def test_a_newer_schema_is_told_apart_from_damage(dest: Path) -> None:
    change(dest / ID, schema_version=3)
    with pytest.raises(SnapshotError, match=r"written by a newer poolcensus"):
        Snapshot.open(ID, dest)


@pytest.mark.parametrize("ref", [LATER_ID, LATER_ID[:-1], "latest", "latest~0", "latest~1"])
async def test_a_snapshot_that_is_not_what_its_name_says_is_read_only_by_its_path(
    dest: Path, ref: str
) -> None:
    shutil.rmtree(dest / LATER_ID)
    shutil.copytree(dest / OLDEST_ID, dest / LATER_ID)
    if ref == "latest~1":
        shutil.copytree(dest / OLDEST_ID, dest / f"{LATER_ID[:-6]}ffffff")
    wrong = f"{LATER_ID} is not what its name says: its manifest is of {OLDEST_ID}"
    with pytest.raises(SnapshotError, match=wrong):
        Snapshot.open(ref, dest)
    assert Snapshot.open(dest / LATER_ID).id == OLDEST_ID


async def test_a_manifest_cannot_lead_out_of_its_folder(dest: Path) -> None:
    files = json.loads((dest / ID / "manifest.json").read_text())["files"]
    files[0]["name"] = f"../{LATER_ID}/pools.ndjson"
    change(dest / ID, files=files)
    with pytest.raises(SnapshotError, match=r"names 0 files pools\.ndjson"):
        Snapshot.open(ID, dest)


@pytest.mark.parametrize("compression", Compression)
async def test_what_was_written_is_read(tmp_path: Path, compression: Compression) -> None:
    snapshot = await make(tmp_path, content={**SOME, target(5): Outcome.SCP_DENIED}, compression=compression)
    records = list(snapshot.pools())
    assert [(record.account_id, record.region, record.pool) for record in records] == [
        ("000000000001", "us-east-1", pool("wspool-000000001")),
        ("000000000001", "us-east-1", pool("wspool-000000002")),
        ("000000000002", "us-east-1", pool("wspool-000000001")),
    ]
    assert [result.outcome for result in snapshot.targets()] == [
        Outcome.OK,
        Outcome.EMPTY,
        Outcome.OK,
        Outcome.SCP_DENIED,
    ]
    assert [result.account_id for result in snapshot.uncovered()] == ["000000000005"]
    assert snapshot.pools_path.exists()
    assert snapshot.targets_path.exists()
    assert snapshot.info.bytes == sum(
        path.stat().st_size for path in (snapshot.pools_path, snapshot.targets_path)
    )


@pytest.mark.parametrize("compression", Compression)
async def test_records_that_are_missing_at_the_end_are_missed(
    tmp_path: Path, compression: Compression
) -> None:
    content = {target(n): ["wspool-1", "wspool-2"] for n in range(300)}
    snapshot = await make(tmp_path, content=content, compression=compression)
    whole = snapshot.pools_path.read_bytes()
    if compression is Compression.NONE:
        cuts = [whole.rindex(b"\n", 0, -1) + 1, 0]
    else:
        cuts = [len(whole) // 2, len(whole) - 9, 0]
    for cut in cuts:
        snapshot.pools_path.write_bytes(whole[:cut])
        with pytest.raises(SnapshotError, match="the snapshot is damaged"):
            list(snapshot.pools())


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
async def test_a_file_that_can_not_be_unpacked_at_all_names_no_line(
    tmp_path: Path, compression: Compression
) -> None:
    snapshot = await make(tmp_path, compression=compression)
    snapshot.pools_path.write_bytes(b"not compressed")
    with pytest.raises(DamagedSnapshotError) as caught:
        list(snapshot.pools())
    assert str(caught.value).startswith(f"{snapshot.pools_path}: ")


async def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    snapshot = await make(tmp_path)
    lines = snapshot.pools_path.read_bytes().splitlines(keepends=True)
    snapshot.pools_path.write_bytes(b"".join((lines[0], b"junk\n", *lines[2:])))
    with pytest.raises(SnapshotError, match=r"pools\.ndjson, line 2"):
        list(snapshot.pools())
    snapshot.targets_path.unlink()
    with pytest.raises(SnapshotError, match=r"targets\.ndjson is missing"):
        list(snapshot.targets())


async def test_lists_hold_snapshots_only_the_newest_last(dest: Path) -> None:
    (dest / "20261102T020000Z-aaaaaa").mkdir()
    (dest / "20261103T020000Z-aaaaaa").mkdir()
    (dest / "20261103T020000Z-aaaaaa" / "manifest.json").write_text("junk")
    (dest / "20261104T020000Z-aaaaaa").write_text("a file")
    shutil.copytree(dest / ID, dest / "copy")
    found = list_snapshots(dest)
    assert [info.id for info in found] == [OLDEST_ID, ID, LATER_ID]
    info = found[0]
    assert (info.status, info.pools, info.targets, info.covered) == (SnapshotStatus.COMPLETE, 3, 3, 3)
    assert (info.started_at, info.finished_at) == (STARTED, FINISHED)
    with pytest.raises(SnapshotError, match="There is no folder"):
        list_snapshots(dest / "x")


@pytest.mark.parametrize("compression", Compression)
async def test_reading_takes_the_same_memory_for_any_size(tmp_path: Path, compression: Compression) -> None:
    # 10 MB of records, which compress to next to nothing.
    content = {target(n): [f"wspool-{i:09}" + "x" * 1900 for i in range(50)] for n in range(100)}
    snapshot = await make(tmp_path, content=content, compression=compression)
    tracemalloc.start()
    try:
        assert sum(1 for _ in snapshot.pools()) == 5_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


async def test_a_reader_that_stops_early_closes_the_file(tmp_path: Path) -> None:
    snapshot = await make(tmp_path)
    records = snapshot.pools()
    next(records)
    del records  # an open file would warn, and warnings are errors


def test_a_bucket_is_not_taken_for_a_folder() -> None:
    place = Path("s3://bucket/prefix")
    for read in (partial(Snapshot.open, "latest"), list_snapshots, partial(refused_run, None)):
        with pytest.raises(SettingsError, match="s3:/bucket/prefix"):
            read(place)
    for ref in ("s3://bucket", "s3://bucket/prefix", "s3://bucket/prefix/latest~x", "s3://bucket/prefix/x/"):
        with pytest.raises(SnapshotError, match="is not a snapshot: name one as s3://BUCKET/PREFIX/ID"):
            Snapshot.open(ref)
    with pytest.raises(SettingsError, match='"s3://Bucket" must be s3://BUCKET/PREFIX'):
        Snapshot.open("latest", "s3://Bucket")


async def test_latest_reads_a_few_manifests_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot_ids = [ago(24.0 * days) for days in reversed(range(60))]
    source = folder_of(await make(tmp_path, snapshot_ids[0]))
    for days, snapshot_id in enumerate(snapshot_ids[1:]):
        shutil.copytree(source, tmp_path / snapshot_id)
        at = rfc3339(clock(24.0 * (58 - days)))
        change(tmp_path / snapshot_id, snapshot_id=snapshot_id, started_at=at, finished_at=at)
    read: list[str] = []

    def recorded(path: Path) -> Any:
        read.append(path.parent.name)
        return open_file(path)

    monkeypatch.setattr(reading, "open_file", recorded)
    # The link is at the oldest: a run that was killed had not come as far.
    assert Snapshot.open("latest", tmp_path).id == snapshot_ids[-1]
    assert 0 < len(read) <= 6
    assert Snapshot.open("latest~5", tmp_path).id == snapshot_ids[-6]
