"""The shards of a merge are opened side by side, and told of in the order in which they are named."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from poolcensus.errors import DestinationError, MergeError, SnapshotError
from poolcensus.snapshot import shard_opening
from poolcensus.snapshot.shard_opening import open_shards
from poolcensus.storage.base import CONNECTIONS
from poolcensus.storage.sources import Sources
from snapshot.shard_lab import ONE, TWO, make

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from poolcensus.snapshot import Snapshot

LONGEST = 20.0


def opened_by(monkeypatch: pytest.MonkeyPatch, open_one: Callable[[str], Snapshot]) -> None:
    monkeypatch.setattr(shard_opening, "_open", lambda ref, _dest, _sources: open_one(ref))


async def test_as_many_are_opened_at_a_time_as_there_are_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await make(tmp_path / "1", ONE, 1)
    # Nobody is through before all of these are there, and one more would be too many.
    together = threading.Barrier(CONNECTIONS)
    mutex = threading.Lock()
    under_way = most = 0

    def open_one(_: str) -> Snapshot:
        nonlocal under_way, most
        with mutex:
            under_way += 1
            most = max(most, under_way)
        together.wait(LONGEST)
        with mutex:
            under_way -= 1
        together.wait(LONGEST)
        return shard

    opened_by(monkeypatch, open_one)
    names = [str(number) for number in range(3 * CONNECTIONS)]
    assert await open_shards(names, tmp_path, Sources()) == [shard] * len(names)
    assert most == CONNECTIONS


async def test_they_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    made = [await make(tmp_path / str(index), each, index) for index, each in enumerate((ONE, TWO), 1)]
    names = [tmp_path / "2", tmp_path / "1"] * 8
    found = await open_shards(names, tmp_path / "all", Sources())
    assert [each.id for each in found] == [made[1].id, made[0].id] * 8


async def test_the_first_that_cannot_be_opened_is_told_whichever_fails_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = await make(tmp_path / "1", ONE, 1)
    third_failed, go_on = threading.Event(), threading.Event()

    def open_one(ref: str) -> Snapshot:
        match ref:
            case "second":
                assert third_failed.wait(LONGEST)
                raise SnapshotError("the second is damaged")
            case "third":
                third_failed.set()
                raise DestinationError("the third can't be reached")
            case "fourth":
                # Nobody waits long for what comes after one that has failed.
                assert go_on.wait(LONGEST)
        return shard

    opened_by(monkeypatch, open_one)
    monkeypatch.setattr(shard_opening, "ABORT_SECONDS", 0.01)
    with anyio.fail_after(LONGEST / 2), pytest.raises(SnapshotError, match="^the second is damaged$"):
        await open_shards(["first", "second", "third", "fourth"], tmp_path, Sources())
    go_on.set()


async def test_what_was_begun_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second_begun, first_failed = threading.Event(), threading.Event()
    ended: list[str] = []

    def open_one(ref: str) -> Snapshot:
        if ref == "first":
            assert second_begun.wait(LONGEST)
            first_failed.set()
            raise SnapshotError("the first is damaged")
        second_begun.set()
        assert first_failed.wait(LONGEST)
        ended.append(ref)
        raise SnapshotError("the second is damaged")

    opened_by(monkeypatch, open_one)
    monkeypatch.setattr(shard_opening, "ABORT_SECONDS", LONGEST)
    with pytest.raises(SnapshotError, match="^the first is damaged$"):
        await open_shards(["first", "second"], tmp_path, Sources())
    assert ended == ["second"]


async def test_those_after_one_that_failed_are_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def open_one(ref: str) -> Snapshot:
        begun.append(ref)
        raise MergeError(f"{ref} is none")

    opened_by(monkeypatch, open_one)
    with pytest.raises(MergeError, match=re.escape("0 is none")):
        await open_shards([str(number) for number in range(500)], tmp_path, Sources())
    assert len(begun) <= CONNECTIONS


async def test_several_that_the_system_refuses_are_one_error(tmp_path: Path) -> None:
    names = [str(tmp_path / (letter * 5000)) for letter in "ab"]
    with pytest.raises(SnapshotError, match=r"a can't be read: File name too long$"):
        await open_shards(names, tmp_path, Sources())


async def test_a_mistake_of_ours_is_raised_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_one(_: str) -> Snapshot:
        raise ZeroDivisionError

    opened_by(monkeypatch, open_one)
    with pytest.raises(ZeroDivisionError):
        await open_shards(["1"], tmp_path, Sources())


async def test_who_is_cancelled_waits_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def open_one(_: str) -> Snapshot:
        begun.set()
        assert go_on.wait(LONGEST)
        raise MergeError

    opened_by(monkeypatch, open_one)
    with anyio.fail_after(LONGEST / 2):
        async with anyio.create_task_group() as group:
            group.start_soon(open_shards, ["1", "2"], tmp_path, Sources())
            await to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
    go_on.set()
