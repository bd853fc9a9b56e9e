"""Disks that stop answering: a run that is cancelled or fails ends all the same, and publishes nothing."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from descriptors import path_of
from poolcensus.aws.sdk import limits
from poolcensus.aws.transport.sdk import SdkTransport, _ClientKey
from poolcensus.aws.transport.tls import Trust
from poolcensus.census import Census, publication
from poolcensus.config import Settings
from poolcensus.errors import SettingsError
from poolcensus.scope import opening
from poolcensus.snapshot import SnapshotWriter, list_snapshots, write_queue
from poolcensus.snapshot.journal import Journal
from poolcensus.snapshot.spill import Spill
from poolcensus.storage.local import threads
from poolcensus.storage.local.store import FolderStore
from poolcensus.storage.s3 import client
from poolcensus.storage.s3.access import open_place
from snapshot.making import ID, POOLS, SOME, fill, make, publish
from snapshot.memory_draft import MemoryDraft

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

# Clearing up has a twentieth of the time that it has outside of tests.
SHORT = 0.075
# The steps of an end are three: what is left to write, the draft, the lock. A disk that hangs holds up each.
LONGEST = 5.0


class Hanging:
    """A system call that hangs in worker threads, where a file is called so, until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def wait(self) -> None:
        self.begun.set()
        assert self.go_on.wait(30)

    def install(self, patch: pytest.MonkeyPatch, call: str, name: str, passes: int = 0) -> None:
        module: Any = fcntl if call == "flock" else os
        real = getattr(module, call)

        def hang(place: object, *args: object, **kwargs: object) -> object:
            nonlocal passes
            in_a_thread = threading.current_thread() is not threading.main_thread()
            if in_a_thread and path_of(place).name.startswith(name):
                passes -= 1
                if passes < 0:
                    self.wait()
            return real(place, *args, **kwargs)

        patch.setattr(module, call, hang)


@pytest.fixture
async def hanging(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hanging]:
    monkeypatch.setattr(threads, "ABORT_SECONDS", SHORT)
    assert SnapshotWriter.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(SnapshotWriter.__init__.__kwdefaults__, "abort_seconds", SHORT)
    hangs = Hanging()
    yield hangs
    hangs.go_on.set()
    await _no_thread_at_work()


async def settled(dest: Path) -> list[str]:
    """What is left at a destination once the threads that were left behind have ended."""
    await _no_thread_at_work()
    return sorted(each.name for each in dest.iterdir())


async def _no_thread_at_work() -> None:
    threads = [each for each in threading.enumerate() if each.name.startswith(("AnyIO", "poolcensus"))]
    with anyio.fail_after(20):
        while any(each.is_alive() and not _idle(each) for each in threads):
            await anyio.sleep(0.005)


def _idle(thread: threading.Thread) -> bool:
    return thread in getattr(thread, "idle_workers", ())  # anyio's own


STEPS = [
    ("mkdir", "snapshots"),
    ("open", ".lock"),
    ("flock", ".lock"),
    ("mkdir", ".draft-"),
    ("open", "pools.ndjson"),
    ("write", "journal"),
    ("write", "pools.ndjson"),
    ("write", "targets.ndjson"),
    ("fsync", "pools.ndjson"),
    ("close", "targets.ndjson"),
    ("open", "manifest.json"),
    ("write", "manifest.json"),
    ("fsync", "manifest.json"),
    ("fsync", ".draft-"),
]


@pytest.mark.parametrize(("call", "name"), STEPS)
async def test_cancelling_a_run_ends_it_whatever_hangs(
    lab: Start, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, call: str, name: str
) -> None:
    here = await lab(accounts=3, mean_pools=3)
    hanging.install(monkeypatch, call, name)
    with anyio.fail_after(LONGEST):
        async with Census(here.settings()) as census, anyio.create_task_group() as group:
            group.start_soon(census.collect)
            while not hanging.begun.is_set():
                await anyio.sleep(0.002)
            group.cancel_scope.cancel()
    assert census.published is None
    hanging.go_on.set()
    assert set(await settled(here.dest)) <= {".lock", *(each.name for each in here.dest.glob(".draft-*"))}
    assert list_snapshots(here.dest) == ()
    monkeypatch.undo()
    # The lock is free, and what was left is no hindrance.
    async with FolderStore(here.dest):
        pass


