"""Records in any order and form, and snapshots that are not what they say."""

from __future__ import annotations

import json
import os
import random
import resource
import stat
import tempfile
import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from analysis.two_snapshots import A_ID, B_ID, LATER, Content, changes, key, pool, two, write
from descriptors import descriptors
from poolcensus.analysis.diff import diff
from poolcensus.errors import DamagedSnapshotError, DestinationError, SnapshotError
from poolcensus.model import Compression, Outcome
from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

A: Content = {
    key(1): [pool(1, State="A"), pool(2, State="A")],
    key(1, "eu-west-1"): [pool(3, Tags={"pool": "x"})],
    key(2): [pool(4), pool(5)],
    key(3): [pool(6)],
}
B: Content = {
    key(1): [pool(1, State="B"), pool(2, State="A"), pool(7)],
    key(1, "eu-west-1"): [pool(3, Tags={"pool": "x"})],
    key(2): [pool(5)],
    key(3): Outcome.THROTTLED,
}
FOUND = ["changed", "added", "removed", "unknown"]


def loosely(lines: list[bytes]) -> Iterable[bytes]:
    """As Python's own codec writes them."""
    return [json.dumps(json.loads(line)).encode() + b"\n" for line in lines]


def pool_first(lines: list[bytes]) -> Iterable[bytes]:
    """With the keys the other way round."""
    return [json.dumps(dict(reversed(json.loads(line).items()))).encode() + b"\n" for line in lines]


def compactly(order: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[list[bytes]], Iterable[bytes]]:
    return lambda lines: [
        json.dumps(order(json.loads(line)), separators=(",", ":")).encode() + b"\n" for line in lines
    ]


def shuffled(lines: list[bytes]) -> Iterable[bytes]:
    return random.Random(7).sample(lines, len(lines))


FORMS = {
    "as written": list,
    "reversed": lambda lines: lines[::-1],
    "shuffled": shuffled,
    "loosely": loosely,
    "pool first": pool_first,
    "more keys behind": compactly(lambda record: {**record, "later": {"pool": {"PoolId": "x"}}}),
    "more keys before": compactly(lambda record: {"later": {"a": 1, "pool": {"PoolId": "x"}}, **record}),
    "tags named like keys": compactly(
        lambda record: {"account_tags": {"x": "1", "pool": "2", "region": "3"}, **record}
    ),
    "id last": compactly(
        lambda record: {**record, "pool": dict(reversed([("Z", '"}'), *record["pool"].items()]))}
    ),
    "id escaped": lambda lines: [line.replace(b"wspool", b"\\u0077spool") for line in lines],
    "carriage returns": lambda lines: [line.replace(b"\n", b" \r\n") for line in lines],
    "no last end": lambda lines: [*lines[:-1], lines[-1][:-1]],
}


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("form", FORMS)
def test_records_are_compared_whatever_their_order_and_form(
    tmp_path: Path, form: str, compression: Compression
) -> None:
    known = changes(tmp_path / "known", A, B)
    assert [each.kind for each in known] == FOUND
    a = write(tmp_path, A, compression=compression)
    b = write(tmp_path, B, LATER, compression=compression, arranged=FORMS[form])
    found = [*diff(a, b)]
    if form == "id last":
        # A field more is a change, of every pool that is in both.
        assert [each.pool_id for each in found if "Z" in each.fields] == [
            "wspool-000000003", "wspool-000000001", "wspool-000000002", "wspool-000000005",
        ]  # fmt: skip
    else:
        assert found == known


def test_an_account_named_like_a_record_is_compared(tmp_path: Path) -> None:
    name = 'x","pool":{"PoolId":"no"},"region":"mars","account_id":"9'
    found = [*diff(*two(tmp_path, A, B, named=lambda _: name))]
    assert [each.kind for each in found] == FOUND
    assert {each.account_name for each in found} == {name}


def damaged(folder: Path, change: Callable[[bytes], bytes], name: str = "pools.ndjson") -> None:
    (folder / name).write_bytes(change((folder / name).read_bytes()))


def wrong(
    folder: Path, change: Callable[[bytes], bytes], name: str = "pools.ndjson"
) -> tuple[Snapshot, Snapshot]:
    """Change a file as if it had been written so, by the manifest's digest. Return A and B anew."""
    damaged(folder, change, name)
    data = (folder / name).read_bytes()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for file in manifest["files"]:
        if file["name"] == name:
            file.update(bytes=len(data), sha256=sha256(data).hexdigest())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Snapshot.open(A_ID, folder.parent), Snapshot.open(B_ID, folder.parent)


