"""The journal of an interrupted run, cut off and damaged: what it gives back is right, or nothing."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lost_replies import lose_replies
from poolcensus.errors import AccountChoiceError, DestinationError, NotPublishedError
from poolcensus.model import Account, Compression, Outcome, Target, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import JournalHeader, Snapshot, SnapshotWriter, interrupted_run, new_snapshot_id
from poolcensus.snapshot.journal import Entry, Journal, encode_header
from poolcensus.snapshot.pruning import prune
from poolcensus.snapshot.retention import Keep
from poolcensus.snapshot.verification import verify
from poolcensus.storage.local.files import open_file
from poolcensus.storage.local.store import FolderStore
from snapshot.making import (
    ID,
    LATER_ID,
    POOLS,
    STARTED,
    ago,
    fill,
    folder_of,
    make,
    page,
    pool,
    publish,
    result,
    target,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from poolcensus.model import JsonObject

ASKED: JsonObject = {"regions": ["us-east-1"], "pool_ids": []}
CONTENT: Mapping[Target, Sequence[str] | Outcome] = {
    target(1): ["wspool-000000001", "wspool-000000002", "wspool-000000003"],
    target(1, "eu-west-1"): Outcome.EMPTY,
    target(2): Outcome.THROTTLED,
    target(2, "eu-west-1"): ["wspool-000000004"],
    target(3): Outcome.REGION_DISABLED,
}
FINISHED = [each for each, has in CONTENT.items() if has is not Outcome.THROTTLED]


class StoppedError(Exception):
    """What ends the runs of these tests."""


def header(snapshot_id: str, compression: Compression = Compression.NONE) -> JournalHeader:
    return JournalHeader(snapshot_id, STARTED, compression, WORKSPACES_POOLS.info, ASKED)


async def interrupt(
    dest: Path,
    snapshot_id: str,
    *,
    compression: Compression = Compression.NONE,
    error: Exception | None = None,
    content: Mapping[Target, Sequence[str] | Outcome] = CONTENT,
) -> None:
    """A run that writes the content and then ends in an error, with a target still open."""
    why = StoppedError() if error is None else error
    with pytest.raises(type(why)):
        async with (
            FolderStore(dest) as store,
            SnapshotWriter(
                await store.draft(snapshot_id),
                partition="aws",
                operation=POOLS,
                compression=compression,
                journal=header(snapshot_id, compression),
            ) as writer,
        ):
            await fill(writer, content)
            half = target(7)
            writer.page(page(half, pool("wspool-000000099")))
            raise why


@asynccontextmanager
async def going_on(
    dest: Path, asked: JsonObject = ASKED
) -> AsyncIterator[tuple[SnapshotWriter, dict[Target, TargetResult]]]:
    """A run that goes on, once it has taken over what it can."""
    restored: dict[Target, TargetResult] = {}
    async with FolderStore(dest) as store, interrupted_run(store, ASKED) as interrupted:
        assert interrupted is not None
        async with SnapshotWriter(
            await store.draft(interrupted.header.snapshot_id),
            partition="aws",
            operation=POOLS,
            journal=interrupted.header,
        ) as writer:
            for each in [*CONTENT, target(7), target(8)]:
                found = await interrupted.restore(each, writer)
                if found is not None:
                    restored[each] = found
                    writer.done(found, each)
            yield writer, restored


def written(of: Target, outcome: Outcome = Outcome.OK, *, pools: int, pages: int) -> TargetResult:
    """A result as the ledger has it, in milliseconds."""
    return replace(result(of, outcome, pools, pages), seconds=0.212)


def draft_of(dest: Path) -> Path:
    return next(each for each in dest.iterdir() if each.name.startswith(".draft-"))


def ids_by_target(snapshot: Snapshot) -> dict[tuple[str, str], list[object]]:
    found: dict[tuple[str, str], list[object]] = {}
    for record in snapshot.pools():
        found.setdefault((record.account_id, record.region), []).append(record.pool["PoolId"])
    return found


@pytest.fixture
def snapshot_id() -> str:
    return new_snapshot_id(datetime.now(UTC))


@pytest.mark.parametrize("compression", Compression)
async def test_a_run_that_goes_on_has_what_the_first_one_finished(
    tmp_path: Path, snapshot_id: str, compression: Compression
) -> None:
    await interrupt(tmp_path, snapshot_id, compression=compression)
    async with going_on(tmp_path) as (writer, restored):
        assert list(restored) == FINISHED
        assert restored[target(1)] == written(target(1), pools=3, pages=2)
        for each in (target(2), target(7)):
            writer.done(result(each, Outcome.EMPTY), each)
        await publish(writer, accounts=4)
    snapshot = Snapshot.open(snapshot_id, tmp_path)
    assert not verify(snapshot)
    assert sorted(each.name for each in folder_of(snapshot).iterdir()) == [
        "manifest.json",
        "pools.ndjson",
        "targets.ndjson",
    ]
    assert ids_by_target(snapshot) == {
        ("000000000001", "us-east-1"): ["wspool-000000001", "wspool-000000002", "wspool-000000003"],
        ("000000000002", "eu-west-1"): ["wspool-000000004"],
    }
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([".lock", "latest", snapshot_id])


async def test_a_run_that_is_interrupted_again_loses_nothing(tmp_path: Path, snapshot_id: str) -> None:
    await interrupt(tmp_path, snapshot_id)
    with pytest.raises(StoppedError):
        async with going_on(tmp_path) as (writer, restored):
            assert list(restored) == FINISHED
            writer.done(result(target(2), Outcome.EMPTY), target(2))
            raise StoppedError
    # Killed while it was still taking over: only the first journal has everything.
    with draft_of(tmp_path).joinpath("journal").open("r+b") as journal:
        journal.truncate(len(journal.readline()))
    with pytest.raises(StoppedError):
        async with going_on(tmp_path) as (_, restored):
            assert list(restored) == FINISHED
            raise StoppedError
    async with going_on(tmp_path) as (writer, restored):
        assert list(restored) == FINISHED
        await publish(writer)
    assert not [each for each in tmp_path.iterdir() if each.name.startswith((".draft", ".former"))]


async def test_of_many_interruptions_the_last_is_read_first(tmp_path: Path, snapshot_id: str) -> None:
    await interrupt(tmp_path, snapshot_id)
    for number in (1, 2, 10):
        shutil.copytree(draft_of(tmp_path), tmp_path / f".former-{snapshot_id}.{number}")
    async with FolderStore(tmp_path) as store:
        (run,) = await store.interrupted()
        aside = await store.set_aside(run)
    assert [each.name for each in aside] == [f".former-{snapshot_id}.{each}" for each in (11, 10, 2, 1)]


async def test_a_rename_whose_reply_is_lost_has_set_the_journal_aside(
    tmp_path: Path, snapshot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupt(tmp_path, snapshot_id)
    async with FolderStore(tmp_path) as store:
        (run,) = await store.interrupted()
        lost = lose_replies(monkeypatch, "rename", ".former-", errno.ENOENT)
        aside = await store.set_aside(run)
    assert [each.name for each in aside] == lost == [f".former-{snapshot_id}.1"]
    assert not (tmp_path / f".draft-{snapshot_id}").exists()


@pytest.mark.parametrize(
    "changes",
    [{"name": "other"}, {"ou_path": "o-1/r-1/ou-2/1/"}, {"tags": (("a", "b"),)}, {"organization": "gov"}],
)
async def test_what_has_changed_about_an_account_is_not_left_as_it_was(
    tmp_path: Path, snapshot_id: str, changes: dict[str, Any]
) -> None:
    await interrupt(tmp_path, snapshot_id)
    async with (
        FolderStore(tmp_path) as store,
        interrupted_run(store, ASKED) as interrupted,
        SnapshotWriter(await store.draft(snapshot_id), partition="aws", operation=POOLS) as writer,
    ):
        assert interrupted is not None
        as_before = target(3)
        changed = replace(as_before, account=replace(as_before.account, **changes))
        assert await interrupted.restore(changed, writer) is None
        assert await interrupted.restore(as_before, writer) is not None


async def test_pruning_leaves_an_interrupted_run_to_be_gone_on_with(tmp_path: Path, snapshot_id: str) -> None:
    await interrupt(tmp_path, snapshot_id)
    await prune(tmp_path, Keep(last=1))
    async with going_on(tmp_path) as (_, restored):
        assert list(restored) == FINISHED


async def test_without_resume_what_is_left_stays_until_a_run_publishes(
    tmp_path: Path, snapshot_id: str
) -> None:
    await interrupt(tmp_path, snapshot_id)
    async with FolderStore(tmp_path) as store:
        await store.draft(LATER_ID)
        assert (tmp_path / f".draft-{snapshot_id}").is_dir()
    async with going_on(tmp_path) as (_, restored):
        assert list(restored) == FINISHED
    await make(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".lock", ID, "latest"]


async def test_of_several_interrupted_runs_only_the_newest_that_finished_a_target_stays(
    tmp_path: Path,
) -> None:
    stale, older, newer, begun = (ago(hours, "aaaaaa") for hours in (30, 3, 2, 1))
    for each in (stale, older, newer):
        await interrupt(tmp_path, each)
        draft_of(tmp_path).rename(tmp_path / f"kept-{each}")
    for each in (stale, older, newer):
        (tmp_path / f"kept-{each}").rename(tmp_path / f".draft-{each}")
    (tmp_path / f".draft-{begun}").mkdir()
    (tmp_path / f".draft-{begun}" / "journal").write_bytes(encode_header(header(begun)))
    async with FolderStore(tmp_path) as store:
        await store.draft(ID)
        assert {each.name for each in tmp_path.glob(".draft-*")} == {f".draft-{newer}", f".draft-{ID}"}


@pytest.mark.parametrize("name", ["old", "future", "published", "unreadable"])
async def test_a_run_that_does_not_fit_is_not_gone_on_with(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = datetime.now(UTC)
    began = {"old": now - timedelta(hours=25), "future": now + timedelta(hours=25)}.get(name, now)
    snapshot_id = new_snapshot_id(began)
    await interrupt(tmp_path, snapshot_id)
    if name == "published":
        (tmp_path / snapshot_id).mkdir()
    if name == "unreadable":
        (draft_of(tmp_path) / "journal").write_bytes(b"not a journal\n")
    async with FolderStore(tmp_path) as store, interrupted_run(store, ASKED) as interrupted:
        assert interrupted is None
    assert not [each for each in tmp_path.iterdir() if each.name.startswith((".draft", ".former"))]
    assert (snapshot_id in caplog.text) == (name in {"old", "future"})


async def test_a_run_that_is_asked_for_something_else_starts_anew_says_why_and_removes_nothing(
    tmp_path: Path, snapshot_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    await interrupt(tmp_path, snapshot_id)
    other: JsonObject = {**ASKED, "pool_ids": ["wspool-000000001"], "page_size": 5}
    async with FolderStore(tmp_path) as store, interrupted_run(store, other) as interrupted:
        assert interrupted is None
    (said,) = caplog.messages
    assert said == (
        f"the interrupted run {snapshot_id} in {tmp_path} is not resumed: it was asked for something else"
        " (page_size, pool_ids)"
    )
    async with going_on(tmp_path) as (_, restored):
        assert list(restored) == FINISHED


async def test_each_piece_of_a_targets_records_waits_for_room(tmp_path: Path, snapshot_id: str) -> None:
    class Small:
        """Takes one piece, and no other before somebody has waited."""

        pieces = 0
        has_room = False

        async def room(self) -> None:
            await anyio.lowlevel.checkpoint()
            self.has_room = True

        def add_records(self, target: Target, data: bytes) -> None:
            assert self.has_room
            self.has_room = False
            self.pieces += 1

        def set_record_count(self, target: Target, count: int) -> None:
            assert count == 5000

        def discard(self, target: Target) -> None:
            pytest.fail("it is called again")

    await interrupt(
        tmp_path, snapshot_id, content={target(1): [f"wspool-{number:09}" for number in range(5000)]}
    )
    async with FolderStore(tmp_path) as store, interrupted_run(store, ASKED) as interrupted:
        assert interrupted is not None
        sink = Small()
        assert await interrupted.restore(target(1), sink) is not None
    assert sink.pieces > 1


@pytest.mark.parametrize("damage", [b"", b"damaged\n"])
async def test_what_an_earlier_start_left_damaged_keeps_no_run_from_going_on(
    tmp_path: Path, snapshot_id: str, damage: bytes
) -> None:
    await interrupt(tmp_path, snapshot_id)
    former = tmp_path / f".former-{snapshot_id}.1"
    former.mkdir()
    (former / "journal").write_bytes(damage)
    async with going_on(tmp_path) as (_, restored):
        assert list(restored) == FINISHED


def make_unreadable(file: Path) -> None:
    """Have the system refuse to open the file, for root as well."""
    file.rename(file.with_name(f"{file.name} away"))
    file.symlink_to(file.name)


@pytest.mark.parametrize("name", ["journal", "pools.ndjson"])
async def test_what_can_not_be_read_is_told_and_can_be_gone_on_with_once_it_can_be_read(
    tmp_path: Path, snapshot_id: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await interrupt(tmp_path, snapshot_id)
    make_unreadable(draft_of(tmp_path) / name)
    for _ in range(2):
        caplog.clear()
        async with FolderStore(tmp_path) as store, interrupted_run(store, ASKED) as interrupted:
            assert interrupted is None
            await store.draft(LATER_ID)
        (away,) = tmp_path.glob(f".*/{name} away")
        file = away.with_name(name)
        (said,) = caplog.messages
        assert said == (
            f"the interrupted run {snapshot_id} in {tmp_path} is not resumed: {file}:"
            f" {os.strerror(errno.ELOOP)}"
        )
    away.replace(file)
    async with going_on(tmp_path) as (_, restored):
        assert list(restored) == FINISHED


async def test_a_run_that_does_not_resume_leaves_what_can_not_be_read(
    tmp_path: Path, snapshot_id: str
) -> None:
    older = ago(3, "aaaaaa")
    await interrupt(tmp_path, older)
    draft_of(tmp_path).rename(tmp_path / "kept")
    await interrupt(tmp_path, snapshot_id)
    make_unreadable(draft_of(tmp_path) / "journal")
    (tmp_path / "kept").rename(tmp_path / f".draft-{older}")
    async with FolderStore(tmp_path) as store:
        await store.draft(ID)
        names = {each.name for each in tmp_path.glob(".draft-*")}
        assert names == {f".draft-{each}" for each in (older, snapshot_id, ID)}


async def test_an_older_run_is_gone_on_with_where_the_newest_can_not_be_read(
    tmp_path: Path, snapshot_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    newer = ago(-1, "aaaaaa")
    await interrupt(tmp_path, newer)
    make_unreadable(draft_of(tmp_path) / "journal")
    draft_of(tmp_path).rename(tmp_path / "kept")
    await interrupt(tmp_path, snapshot_id)
    (tmp_path / "kept").rename(tmp_path / f".draft-{newer}")
    async with going_on(tmp_path) as (_, restored):
        assert list(restored) == FINISHED
        assert (tmp_path / f".draft-{newer}").is_dir()
    assert newer in caplog.text


@pytest.mark.parametrize("unreadable", [".draft", ".former"])
async def test_what_can_not_be_read_keeps_no_run_from_going_on_with_the_rest(
    tmp_path: Path, snapshot_id: str, unreadable: str, caplog: pytest.LogCaptureFixture
) -> None:
    await interrupt(tmp_path, snapshot_id)
    shutil.copytree(draft_of(tmp_path), tmp_path / f".former-{snapshot_id}.1")
    make_unreadable(next(tmp_path.glob(f"{unreadable}-*")) / "journal")
    async with going_on(tmp_path) as (_, restored):
        assert list(restored) == FINISHED
        assert len([*tmp_path.glob(".former-*")]) == 2
    (said,) = caplog.messages
    assert said.startswith(f"what can't be read of the interrupted run {snapshot_id} in {tmp_path} is called")
    assert said.endswith(f"/journal: {os.strerror(errno.ELOOP)}")


class FailingFile(io.RawIOBase):
    """A file that can be read up to a byte, where the disk fails."""

    def __init__(self, file: IO[bytes], good: int) -> None:
        self._file = file
        self._left = good

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, into: Any) -> int:
        if not self._left:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        view = memoryview(into)
        piece = self._file.read(min(self._left, len(view)))
        self._left -= len(piece)
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


@pytest.mark.parametrize("name", ["journal", "pools.ndjson"])
@pytest.mark.parametrize("compression", Compression)
async def test_what_was_read_before_a_disk_failed_is_taken_over(
    tmp_path: Path,
    snapshot_id: str,
    *,
    name: str,
    compression: Compression,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    draw = random.Random(7)
    # Too many for what is read ahead, also where they are compressed.
    each_has = [[f"wspool-{draw.randbytes(32).hex()}" for _ in range(3000)] for _ in range(3)]
    finished = {target(number): pools for number, pools in enumerate(each_has)}
    await interrupt(tmp_path, snapshot_id, compression=compression, content=finished)
    journal = draft_of(tmp_path) / "journal"
    # The header and the first target, and all records but for the last byte.
    good = {
        "journal": len(b"".join(journal.read_bytes().splitlines(keepends=True)[:2])),
        "pools.ndjson": (draft_of(tmp_path) / f"pools.ndjson{compression.suffix}").stat().st_size - 1,
    }

    def failing(file: Path, *, buffering: int = -1) -> IO[bytes]:
        found = open_file(file, buffering=0)
        if not file.name.startswith(name):
            return found
        raw = FailingFile(found, good[name])
        return cast("IO[bytes]", raw if buffering == 0 else io.BufferedReader(raw))

    monkeypatch.setattr("poolcensus.snapshot.journal.open_file", failing)
    async with FolderStore(tmp_path) as store, interrupted_run(store, ASKED) as interrupted:
        assert interrupted is not None
        has = [interrupted.has(each) for each in finished]
        assert has == ([True, False, False] if name == "journal" else [True, True, False])
    (said,) = caplog.messages
    assert said == (
        f"what can't be read of the interrupted run {snapshot_id} in {tmp_path} is called again:"
        f" {tmp_path}/.former-{snapshot_id}.1: {os.strerror(errno.EIO)}"
    )


async def test_records_that_are_cut_off_once_the_journal_is_open_are_called_again(
    tmp_path: Path, snapshot_id: str
) -> None:
    content = {target(1): [f"wspool-{number:09}" for number in range(5000)]}
    await interrupt(tmp_path, snapshot_id, content=content)
    async with FolderStore(tmp_path) as store, interrupted_run(store, ASKED) as interrupted:
        assert interrupted is not None
        former = next(each for each in tmp_path.iterdir() if each.name.startswith(".former-"))
        # In the middle of the second piece.
        os.truncate(former / "pools.ndjson", 300_000)
        async with SnapshotWriter(await store.draft(snapshot_id), partition="aws", operation=POOLS) as writer:
            assert await interrupted.restore(target(1), writer) is None
            assert not writer._open


async def test_an_error_is_told_although_what_was_read_can_not_be_closed(
    tmp_path: Path, snapshot_id: str
) -> None:
    await interrupt(tmp_path, snapshot_id)
    with pytest.raises(StoppedError):
        async with FolderStore(tmp_path) as store, interrupted_run(store, ASKED) as interrupted:
            assert interrupted is not None
            (journal,) = interrupted._journals
            for each in (journal._lines, journal._records):
                os.close(each.fileno())
            raise StoppedError
    assert journal._lines.closed
    assert journal._records.closed


async def test_why_a_target_is_called_again_is_told_without_a_number(
    tmp_path: Path, snapshot_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(journal: Journal, entry: Entry) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    await interrupt(tmp_path, snapshot_id)
    monkeypatch.setattr(Journal, "begin", failing)
    async with going_on(tmp_path) as (_, restored):
        assert not restored
    assert f"us-east-1 in 000000000001 is called again: {os.strerror(errno.EIO)}" in caplog.messages


async def test_an_account_that_has_another_name_now_is_called_again(tmp_path: Path, snapshot_id: str) -> None:
    await interrupt(tmp_path, snapshot_id)
    async with FolderStore(tmp_path) as store, interrupted_run(store, ASKED) as interrupted:
        assert interrupted is not None
        async with SnapshotWriter(await store.draft(snapshot_id), partition="aws", operation=POOLS) as writer:
            renamed = Target(Account("000000000001", "other"), "us-east-1")
            assert await interrupted.restore(renamed, writer) is None


@pytest.mark.parametrize(
    "error",
    [
        DestinationError("full"),
        NotPublishedError("strict", uncovered=(), count=1),
        AccountChoiceError("an account of two Organizations"),
    ],
)
async def test_a_run_that_can_not_go_on_leaves_nothing(
    tmp_path: Path, snapshot_id: str, error: Exception
) -> None:
    await interrupt(tmp_path, snapshot_id, error=error)
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("compression", [Compression.GZIP, Compression.ZSTD])
async def test_a_disk_that_fills_while_a_run_is_put_away_leaves_the_journal(
    tmp_path: Path, snapshot_id: str, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object) -> bytes:
        raise DestinationError("full")

    monkeypatch.setattr("poolcensus.format.packing.Packer.finish", full)
    with anyio.CancelScope():
        await interrupt(tmp_path, snapshot_id, compression=compression)
    assert (draft_of(tmp_path) / "journal").exists()


async def test_a_killed_commit_can_be_gone_on_with_until_the_manifest_is_there(
    tmp_path: Path, snapshot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(fd: int) -> None:
        assert (draft_of(tmp_path) / "journal").exists()
        raise StoppedError

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(StoppedError):
        async with (
            FolderStore(tmp_path) as store,
            SnapshotWriter(
                await store.draft(snapshot_id),
                partition="aws",
                operation=POOLS,
                journal=header(snapshot_id),
            ) as writer,
        ):
            await fill(writer, CONTENT)
            await publish(writer)


@pytest.mark.parametrize("content", [{}, {target(1): Outcome.THROTTLED, target(2): Outcome.ACCESS_DENIED}])
async def test_a_run_that_has_nothing_to_go_on_with_leaves_nothing(
    tmp_path: Path, snapshot_id: str, content: Mapping[Target, Outcome]
) -> None:
    await interrupt(tmp_path, snapshot_id, content=content)
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


async def test_a_killed_run_has_its_journal_on_disk_before_long(
    tmp_path: Path, snapshot_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.snapshot.write_queue._LONGEST_IN_MEMORY", 0.01)
    async with (
        FolderStore(tmp_path) as store,
        SnapshotWriter(
            await store.draft(snapshot_id),
            partition="aws",
            operation=POOLS,
            journal=header(snapshot_id),
        ) as writer,
    ):
        await fill(writer, CONTENT)
        with anyio.fail_after(30):
            while (found := await anyio.to_thread.run_sync(Journal.open, draft_of(tmp_path))) is None or len(
                found
            ) < len(FINISHED):
                if found is not None:
                    found.close()
                await anyio.sleep(0.01)
        found.close()


def assert_right(folder: Path) -> int:
    """Whatever the journal gives back is what was written. Says how many targets that are."""
    journal = Journal.open(folder)
    if journal is None:
        return 0
    found = 0
    for each, has in [*CONTENT.items(), (target(7), Outcome.ERROR)]:
        entry = journal.find(each.account.id, each.region)
        if entry is None:
            continue
        found += 1
        result, records = journal.begin(entry)
        while piece := journal.piece(entry, len(records)):
            records += piece
        lines = records.splitlines()
        expected = [] if isinstance(has, Outcome) else list(has)
        assert [json.loads(line)["pool"]["PoolId"] for line in lines] == expected
        outcome = has if isinstance(has, Outcome) else Outcome.OK
        pages = 1 if isinstance(has, Outcome) else -(-len(has) // 2)
        assert result == written(each, outcome, pools=len(expected), pages=pages)
    journal.close()
    return found


# The default run cuts at the ends of lines, one byte before and one behind, and at every 23rd byte between.
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("compression", Compression)
async def test_a_journal_may_be_cut_off_at_every_byte(
    tmp_path: Path, snapshot_id: str, compression: Compression, *, every: bool
) -> None:
    await interrupt(tmp_path / "first", snapshot_id, compression=compression)
    draft = draft_of(tmp_path / "first")
    # In a thread, as the program does it: a file without a name may take several calls to make.
    assert await anyio.to_thread.run_sync(assert_right, draft) == len(FINISHED)
    for file in (draft / "journal", draft / f"pools.ndjson{compression.suffix}"):
        whole = file.read_bytes()
        sizes = {*range(0, len(whole), 1 if every else 23)}
        if file.name == "journal" or compression is Compression.NONE:
            sizes |= {at for end in re.finditer(b"\n", whole) for at in range(end.start(), end.end() + 2)}
        counts = []
        for size in sorted(each for each in sizes if each < len(whole)):
            file.write_bytes(whole[:size])
            counts.append(await anyio.to_thread.run_sync(assert_right, draft))
        file.write_bytes(whole)
        assert counts[0] == 0 or file.name != "journal"
        assert counts == sorted(counts)


@pytest.fixture(scope="module")
def original() -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        anyio.run(interrupt, Path(folder), new_snapshot_id(datetime.now(UTC)))
        return {each.name: each.read_bytes() for each in draft_of(Path(folder)).iterdir()}


@settings(max_examples=100)
@given(seed=st.integers(0, 1 << 32), name=st.sampled_from(["journal", "pools.ndjson"]), many=st.booleans())
def test_a_damaged_journal_gives_back_nothing_wrong(
    original: dict[str, bytes], seed: int, name: str, *, many: bool
) -> None:
    draw = random.Random(seed)
    with TemporaryDirectory() as place:
        folder = Path(place)
        for each, content in original.items():
            (folder / each).write_bytes(content)
        data = bytearray(original[name])
        start = draw.randrange(len(data))
        end = min(len(data), start + (draw.randrange(1, 200) if many else 1))
        data[start:end] = draw.choice(
            [b"\0" * (end - start), draw.randbytes(end - start), b"", draw.randbytes(9)]
        )
        (folder / name).write_bytes(data)
        assert_right(folder)
