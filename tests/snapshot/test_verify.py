from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
from typing import IO, TYPE_CHECKING, Any, Self

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolcensus.errors import DamagedSnapshotError, SnapshotError
from poolcensus.model import Compression, Outcome
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import Problem, ProblemKind, verify, verify_named
from poolcensus.storage.local import reading
from poolcensus.storage.local.files import open_file
from poolcensus.storage.local.reading import LocalFiles
from snapshot.making import ID, LATER_ID, SOME, folder_of, make, target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT = {**SOME, target(3): Outcome.THROTTLED}
# Of the target that is throttled.
GAP = {"accounts": ["000000000003"], "regions": ["us-*"], "outcomes": ["throttled"], "targets": 1}
ORGANIZATION = {
    "name": "prod",
    "organization_id": "o-1",
    "caller": {"account": "000000000001", "arn": "arn:aws:iam::000000000001:user/x", "partition": "aws"},
    "accounts_planned": 2,
}

# No second place in the snapshot tells what these should be.
ONLY_IN_THE_MANIFEST = (
    "started_at",
    "finished_at",
    "tool",
    "caller",
    "organization_id",
    "request",
    "shard",
)


@pytest.fixture(params=Compression)
async def snapshot(request: pytest.FixtureRequest, tmp_path: Path) -> Snapshot:
    return await make(tmp_path, content=CONTENT, compression=request.param)


@pytest.fixture
async def plain(tmp_path: Path) -> Snapshot:
    return await make(tmp_path, content=CONTENT)


def messages(problems: tuple[Problem, ...]) -> str:
    return "\n".join(f"{each.file}:{each.line}: {each.message}" for each in problems)


def reseal(snapshot: Snapshot) -> Snapshot:
    """Makes the manifest's digests and counts fit the files again, so that only their content is wrong."""
    file = folder_of(snapshot) / "manifest.json"
    content = json.loads(file.read_text())
    for entry in content["files"]:
        data = (folder_of(snapshot) / entry["name"]).read_bytes()
        entry.update(bytes=len(data), records=data.count(b"\n"), sha256=hashlib.sha256(data).hexdigest())
    file.write_text(json.dumps(content))
    return Snapshot.open(folder_of(snapshot))


def rewrite(path: Path, change: Callable[[list[dict[str, object]]], object]) -> None:
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    change(lines)
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def test_a_sound_snapshot_has_no_problem(snapshot: Snapshot) -> None:
    assert verify(snapshot) == ()


async def test_a_latest_that_names_no_snapshot_is_a_problem_and_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = [folder_of(await make(tmp_path, each, content=CONTENT)) for each in (ID, LATER_ID)]
    (newer / "manifest.json").unlink()
    (problem,) = verify(tmp_path)
    assert problem.kind is ProblemKind.MISNAMED
    assert problem.message == (
        f"latest names {LATER_ID}, which has no manifest.json: what was verified is {ID}"
    )
    # Neither is named by it.
    assert verify(older) == verify(Snapshot.open(ID, tmp_path)) == ()
    assert caplog.messages == []
    # A step back from it is counted from it, too.
    oldest = await make(tmp_path, "20261122T020000Z-111111", content=CONTENT)
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").symlink_to(LATER_ID)
    found, (problem,) = verify_named("latest~1", tmp_path)
    assert (found, problem.kind) == (oldest.id, ProblemKind.MISNAMED)
    shutil.rmtree(folder_of(oldest))
    # Where none can be opened, nothing else says so.
    (older / "manifest.json").unlink()
    with pytest.raises(SnapshotError, match="No snapshots in"):
        verify(tmp_path)
    (warning,) = caplog.messages
    assert f"names {LATER_ID}, which has no manifest.json" in warning