def lines_changed(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[bytes], bytes]:
    return lambda data: b"".join(change(data.splitlines(keepends=True)))


@pytest.mark.parametrize("side", [A_ID, B_ID])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lines_changed(lambda lines: lines[:-1]), "lines where the manifest says"),
        (lines_changed(lambda lines: [*lines[:-1], lines[0]]), "where the ledger says"),
        (lines_changed(lambda lines: [lines[1], *lines[1:]]), "wspool-000000002 is there twice"),
        (lambda data: data.replace(b'"pool":{', b'"pool":[', 1), "line 1"),
        (lambda data: data.replace(b'"PoolId"', b'"poolid"', 1), "000000000001 us-east-1: a pool has no"),
        (lambda data: data.replace(b"000000000002", b"000000000008"), "for which the ledger counts none"),
        (lambda data: data.replace(b'"State":', b'"State";', 1), "000000000001 us-east-1:"),
        (lambda data: data.replace(b'"pool":{', b'"pool":{"PoolId":"x"},"pool":{', 1), "is there twice"),
        (lambda data: data.replace(b'"PoolId":', b'"PoolId":"x","PoolId":', 1), "is there twice"),
        (lambda data: data[:-10] + b"\x00" * 10, "; the snapshot is damaged"),
    ],
)
def test_damaged_records_are_never_a_whole_difference(
    tmp_path: Path, side: str, change: Callable[[bytes], bytes], says: str
) -> None:
    two(tmp_path, A, B)
    found = diff(*wrong(tmp_path / side, change))
    with pytest.raises(DamagedSnapshotError, match=says) as raised:
        list(found)
    assert str(tmp_path / side / "pools.ndjson") in str(raised.value)
    with pytest.raises(RuntimeError):
        _ = found.statistics


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("pools.ndjson", b"wspool-000000001", b"wspool-000000009"),
        ("pools.ndjson", b'"State":"A"', b'"State":"B"'),
        ("targets.ndjson", b'"outcome":"throttled"', b'"outcome":"cancelled"'),
    ],
)
def test_a_change_that_leaves_each_line_right_is_damage(
    tmp_path: Path, name: str, before: bytes, after: bytes
) -> None:
    a, b = two(tmp_path, A, B)
    damaged(tmp_path / B_ID, lambda data: data.replace(before, after, 1), name)
    with pytest.raises(
        DamagedSnapshotError, match=f"{B_ID}/{name} has another sha256 than the manifest says"
    ):
        list(diff(a, b))
    with pytest.raises(DamagedSnapshotError, match="another sha256"):
        list(b.pools() if name.startswith("pools") else b.targets())


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_what_follows_a_compressed_file_is_damage(tmp_path: Path, compression: Compression) -> None:
    a, b = two(tmp_path, A, B, compression=compression)
    damaged(tmp_path / B_ID, lambda data: data + b"\0" * 9, f"pools.ndjson{compression.suffix}")
    with pytest.raises(DamagedSnapshotError, match=B_ID):
        list(diff(a, b))


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
def test_a_compressed_file_that_was_cut_is_damaged(tmp_path: Path, compression: Compression) -> None:
    a, b = two(tmp_path, A, B, compression=compression)
    damaged(tmp_path / B_ID, lambda data: data[:-9], f"pools.ndjson{compression.suffix}")
    with pytest.raises(DamagedSnapshotError, match=B_ID):
        list(diff(a, b))


@pytest.mark.parametrize("name", ["pools.ndjson", "targets.ndjson"])
def test_a_file_that_is_missing_is_damage(tmp_path: Path, name: str) -> None:
    a, b = two(tmp_path, A, B)
    (tmp_path / B_ID / name).unlink()
    with pytest.raises(DamagedSnapshotError, match=f"{name} is missing"):
        list(diff(a, b))


