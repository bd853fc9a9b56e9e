"""What is read of a shard is let go of, however its reading ends."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from descriptors import descriptors, path_of
from poolcensus.errors import MergeError
from poolcensus.model import Outcome
from poolcensus.snapshot import SnapshotWriter, adoption
from poolcensus.snapshot.adoption import adopt
from poolcensus.snapshot.pieces import pieces_of
from snapshot.making import POOLS, target
from snapshot.memory_draft import MemoryDraft
from snapshot.shard_lab import make

if TYPE_CHECKING:
    from collections.abc import Generator

    from poolcensus.model import Target, TargetResult
    from poolcensus.snapshot import Snapshot
    from poolcensus.snapshot.pieces import Piece

ID = "20261123T020000Z-abcdef"
MANY = {target(number): [f"wspool-{pool:09}" for pool in range(900)] for number in (1, 2)}


class Puts:
    """Takes what it is given, and keeps the targets that are not done."""

    def __init__(self) -> None:
        self.open: set[Target] = set()

    async def room(self) -> None:
        pass

    def add_records(self, target: Target, data: bytes) -> None:
        assert data
        self.open.add(target)

    def set_record_count(self, target: Target, count: int) -> None:
        assert count

    def discard(self, target: Target) -> None:
        self.open.discard(target)

    def done(self, _: TargetResult, target: Target) -> None:
        self.open.discard(target)


async def open_files(snapshot: Snapshot) -> list[Path]:
    return await anyio.to_thread.run_sync(_open_files, Path(snapshot.location))


def _open_files(folder: Path) -> list[Path]:
    found = []
    for descriptor in descriptors():
        # Another thread may close one that was listed.
        with suppress(FileNotFoundError):
            found.append(path_of(descriptor))
    return [each for each in found if each.is_relative_to(folder)]


async def test_an_error_leaves_no_file_open_while_anybody_looks_at_it(tmp_path: Path) -> None:
    part = await make(tmp_path, MANY, 1)
    writer = Puts()

    def refuse(result: TargetResult) -> None:
        if result.account_id.endswith("2"):
            raise MergeError("no")

    with pytest.raises(MergeError) as caught:
        await adopt(part, ID, writer, writer.done, refuse)
    assert caught.tb is not None
    assert await open_files(part) == []
    assert writer.open == set()


async def test_a_target_whose_records_can_not_be_read_to_their_end_is_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = await make(tmp_path, {target(1): [f"wspool-{pool:09}" for pool in range(9000)]}, 1)
    claimed: list[str] = []
    writer = Puts()

    def cut_off(snapshot: Snapshot, snapshot_id: str) -> Generator[Piece]:
        first = next(pieces_of(snapshot, snapshot_id))
        assert not first.last
        yield from (first, first)
        assert writer.open
        raise MergeError("no")

    monkeypatch.setattr(adoption, "pieces_of", cut_off)
    with pytest.raises(MergeError):
        await adopt(part, ID, writer, writer.done, lambda result: claimed.append(result.account_id))
    assert writer.open == set()
    assert claimed == [target(1).account.id]


async def test_no_more_is_adopted_than_there_is_room_for(tmp_path: Path) -> None:
    """Of targets without records too, of which each is a line of the ledger."""
    many = {target(number): Outcome.EMPTY for number in range(2000)}
    part = await make(tmp_path, many, 1)
    draft = MemoryDraft()
    draft.gate = anyio.Event()
    taken = 0
    async with SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=50_000) as writer:

        def done(result: TargetResult, target: Target) -> None:
            nonlocal taken
            writer.done(result, target)
            taken += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(adopt, part, ID, writer, done)
            while not writer.full():
                await anyio.lowlevel.checkpoint()
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            assert taken < 500
            draft.gate.set()
        assert taken == len(many)


# With no time at all nothing that is to close them begins.
@pytest.mark.parametrize("seconds", [0.0, 0.01])
async def test_a_thread_that_still_reads_lets_go_of_the_files_when_it_is_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    part = await make(tmp_path, MANY, 1)
    writer = Puts()
    reading, go_on = threading.Event(), threading.Event()

    def slow(snapshot: Snapshot, snapshot_id: str) -> Generator[Piece]:
        for each in pieces_of(snapshot, snapshot_id):
            yield each
            reading.set()
            go_on.wait()

    monkeypatch.setattr(adoption, "pieces_of", slow)
    monkeypatch.setattr(adoption, "ABORT_SECONDS", seconds)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(adopt, part, ID, writer, writer.done)
        await anyio.to_thread.run_sync(reading.wait)
        assert await open_files(part)
        tasks.cancel_scope.cancel()
    # What hangs is not waited for any longer than that.
    assert await open_files(part)
    go_on.set()
    while await open_files(part):
        await anyio.lowlevel.checkpoint()
    assert writer.open == set()