async def test_a_snapshot_is_verified_by_whatever_names_it(tmp_path: Path) -> None:
    older, newer = [folder_of(await make(tmp_path, each, content=CONTENT)) for each in (ID, LATER_ID)]
    (older / "pools.ndjson").unlink()
    for name in (newer, str(newer), tmp_path / "latest", tmp_path, str(tmp_path)):
        assert verify(name) == ()
    assert verify(older)
    with pytest.raises(SnapshotError, match="is not a snapshot ID or path"):
        verify("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SnapshotError, match="No snapshots in"):
        verify(tmp_path / "empty")


@given(data=st.data(), compression=st.sampled_from(Compression))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_found(
    data: st.DataObject, compression: Compression, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sound = _sound(compression, tmp_path_factory)
    folder = tmp_path_factory.mktemp("damaged") / ID
    shutil.copytree(folder_of(sound), folder)
    name = data.draw(st.sampled_from(sorted(entry.name for entry in folder.iterdir())))
    content = bytearray((folder / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(content)
    try:
        found = verify(Snapshot.open(folder))
    except SnapshotError:
        assert name == "manifest.json"
        return
    if name == "manifest.json" and not found:
        before, after = (_checked(path / name) for path in (folder_of(sound), folder))
        assert before == after
    else:
        assert any(name in {problem.file, "manifest.json"} for problem in found)


_SOUND: dict[Compression, Snapshot] = {}


def _sound(compression: Compression, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    if compression not in _SOUND:
        dest = tmp_path_factory.mktemp("sound")
        _SOUND[compression] = anyio.run(make, dest, ID, CONTENT, compression)
    return _SOUND[compression]


def _checked(manifest: Path) -> object:
    content = json.loads(manifest.read_bytes())
    content["accounts"].pop("skipped")
    for counted in ("requests", "retries", "throttles", "assume_role_calls"):
        content["totals"].pop(counted)
    return {key: value for key, value in content.items() if key not in ONLY_IN_THE_MANIFEST}


@given(data=st.data(), compression=st.sampled_from(Compression))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_gives_problems_and_no_traceback(
    data: st.DataObject, compression: Compression, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sound = _sound(compression, tmp_path_factory)
    folder = tmp_path_factory.mktemp("junk") / ID
    shutil.copytree(folder_of(sound), folder)
    for entry in (sound.pools_path, sound.targets_path):
        whole = entry.read_bytes()
        cut = data.draw(st.integers(0, len(whole)))
        (folder / entry.name).write_bytes(whole[:cut] + data.draw(st.binary(min_size=1, max_size=300)))
    # Once more with digests that fit, so that nothing but the content can be found fault with.
    damaged = Snapshot.open(folder)
    assert verify(damaged)
    verify(reseal(damaged))


def test_missing_files_are_found(snapshot: Snapshot) -> None:
    snapshot.pools_path.unlink()
    snapshot.targets_path.unlink()
    found = messages(verify(snapshot))
    assert found.splitlines() == [
        f"{snapshot.targets_path.name}:None: is missing",
        f"{snapshot.pools_path.name}:None: is missing",
    ]


class Unreadable:
    """A file that a dying disk gives up after its first bytes."""

    def __init__(self, raw: IO[bytes], error: OSError, after: int) -> None:
        self._raw, self._error, self._left = raw, error, after

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def read(self, size: int, /) -> bytes:
        if not self._left:
            raise self._error
        data = self._raw.read(min(size, self._left))
        self._left -= len(data)
        return data


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("after", [0, 40])
@pytest.mark.parametrize("base", ["pools", "targets"])
def test_what_cannot_be_read_is_not_called_damaged(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, code: int, after: int, base: str
) -> None:
    def open_(path: Path) -> Any:
        raw = open_file(path)
        return Unreadable(raw, OSError(code, os.strerror(code)), after) if path.name.startswith(base) else raw

    monkeypatch.setattr(reading, "open_file", open_)
    (problem,) = verify(snapshot)
    assert problem == Problem(
        getattr(snapshot, f"{base}_path").name,
        None,
        f"can't be read: {os.strerror(code)}",
        ProblemKind.UNREADABLE,
    )
    with pytest.raises(SnapshotError, match=f"can't be read: {os.strerror(code)}") as caught:
        list(getattr(snapshot, base)())
    assert not isinstance(caught.value, DamagedSnapshotError)


def test_what_is_damaged_is_called_so_by_the_reader(snapshot: Snapshot) -> None:
    whole = snapshot.targets_path.read_bytes()
    for damaged in (whole[:-20], whole[:30] + b"\xff" * 30 + whole[60:], b"", b"{}\n"):
        snapshot.targets_path.write_bytes(damaged)
        with pytest.raises(DamagedSnapshotError, match="the snapshot is damaged"):
            list(snapshot.targets())
        assert {each.kind for each in verify(snapshot)} == {ProblemKind.DAMAGED}
    snapshot.targets_path.unlink()
    with pytest.raises(DamagedSnapshotError, match="is missing; the snapshot is damaged"):
        list(snapshot.targets())


def test_unexpected_files_are_named(snapshot: Snapshot) -> None:
    (folder_of(snapshot) / "notes.txt").write_text("")
    assert verify(snapshot) == (Problem("notes.txt", None, "does not belong to the snapshot"),)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.append(lines[0]), "targets.ndjson:5: a second line for account 000000000001"),
        (lambda lines: lines.pop(), "totals.targets is 4, by the ledger it is 3"),
        (lambda lines: lines[0].update(pools=3), "has 3 pools in the ledger and 2 records"),
        (lambda lines: lines[0].update(outcome="empty", pools=0), "whose outcome is empty"),
        (lambda lines: lines[3].update(pools=1), "has the outcome throttled and 1 pool"),
        (
            lambda lines: lines[3].update(outcome="empty"),
            "the status is partial, by the ledger it is complete",
        ),
        (lambda lines: lines[3].update(outcome="error"), "outcomes.error is 0, by the ledger it is 1"),
        (lambda lines: lines[3].update(outcome="odd"), "targets.ndjson:4: 'odd' is not a valid"),
        (lambda lines: lines[3].update(pages=7), "totals.pages is 4, by the ledger it is 10"),
        (lambda lines: lines[0].update(operation="a:B"), "in us-east-1 is of the operation 'a:B'"),
        (lambda lines: lines[0].pop("request_id"), "targets.ndjson:1: request_id is missing"),
        (lambda lines: lines[2].update(region="eu-west-9"), "which the ledger does not have"),
    ],
)
def test_a_ledger_that_disagrees_is_found(
    plain: Snapshot, change: Callable[[list[dict[str, object]]], object], message: str
) -> None:
    rewrite(plain.targets_path, change)
    assert message in messages(verify(reseal(plain)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.append(lines[0]), "pools.ndjson:4: the pool wspool-000000001 of account"),
        (lambda lines: lines.pop(), "has 1 pool in the ledger and 0 records"),
        (
            lambda lines: lines[1].update(snapshot_id=LATER_ID),
            "pools.ndjson:2: the record is of the snapshot",
        ),
        (lambda lines: lines[1].update(account_id="000000000003"), "whose outcome is throttled"),
        (lambda lines: lines[1].update(account_id="000000000008"), "which the ledger does not have"),
        (lambda lines: lines[1]["pool"].pop("PoolId"), "pools.ndjson:2: the pool has no PoolId"),
        (lambda lines: lines[1].update(pool=[]), "pools.ndjson:2: pool is not an object"),
        (lambda lines: lines[1].pop("partition"), "pools.ndjson:2: partition is missing"),
    ],
)
def test_records_that_disagree_are_found(
    plain: Snapshot, change: Callable[[list[dict[str, object]]], object], message: str
) -> None:
    rewrite(plain.pools_path, change)
    assert message in messages(verify(reseal(plain)))


def test_two_objects_in_a_line_and_a_line_without_end_are_found(plain: Snapshot) -> None:
    lines = plain.pools_path.read_bytes()
    plain.pools_path.write_bytes(lines.replace(b"}\n{", b"}{", 1))
    assert "pools.ndjson:1:" in messages(verify(reseal(plain)))
    plain.pools_path.write_bytes(lines.rstrip(b"\n"))
    assert "pools.ndjson:3: the line has no end" in messages(verify(reseal(plain)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("status", "complete", "the status is complete, by the ledger it is partial"),
        ("snapshot_id", LATER_ID, f"is of the snapshot {LATER_ID}, in the folder {ID}"),
        ("outcomes", {"ok": 2, "empty": 1}, "outcomes.throttled is 0, by the ledger it is 1"),
        ("accounts", {"planned": 55, "skipped": []}, "accounts.planned is 55, by the ledger it is 3"),
        ("known_gaps", [GAP, {**GAP, "targets": 7}], "known_gaps[1].targets is 7, by the ledger it is 0"),
        ("known_gaps", [{**GAP, "targets": 7}], "known_gaps[0].targets is 7, by the ledger it is 1"),
        (
            "organizations",
            [ORGANIZATION],
            "organizations[0].accounts_planned is 2, by the ledger it is 0",
        ),
    ],
)
def test_a_manifest_that_disagrees_is_found(plain: Snapshot, key: str, value: object, message: str) -> None:
    file = folder_of(plain) / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    assert message in messages(verify(Snapshot.open(folder_of(plain))))


def test_a_file_of_nothing_but_junk_lines_is_cut_short(plain: Snapshot) -> None:
    plain.pools_path.write_bytes(b"junk\n" * 5000)
    found = verify(reseal(plain))
    assert len([problem for problem in found if problem.file == "pools.ndjson"]) == 11
    assert "pools.ndjson:None: and 4,990 more" in messages(found)
    assert sum(problem.count for problem in found if problem.file == "pools.ndjson") == 5000


async def test_a_line_without_end_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = await make(tmp_path, compression=Compression.GZIP)
    monkeypatch.setattr("poolcensus.format.compression.LONGEST_LINE", 1_000_000)
    snapshot.pools_path.write_bytes(gzip.compress(b"x" * 50_000_000))
    found = messages(verify(reseal(snapshot)))
    assert "a line is longer than" in found
    # The rest of the file has been read for the digest all the same.
    assert "sha256" not in found


@pytest.mark.parametrize("name", ["targets.ndjson.gz", "pools.ndjson.gz"])
async def test_what_only_follows_from_a_file_that_is_cut_is_no_problem(tmp_path: Path, name: str) -> None:
    folder = folder_of(await make(tmp_path, content=CONTENT, compression=Compression.GZIP))
    (folder / name).write_bytes((folder / name).read_bytes()[:-5])
    found = verify(folder)
    assert {each.file for each in found} == {name}
    assert "ends in the middle, or was changed" in found[0].message


async def test_a_snapshot_that_is_removed_meanwhile_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(await make(tmp_path))
    real = LocalFiles.names

    def names(self: LocalFiles) -> list[str]:
        shutil.rmtree(self.path)
        return real(self)

    monkeypatch.setattr(LocalFiles, "names", names)
    _, (problem,) = verify_named(ID, tmp_path)
    assert (problem.file, problem.kind) == ("", ProblemKind.UNREADABLE)
    assert problem.message == f"{folder} was removed while it was read"


def test_what_can_not_be_looked_at_is_no_snapshot(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"a can't be read: File name too long$"):
        verify(tmp_path / ("a" * 5000))
