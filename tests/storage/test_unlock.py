"""Removing the lock of a run that is known to be dead, what becomes of it if it was not, and whose it is."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from poolcensus.errors import DestinationError, DestinationLockedError
from poolcensus.snapshot import LockHolder
from poolcensus.storage.local.lock import FolderLock
from snapshot.making import ID, LATER_ID, commit
from storage.runs import publish, seen, store, write
from storage.scripted_s3 import Run
from virtual_time import now

if TYPE_CHECKING:
    from storage.scripted_s3 import Service

ELSEWHERE = {"host": "elsewhere", "pid": 7, "started_at": "2026-11-23T02:00:00Z"}
HOLDER = LockHolder(datetime(2026, 11, 23, 2, tzinfo=UTC), "elsewhere", 7)


def test_the_lock_of_a_dead_run_in_a_bucket_is_removed_at_once(service: Service) -> None:
    async def body() -> None:
        since = now()
        assert await store(Run(service)).unlock() is None
        service.write("p/.lock", json.dumps({**ELSEWHERE, "run": "x"}).encode())
        service.write(f"p/{ID}/pools.ndjson", b"x")
        assert await store(Run(service)).unlock() == HOLDER
        assert [*service.objects] == [f"p/{ID}/pools.ndjson"]
        assert now() == since

    service.run(body)


def test_the_lock_of_a_process_of_this_host_in_a_bucket_stays(service: Service) -> None:
    async def body() -> None:
        async with store(Run(service)):
            with pytest.raises(DestinationLockedError, match=f"kill {os.getpid()}"):
                await store(Run(service)).unlock()
            assert "p/.lock" in service.objects

    service.run(body)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell")
def test_a_process_that_has_ended_and_waits_for_its_parent_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = LockHolder(None, socket.gethostname(), child.pid)
    try:
        assert holder.is_alive_here()
        child.kill()
        # Until it has ended, and without taking note of it.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not holder.is_alive_here()
    finally:
        child.kill()
        child.communicate()


def test_a_lock_that_is_renewed_meanwhile_stays(service: Service) -> None:
    async def body() -> None:
        service.write("p/.lock", json.dumps(ELSEWHERE).encode())
        run = Run(service)

        def renew(_: int, name: str) -> None:
            if name.startswith("delete"):
                service.write("p/.lock", json.dumps({**ELSEWHERE, "renewals": 2}).encode())

        run.trouble = renew
        with pytest.raises(DestinationLockedError, match=r"locked by another run .* host elsewhere, PID 7"):
            await store(run).unlock()
        assert "p/.lock" in service.objects

    service.run(body)


@pytest.mark.parametrize("followed", [False, True])
def test_a_run_into_a_bucket_whose_lock_was_removed_publishes_nothing(
    service: Service, followed: bool
) -> None:
    async def body() -> None:
        with pytest.raises(DestinationError, match="removed with 'poolcensus unlock'|was cleared up"):
            async with store(Run(service)) as entered:
                draft = await entered.draft(ID)
                await write(draft)
                held = service.objects["p/.lock"].body
                service.write("p/.lock", held.replace(b'"host":', b'"home":'))
                entered.lease._etag = f'"{service.objects["p/.lock"].etag}"'
                await store(Run(service)).unlock()
                if followed:
                    await publish(Run(service), LATER_ID)
                await commit(draft, b"{}\n")
        assert [*seen(service)] == ([LATER_ID] if followed else [])
        assert "p/.lock" not in service.objects
        assert not service.uploading

    service.run(body)


def test_a_call_that_fails_is_an_error(service: Service) -> None:
    async def body() -> None:
        for name in ("get p/.lock", "delete p/.lock"):
            service.start_anew()
            service.write("p/.lock", b"{}")
            run = Run(service)
            run.trouble = partial(lambda failing, _, call: "refused" if call == failing else None, name)
            with pytest.raises(DestinationError, match="access is denied"):
                await store(run).unlock()

    service.run(body)


def test_a_run_that_has_just_taken_the_lock_is_named_once_it_has_named_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        # In the time between two looks.
        monkeypatch.setattr("time.sleep", lambda _: os.pwrite(fd, json.dumps(ELSEWHERE).encode(), 0))
        with pytest.raises(DestinationLockedError, match=r"locked by another run \(started .*, PID 7\)"):
            FolderLock(tmp_path, 0o600).acquire()
    finally:
        os.close(fd)
