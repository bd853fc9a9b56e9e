"""Reading from S3 by plain calls: side by side, in any thread, with nothing left open."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING, Self

import anyio
import anyio.lowlevel
import pytest
from anyio import from_thread, to_thread

import poolcensus
from poolcensus.errors import CredentialsError, DestinationError, SnapshotError
from poolcensus.model import Outcome
from poolcensus.simulator import Simulator
from poolcensus.snapshot import Keep, Snapshot, SnapshotWriter, list_snapshots, prune, unlock, verify
from poolcensus.storage.s3.connection import Connection
from poolcensus.storage.s3.source import S3Folder, S3Source
from snapshot.making import ID, LATER_ID, POOLS, SOME, fill, publish, target
from storage.buckets import PLACE, PREFIX, bucket_store, stored
from storage.fake_bucket import FakeBucket, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from poolcensus.simulator.s3.store import Bucket as StoredBucket
    from poolcensus.storage.s3.objects import StoredObject

DATA = bytes(range(200))
NAME = f"{PREFIX}{ID}/pools.ndjson"


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fails a test that leaves the thread of a connection behind."""
    yield
    for each in reading_threads():
        each.join(10)
        assert not each.is_alive()


def reading_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if "S3" in each.name]


class Counting(FakeBucket):
    """A bucket that notes how many of its calls are under way at the same time.

    The first `together` of them end once all of these have begun.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.most = self.open = self.opened = self.together = 0

    async def __aenter__(self) -> Self:
        self.opened += 1
        return self

    async def get(self, key: str, *, start: int = 0, size: int = 1 << 20) -> StoredObject | None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            with anyio.fail_after(10):
                while self.most < self.together:
                    await anyio.lowlevel.checkpoint()
            return await super().get(key, start=start, size=size)
        finally:
            self.open -= 1


@pytest.fixture
def bucket() -> Counting:
    return Counting(Service())


async def hold(bucket: FakeBucket, *objects: str) -> None:
    """Put these objects there. The time that they have is that of some loop."""
    for key in objects:
        bucket.service.write(key, DATA)


@pytest.fixture
def folder(bucket: Counting) -> S3Folder:
    asyncio.run(hold(bucket, NAME))
    return S3Folder(Connection(lambda: bucket), PLACE, ID, range_bytes=7)


@pytest.mark.parametrize("size", [1, 6, 7, 8, 50, 1000])
def test_a_file_is_read_in_order_in_pieces_of_any_size(folder: S3Folder, bucket: Counting, size: int) -> None:
    bucket.together = 4
    with folder.open("pools.ndjson") as file:
        found = []
        while piece := file.read(size):
            assert len(piece) <= size
            found.append(piece)
        assert file.read(size) == b""
    assert b"".join(found) == DATA
    gets = [each for each in bucket.calls if each.startswith("get")]
    assert len(gets) == -(-len(DATA) // 7)
    assert (bucket.most, bucket.open) == (4, 0)


def test_who_reads_no_further_fetches_no_more(folder: S3Folder, bucket: Counting) -> None:
    with folder.open("pools.ndjson") as file:
        assert file.read(3) == DATA[:3]
    assert len([each for each in bucket.calls if each.startswith("get")]) <= 5
    assert bucket.open == 0


def test_an_empty_file_has_no_pieces(folder: S3Folder, bucket: Counting) -> None:
    bucket.service.objects[NAME].body = b""
    with folder.open("pools.ndjson") as file:
        assert file.read(10) == b""


@pytest.mark.parametrize("change", ["gone", "shorter", "replaced"])
def test_a_file_that_changes_while_it_is_read_is_not_mixed(
    folder: S3Folder, bucket: Counting, change: str
) -> None:
    def trouble(_: int, name: str) -> None:
        if bucket.calls.count(name) == 5:
            if change == "gone":
                del bucket.service.objects[NAME]
            else:
                bucket.service.write(NAME, DATA[:50] if change == "shorter" else DATA[::-1])

    bucket.trouble = trouble
    with pytest.raises(SnapshotError, match=f"{NAME} was removed or replaced while it was read"):
        with folder.open("pools.ndjson") as file:
            while file.read(10):
                pass


def test_a_call_that_fails_ends_the_others(folder: S3Folder, bucket: Counting) -> None:
    bucket.trouble = lambda number, _: "refused" if number == 6 else None
    with pytest.raises(DestinationError, match="refused"), folder.open("pools.ndjson") as file:
        while file.read(10):
            pass
    assert bucket.open == 0


def test_what_is_not_there_is_not_there(folder: S3Folder) -> None:
    with pytest.raises(FileNotFoundError), folder.open("targets.ndjson"):
        pass
    assert folder.names() == ["pools.ndjson"]


def test_manifests_come_in_order_and_side_by_side(bucket: Counting) -> None:
    ids = [f"20261123T0200{number:02}Z-3f9a1c" for number in range(40)]
    asyncio.run(hold(bucket, *(f"{PREFIX}{each}/manifest.json" for each in ids)))
    source = S3Source(lambda: bucket, PLACE)
    bucket.together = 16
    with source:
        assert source.ids() == ids
        assert [*source.manifests(reversed(ids))] == [(each, DATA) for each in reversed(ids)]
        with closing(source.manifests(ids)) as some:  # type: ignore[type-var] # a generator, which is closed
            assert next(some)[0] == ids[0]
    assert bucket.most == 16
    assert (bucket.opened, bucket.open) == (1, 0)


def test_a_connection_is_open_while_somebody_uses_it(folder: S3Folder, bucket: Counting) -> None:
    def read(_: int) -> bytes:
        with folder.open("pools.ndjson") as file:
            return file.read(5)

    with folder, ThreadPoolExecutor(4) as threads:
        assert [*threads.map(read, range(12))] == [DATA[:5]] * 12
    assert bucket.opened == 1
    assert not reading_threads()
    read(0)
    read(0)
    assert bucket.opened == 3
    assert not reading_threads()


async def test_who_is_cancelled_while_s3_hangs_leaves_no_thread(folder: S3Folder, bucket: Counting) -> None:
    asked = threading.Event()

    @asynccontextmanager
    async def hanging() -> AsyncIterator[FakeBucket]:
        bucket.gates["list"] = anyio.Event()
        bucket.trouble = lambda *_: asked.set()
        yield bucket

    folder.connection = Connection(hanging)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(partial(to_thread.run_sync, folder.names, abandon_on_cancel=True))
            await to_thread.run_sync(asked.wait)
            group.cancel_scope.cancel()


# --- over sockets -----------------------------------------------------------------------------------------


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[StoredBucket]:
    """A bucket with two snapshots, of a simulator that runs in a thread of its own."""
    with from_thread.start_blocking_portal(name="the simulator") as portal:
        with portal.wrap_async_context_manager(Simulator()) as simulator:
            monkeypatch.setenv("AWS_ENDPOINT_URL", simulator.endpoint_url)
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", simulator.access_key_id)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", simulator.secret_access_key)
            bucket = stored(simulator)
            asyncio.run(write())
            yield bucket


async def write() -> None:
    for snapshot_id in (ID, LATER_ID):
        async with (
            bucket_store() as store,
            SnapshotWriter(await store.draft(snapshot_id), partition="aws", operation=POOLS) as writer,
        ):
            await fill(writer, {**SOME, target(9): Outcome.THROTTLED})
            await publish(writer)


def read_all() -> None:
    """Everything that a snapshot on S3 gives, by plain calls."""
    assert [each.id for each in list_snapshots(PLACE)] == [ID, LATER_ID]
    for ref, dest in (("latest", PLACE), (LATER_ID, f"{PLACE}/"), (f"{PLACE}/{LATER_ID}", None)):
        snapshot = Snapshot.open(ref, dest)
        assert (snapshot.id, snapshot.location, snapshot.path) == (LATER_ID, f"{PLACE}/{LATER_ID}", None)
    assert snapshot.info.pools == len([*snapshot.pools()]) == 3
    assert [each.account_id for each in snapshot.uncovered()] == ["000000000009"]
    with snapshot:
        assert len([*snapshot.targets()]) == 4
        assert verify(snapshot) == ()
    records = snapshot.pools()
    next(records)
    del records
    with pytest.raises(SnapshotError, match="is in no folder"):
        _ = snapshot.pools_path
    assert not reading_threads()


def test_a_snapshot_on_s3_is_read_where_no_loop_runs(remote: StoredBucket) -> None:
    read_all()


async def test_a_snapshot_on_s3_is_read_inside_a_loop(remote: StoredBucket, no_task_left: None) -> None:
    read_all()


async def test_every_function_takes_a_bucket(remote: StoredBucket) -> None:
    pruning = await prune(PLACE, Keep(last=1), dry_run=True)
    assert [each.snapshot_id for each in pruning.decisions if not each.keep] == [ID]
    # Neither is complete, so that only the rule keeps one.
    assert await poolcensus.prune(f"{PLACE}/", Keep(last=1)) == pruning
    assert await to_thread.run_sync(list_snapshots, PLACE) == (
        (await to_thread.run_sync(Snapshot.open, "latest", PLACE)).info,
    )
    assert await unlock(PLACE) is None
    assert {key.removeprefix(PREFIX).partition("/")[0] for key in remote.objects} == {LATER_ID, "latest.json"}


def test_no_configuration_file_is_read_where_no_settings_are_given(
    remote: StoredBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "poolcensus.toml").write_text("profile = 'nobody'\n")
    assert len(list_snapshots(PLACE)) == 2
    with pytest.raises(poolcensus.SettingsError, match="nobody"):
        list_snapshots(PLACE, settings=poolcensus.Settings.load())


def test_where_s3_is_comes_from_the_settings_that_are_given(
    remote: StoredBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    settings = poolcensus.Settings(endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert len(list_snapshots(PLACE, settings=settings)) == 2
    assert [each.region for each in Snapshot.open(ID, PLACE, settings=settings).uncovered()] == ["us-east-1"]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(CredentialsError):
        list_snapshots(PLACE, settings=settings)