async def test_a_run_whose_disk_hangs_leaves_what_it_had_for_the_next(
    lab: Start, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One target keeps the run from being over before its second write, on however slow a machine.
    here = await lab(
        accounts=60, mean_pools=3, faults=("hang,account=000000000002,region=us-east-1,first=1",)
    )
    with monkeypatch.context() as patch:
        patch.setattr(write_queue, "_LONGEST_IN_MEMORY", 0.01)
        hanging.install(patch, "write", "targets.ndjson", passes=1)
        with anyio.fail_after(LONGEST):
            async with Census(here.settings(concurrency=2)) as census, anyio.create_task_group() as group:
                group.start_soon(census.collect)
                while not hanging.begun.is_set():
                    await anyio.sleep(0.002)
                group.cancel_scope.cancel()
        assert census.resumable
    hanging.go_on.set()
    await settled(here.dest)
    before = here.calls("workspaces.DescribeWorkspacesPools")
    snapshot = await here.collect(resume=True, attempt_timeout=1)
    here.assert_exact(snapshot)
    assert here.calls("workspaces.DescribeWorkspacesPools") - before < snapshot.manifest.totals.pages


async def test_a_run_that_fails_while_its_disk_hangs_ends_with_its_failure(
    tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging.install(monkeypatch, "write", "pools.ndjson")
    with anyio.fail_after(LONGEST), pytest.raises(ZeroDivisionError):
        async with FolderStore(tmp_path) as store:
            async with SnapshotWriter(
                await store.draft(ID), partition="aws", operation=POOLS, queue_bytes=10
            ) as writer:
                await fill(writer, dict([*SOME.items()][:1]))
                while not hanging.begun.is_set():
                    await anyio.sleep(0.002)
                raise ZeroDivisionError
    hanging.go_on.set()
    assert await settled(tmp_path) == [".lock"]


@pytest.mark.parametrize("call", ["fsync", "symlink"])
async def test_a_snapshot_that_is_published_when_the_disk_hangs_is_published(
    tmp_path: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    dest = tmp_path / "dest"
    # Of the destination itself, or of `latest`: after the rename.
    hanging.install(monkeypatch, call, "dest" if call == "fsync" else ID)
    with anyio.fail_after(LONGEST), anyio.CancelScope() as scope:
        async with FolderStore(dest) as store:
            async with (
                SnapshotWriter(await store.draft(ID), partition="aws", operation=POOLS) as writer,
                anyio.create_task_group() as group,
            ):
                await fill(writer, SOME)
                group.start_soon(publish, writer)
                while not hanging.begun.is_set():
                    await anyio.sleep(0.002)
                scope.cancel()
    assert writer.manifest is not None
    hanging.go_on.set()
    assert await settled(dest) == [".lock", ID, "latest"]


async def test_files_to_read_that_hang_hold_nobody_up(
    lab: Start, hanging: Hanging, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = await lab(accounts=3)
    (tmp_path / "accounts").write_text("000000000001\n")
    await make(here.dest)

    def hang(*_: object) -> object:
        hanging.wait()
        return ()

    for name in ("join_files", "long_targets"):
        with monkeypatch.context() as patch, anyio.fail_after(LONGEST):
            hanging.begun.clear()
            patch.setattr(opening if name == "join_files" else publication, name, hang)
            changes = {"accounts_from": str(tmp_path / "accounts")} if name == "join_files" else {}
            async with Census(here.settings(**changes)) as census, anyio.create_task_group() as group:
                group.start_soon(census.collect)
                while not hanging.begun.is_set():
                    await anyio.sleep(0.002)
                group.cancel_scope.cancel()
    hanging.go_on.set()
    assert await settled(here.dest) == [".lock", ID, "latest"]


async def test_a_temporary_folder_that_hangs_holds_nobody_up(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spill, "open", lambda _: hanging.wait())
    writer = SnapshotWriter(MemoryDraft(), partition="aws", operation=POOLS)
    with anyio.fail_after(LONGEST):
        async with anyio.create_task_group() as group:
            group.start_soon(writer.__aenter__)
            while not hanging.begun.is_set():
                await anyio.sleep(0.002)
            group.cancel_scope.cancel()


async def test_a_spill_file_that_hangs_leaves_time_for_the_draft(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(MemoryDraft):
        async def abort(self) -> None:
            await anyio.lowlevel.checkpoint()
            await super().abort()

    close = Spill.close

    def hang(spill: Spill) -> None:
        hanging.wait()
        close(spill)

    draft = Slow()
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="a mistake"):
        patch.setattr(Spill, "close", hang)
        async with SnapshotWriter(draft, partition="aws", operation=POOLS):
            raise ValueError("a mistake")
    assert draft.ended == ["abort"]
    draft = Slow()
    with anyio.CancelScope() as scope:
        async with SnapshotWriter(draft, partition="aws", operation=POOLS):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert draft.ended == ["abort"]


async def test_a_client_for_a_bucket_whose_data_hangs_ends_in_a_sentence(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_LONGEST_READ", 0.1)
    monkeypatch.setattr(client, "_open_client", lambda *_: hanging.wait())
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with anyio.fail_after(LONGEST), pytest.raises(SettingsError, match="AWS configuration: nothing after"):
        async with open_place(Settings(), "s3://census/x"):
            pytest.fail("opened")


async def test_a_client_of_the_sdk_has_its_own_time_and_no_more(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_LONGEST_READ", 1.0)
    transport = SdkTransport(profile=None, endpoint_url=None, connect_timeout=1, trust=Trust(None))
    made: list[str] = []

    def make(key: _ClientKey) -> None:
        if key.region == "hangs":
            hanging.wait()
        time.sleep(0.2)
        made.append(key.region)

    monkeypatch.setattr(transport, "_new_client", make)
    # One after the other, which takes longer than one may.
    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(transport._client, _ClientKey("workspaces", f"region-{number}"))
    assert len(made) == 6
    with anyio.fail_after(LONGEST), pytest.raises(SettingsError, match="AWS configuration: nothing after"):
        await transport._client(_ClientKey("workspaces", "hangs"))


async def test_a_journal_that_hangs_holds_nobody_up(
    lab: Start, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=9, mean_pools=3)
    async with Census(here.settings(concurrency=2)) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        with anyio.fail_after(20):
            while census.progress().done < 9:
                await anyio.sleep(0.002)
        group.cancel_scope.cancel()
    begin = Journal.begin

    def hang(journal: Journal, entry: Any) -> object:
        hanging.wait()
        return begin(journal, entry)

    with monkeypatch.context() as patch, anyio.fail_after(LONGEST):
        patch.setattr(Journal, "begin", hang)
        async with Census(here.settings(resume=True)) as census, anyio.create_task_group() as group:
            group.start_soon(census.collect)
            while not hanging.begun.is_set():
                await anyio.sleep(0.002)
            group.cancel_scope.cancel()
    hanging.go_on.set()
    await settled(here.dest)
    here.assert_exact(await here.collect(resume=True))


async def test_what_ends_a_run_is_done_where_its_time_is_over_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "ABORT_SECONDS", 0.0)
    done = threading.Event()
    await threads.OneAtATime().finish(done.set)
    assert await anyio.to_thread.run_sync(done.wait, 20)


def test_what_ends_a_run_and_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "ABORT_SECONDS", 0.0)
    go_on = threading.Event()

    def hang() -> None:
        go_on.wait()

    # One of an earlier test may be about to end.
    before = {*threading.enumerate()}
    # The event loop has ended before it goes on.
    anyio.run(threads.OneAtATime().finish, hang)
    (clearing_up,) = (
        each for each in {*threading.enumerate()} - before if each.name == "poolcensus clearing up"
    )
    assert clearing_up.daemon
    go_on.set()
    clearing_up.join(20)


async def test_what_ends_a_run_is_done_where_no_thread_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    done = threading.Event()
    monkeypatch.setattr(threading.Thread, "start", fail)
    await threads.OneAtATime().finish(done.set)
    assert done.is_set()


@pytest.mark.parametrize("of", ["run", "finish"])
async def test_where_no_thread_can_be_started_what_ends_a_run_is_left_to_the_call_that_hangs(
    monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "ABORT_SECONDS", 0.0)
    calls = threads.OneAtATime()
    hangs = Hanging()
    done = threading.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(getattr(calls, of), hangs.wait)
        while not hangs.begun.is_set():
            await anyio.sleep(0.002)
        group.cancel_scope.cancel()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        # Were it to wait in the event loop, nobody would let the disk go on.
        await calls.finish(done.set)
    assert not done.is_set()
    hangs.go_on.set()
    assert await anyio.to_thread.run_sync(done.wait, 20)
