"""Removing the lock of a run that is known to be dead, and what becomes of it if it was not."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from poolcensus.errors import DestinationError, DestinationLockedError
from poolcensus.snapshot import LockHolder, unlock
from poolcensus.storage.local.store import FolderStore
from snapshot.making import ID, LATER_ID, commit, make
from storage.runs import EARLIER_ID

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = {"host": "elsewhere", "pid": 7, "started_at": "2026-11-23T02:00:00Z"}
HOLDER = LockHolder(datetime(2026, 11, 23, 2, tzinfo=UTC), "elsewhere", 7)


def finished_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def rewrite(lock: Path, **changes: object) -> None:
    """The lock as another process would have written it. Who holds it does not change."""
    lock.write_text(json.dumps({**json.loads(lock.read_bytes()), **changes}))


async def test_a_folder_that_nobody_holds_is_left_as_it_is(tmp_path: Path) -> None:
    assert await unlock(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
    await make(tmp_path)
    (tmp_path / ".lock").write_text(json.dumps(ELSEWHERE))
    before = (tmp_path / ".lock").stat().st_ino
    assert await unlock(tmp_path) is None
    assert (tmp_path / ".lock").stat().st_ino == before
    with pytest.raises(DestinationError, match="There is no folder"):
        await unlock(tmp_path / "none")


@pytest.mark.parametrize("whose", ["another host's", "a process that is gone", "nobody's"])
async def test_a_run_whose_lock_was_removed_publishes_nothing(tmp_path: Path, whose: str) -> None:
    dest = tmp_path / "two"
    await make(dest, EARLIER_ID)
    lock = dest / ".lock"
    async with FolderStore(dest) as sleeper:
        draft = await sleeper.draft(ID)
        await draft.create("pools.ndjson")
        if whose == "nobody's":
            lock.write_bytes(b"[]")
            holder = LockHolder()
        elif whose == "another host's":
            rewrite(lock, **ELSEWHERE)
            holder = HOLDER
        else:
            rewrite(lock, pid=finished_process())
            holder = LockHolder.read(lock.read_bytes())
        assert await unlock(dest) == holder
        async with FolderStore(dest) as successor:
            with pytest.raises(DestinationError, match="lock of .*two was lost"):
                await commit(draft, b"{}\n")
            with pytest.raises(DestinationError, match="lock of .*two was lost"):
                await sleeper.remove(EARLIER_ID)
            with pytest.raises(DestinationLockedError):
                await unlock(dest)
            newer = await successor.draft(LATER_ID)
            await commit(newer, b"{}\n")
    assert sorted(each.name for each in dest.iterdir()) == [".lock", EARLIER_ID, LATER_ID, "latest"]


async def test_the_lock_of_a_process_of_this_host_stays(tmp_path: Path) -> None:
    async with FolderStore(tmp_path) as entered:
        rewrite(tmp_path / ".lock", pid=os.getppid())
        with pytest.raises(DestinationLockedError, match=rf"PID {os.getppid()}\)\. .*'kill {os.getppid()}'"):
            await unlock(tmp_path)
        draft = await entered.draft(ID)
        await commit(draft, b"{}\n")


async def test_a_process_of_another_user_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    async with FolderStore(tmp_path):
        with pytest.raises(DestinationLockedError):
            await unlock(tmp_path)


async def test_who_opened_a_lock_before_it_was_removed_does_not_hold_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make(tmp_path)
    flock = fcntl.flock

    def late(fd: int, how: int) -> None:
        (tmp_path / ".lock").unlink()
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(DestinationLockedError, match="just unlocked"):
        async with FolderStore(tmp_path):
            pytest.fail("entered")


@pytest.mark.parametrize(
    "lock", [b"", b"{", b"[]", b'{"pid":"7","host":1}', b'{"pid":-1}', b'{"pid":true}', b'{"pid":1e300}']
)
def test_a_lock_that_says_nothing_names_nobody(lock: bytes) -> None:
    holder = LockHolder.read(lock)
    assert (holder.in_brackets, holder.is_alive_here()) == ("", False)


def test_a_pid_that_is_none_is_not_alive() -> None:
    assert not LockHolder(host=socket.gethostname(), pid=2**70).is_alive_here()