@pytest.mark.parametrize(
    ("pools", "counted", "records"),
    [(2, 1, "2 records"), (2, 3, "2 records"), (1, 2, "1 record")],
)
def test_a_ledger_that_counts_other_pools_is_damage(
    tmp_path: Path, pools: int, counted: int, records: str
) -> None:
    two(tmp_path, A, B)
    a, b = wrong(
        tmp_path / A_ID,
        lambda data: data.replace(b'"pools":%d' % pools, b'"pools":%d' % counted),
        "targets.ndjson",
    )
    region = "us-east-1" if pools == 2 else "eu-west-1"
    says = f"has {records} of 000000000001 {region} where the ledger says {counted}"
    with pytest.raises(DamagedSnapshotError, match=says):
        list(diff(a, b))


def test_a_target_with_two_lines_in_the_ledger_is_damage(tmp_path: Path) -> None:
    two(tmp_path, A, B)
    a, b = wrong(tmp_path / A_ID, lines_changed(lambda lines: [lines[1], *lines[1:]]), "targets.ndjson")
    with pytest.raises(DamagedSnapshotError, match="two lines for 000000000001 eu-west-1"):
        list(diff(a, b))


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    a, b = two(tmp_path, A, B)
    found = iter(diff(a, b))
    next(found)
    damaged(tmp_path / B_ID, lambda _: b"")
    with pytest.raises(SnapshotError, match="was cut or replaced while it was read"):
        list(found)


def test_a_snapshot_that_is_removed_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    a, b = two(tmp_path, A, B)
    found = iter(diff(a, b))
    first = next(found)
    for name in ("pools.ndjson", "targets.ndjson"):
        (tmp_path / B_ID / name).unlink()
    assert [each.kind for each in (first, *found)] == FOUND


@pytest.fixture
def compressed(tmp_path: Path) -> tuple[Snapshot, Snapshot]:
    return two(tmp_path / "snapshots", A, B, compression=Compression.ZSTD)


def test_temporary_files_have_no_name_and_are_closed_however_it_ends(
    compressed: tuple[Snapshot, Snapshot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = nameless()
    found = iter(diff(*compressed))
    next(found)
    assert [*folder.iterdir()] == []
    made = nameless() - before
    assert len(made) == 2
    if NAMES.is_dir():
        # Linux tells where they lie.
        assert {(NAMES / str(each[0])).readlink().parent for each in made} == {folder}
    del found
    assert nameless() == before
    damaged(tmp_path / "snapshots" / B_ID, lambda data: data[:-9], "pools.ndjson.zst")
    with pytest.raises(DamagedSnapshotError):
        list(diff(*compressed))
    assert nameless() == before
    assert [*folder.iterdir()] == []


NAMES = Path("/proc/self/fd")


def nameless() -> set[tuple[int, int]]:
    """The files without a name that this process has open: their descriptors, and what tells them apart."""
    found = {number: os.fstat(number) for number in descriptors()}
    return {
        (number, each.st_ino)
        for number, each in found.items()
        if stat.S_ISREG(each.st_mode) and not each.st_nlink
    }


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.ZSTD])
def test_where_no_temporary_file_can_be_made_only_a_copy_fails(
    tmp_path: Path, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    found = diff(*two(tmp_path, A, B, compression=compression))
    if compression is Compression.NONE:
        assert [each.kind for each in found] == FOUND
        return
    with pytest.raises(DestinationError, match="can't make a file in .*nowhere.*; set TMPDIR to"):
        list(found)


# Of 25 KB that are written 8 KiB at a time: the first, and the last.
@pytest.mark.parametrize("room", [100, 24_000])
def test_a_full_disk_is_a_sentence(tmp_path: Path, room: int) -> None:
    content: Content = {key(1): [pool(number, Text="x" * 400) for number in range(40)]}
    found = diff(*two(tmp_path, content, content, compression=Compression.ZSTD))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(DestinationError, match="can't keep records in .*; set TMPDIR to a folder"):
            list(found)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [*found]


def test_memory_does_not_grow_with_the_pools(tmp_path: Path) -> None:
    def peak(targets: int) -> int:
        numbers = range(20)
        a = {key(each): [pool(n, State="A", Text="x" * 500) for n in numbers] for each in range(targets)}
        b = {key(each): [pool(n, State="B", Text="x" * 500) for n in numbers] for each in range(targets)}
        found = diff(*two(tmp_path / str(targets), a, b, compression=Compression.ZSTD))
        tracemalloc.start()
        try:
            assert sum(1 for _ in found) == 20 * targets
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    small, large = peak(20), peak(200)
    # Both files together grow by 4.6 MB.
    assert large - small < 500_000
