"""Reading from S3 by plain calls: side by side, in any thread, with nothing left open."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from anyio.from_thread import start_blocking_portal

import poolcensus
from poolcensus.cli import main
from poolcensus.errors import CredentialsError, DamagedSnapshotError, DestinationError, SnapshotError
from poolcensus.model import Outcome
from poolcensus.simulator import CountedPer, Fault, FaultKind, Simulator, SimulatorConfig
from poolcensus.simulator.http import Hang
from poolcensus.simulator.s3 import S3
from poolcensus.snapshot import Snapshot, SnapshotWriter, list_snapshots, unlock
from poolcensus.snapshot.inventory import inventory_of
from poolcensus.snapshot.merging import merge
from poolcensus.snapshot.pruning import prune
from poolcensus.snapshot.retention import Keep
from poolcensus.snapshot.verification import verify
from poolcensus.storage.s3 import access
from poolcensus.storage.s3.client import open_bucket
from poolcensus.storage.s3.reading import survey
from poolcensus.storage.s3.shared_bucket import SharedBucket, in_own_loop
from poolcensus.storage.s3.source import S3Files, S3Source
from poolcensus.storage.source import Survey
from poolcensus.storage.sources import Sources
from snapshot.making import ID, LATER_ID, POOLS, SOME, fill, publish, target
from storage.buckets import NAME as NAME_OF_BUCKET
from storage.buckets import PLACE, PREFIX, bucket_store, opened, stored, stored_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from poolcensus.aws.session import CallerSession
    from poolcensus.config import Settings
    from poolcensus.simulator.application import Service
    from poolcensus.simulator.http import Answer, Request
    from poolcensus.simulator.s3.store import Bucket as StoredBucket
    from poolcensus.storage.s3.objects import Bucket, StoredObject

DATA = bytes(range(200))
NAME = f"{PREFIX}{ID}/pools.ndjson"


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fails a test that leaves the thread of a connection behind."""
    yield
    assert_no_thread()


def assert_no_thread() -> None:
    for each in reading_threads():
        each.join(10)
        assert not each.is_alive()


def reading_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if "S3" in each.name]


class Counting:
    """Opens the bucket, and notes how many reads of it are under way at the same time.

    The first `together` of them end once all of these have begun. `before_read` is called with the number of
    each, from 1.
    """

    def __init__(self) -> None:
        self.reads = self.most = self.under_way = self.opened = self.together = 0
        self.before_read: Callable[[int], None] = lambda _: None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Bucket]:
        self.opened += 1
        async with opened() as self._bucket:
            yield cast("Bucket", self)

    def __getattr__(self, name: str) -> object:
        return getattr(self._bucket, name)

    async def get(self, key: str, *, start: int = 0, size: int = 1 << 20) -> StoredObject | None:
        self.reads += 1
        self.before_read(self.reads)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            with anyio.fail_after(10):
                while self.most < self.together:
                    await anyio.lowlevel.checkpoint()
            return await self._bucket.get(key, start=start, size=size)
        finally:
            self.under_way -= 1


@contextmanager
def serving(*faults: Fault, **services: Service) -> Iterator[Simulator]:
    """Run a simulator in a thread of its own, as the environment says from then on."""
    with pytest.MonkeyPatch.context() as patch, start_blocking_portal(name="the simulator") as portal:
        simulator = Simulator(SimulatorConfig(faults=faults), services)
        with portal.wrap_async_context_manager(simulator):
            patch.setenv("AWS_ENDPOINT_URL", simulator.endpoint_url)
            patch.setenv("AWS_ACCESS_KEY_ID", simulator.access_key_id)
            patch.setenv("AWS_SECRET_ACCESS_KEY", simulator.secret_access_key)
            yield simulator


@pytest.fixture
def held() -> Iterator[StoredBucket]:
    """A bucket with one object."""
    with serving() as simulator:
        bucket = stored(simulator)
        bucket.objects[NAME] = stored_object(NAME, DATA)
        yield bucket


@pytest.fixture
def bucket(held: StoredBucket) -> Counting:
    return Counting()


@pytest.fixture
def files(bucket: Counting) -> S3Files:
    return S3Files(SharedBucket(partial(in_own_loop, bucket.open)), PLACE, ID, range_bytes=7)


@pytest.mark.parametrize("size", [1, 6, 7, 8, 50, 1000])
def test_a_file_is_read_in_order_in_pieces_of_any_size(files: S3Files, bucket: Counting, size: int) -> None:
    bucket.together = 4
    with files.open("pools.ndjson") as file:
        found = []
        while piece := file.read(size):
            assert len(piece) <= size
            found.append(piece)
        assert file.read(size) == b""
    assert b"".join(found) == DATA
    assert bucket.reads == -(-len(DATA) // 7)
    assert (bucket.most, bucket.under_way) == (4, 0)


def test_who_reads_no_further_fetches_no_more(files: S3Files, bucket: Counting) -> None:
    with files.open("pools.ndjson") as file:
        assert file.read(3) == DATA[:3]
    assert bucket.reads <= 5
    assert bucket.under_way == 0


def test_an_empty_file_has_no_pieces(files: S3Files, held: StoredBucket) -> None:
    held.objects[NAME] = stored_object(NAME, b"")
    with files.open("pools.ndjson") as file:
        assert file.read(10) == b""


@pytest.mark.parametrize(
    ("before", "left"),
    [(5, None), (5, DATA[:50]), (5, DATA[::-1]), (1, DATA[:-3])],
    ids=["gone", "shorter", "replaced", "shorter from the start"],
)
def test_a_file_that_changes_while_it_is_read_is_not_mixed(
    files: S3Files, bucket: Counting, held: StoredBucket, before: int, left: bytes | None
) -> None:
    def change(number: int) -> None:
        if number == before:
            held.objects.pop(NAME)
            if left is not None:
                held.objects[NAME] = stored_object(NAME, left)

    bucket.before_read = change
    with pytest.raises(SnapshotError, match=f"{NAME} was removed or replaced while it was read"):
        with files.open("pools.ndjson") as file:
            while file.read(10):
                pass


def test_a_call_that_fails_ends_the_others() -> None:
    seventh = Fault(FaultKind.DENIED, service="s3", operation="GET", per=CountedPer.ALL, first=7, every=7)
    with serving(seventh) as simulator:
        stored(simulator).objects[NAME] = stored_object(NAME, DATA)
        bucket = Counting()
        files = S3Files(SharedBucket(partial(in_own_loop, bucket.open)), PLACE, ID, range_bytes=7)
        with pytest.raises(DestinationError, match="access is denied"), files.open("pools.ndjson") as file:
            while file.read(10):
                pass
    assert bucket.under_way == 0


def test_what_is_not_there_is_not_there(files: S3Files) -> None:
    with pytest.raises(FileNotFoundError), files.open("targets.ndjson"):
        pass
    assert files.names() == ["pools.ndjson"]


def test_manifests_come_in_order_and_side_by_side(bucket: Counting, held: StoredBucket) -> None:
    ids = [f"20261123T0200{number:02}Z-3f9a1c" for number in range(24)]
    names = [f"{PREFIX}{each}/manifest.json" for each in ids]
    held.objects.clear()
    held.objects.update((name, stored_object(name, DATA)) for name in names)
    source = S3Source(SharedBucket(partial(in_own_loop, bucket.open)), PLACE)
    bucket.together = 16
    with source:
        assert source.ids() == ids
        assert [*source.manifests(reversed(ids))] == [(each, DATA) for each in reversed(ids)]
        with closing(source.manifests(ids)) as some:  # type: ignore[type-var] # a generator, which is closed
            assert next(some)[0] == ids[0]
    assert bucket.most == 16
    assert (bucket.opened, bucket.under_way) == (1, 0)


def test_a_connection_is_open_while_somebody_uses_it(files: S3Files, bucket: Counting) -> None:
    def read(_: int) -> bytes:
        with files.open("pools.ndjson") as file:
            return file.read(5)

    with files, ThreadPoolExecutor(4) as threads:
        assert [*threads.map(read, range(12))] == [DATA[:5]] * 12
    assert bucket.opened == 1
    assert not reading_threads()
    read(0)
    read(0)
    assert bucket.opened == 3
    assert not reading_threads()


async def test_who_is_cancelled_while_s3_hangs_leaves_no_thread() -> None:
    asked = threading.Event()

    class Silent(S3):
        def handle(self, request: Request) -> Answer:  # type: ignore[override] # S3 itself always answers
            asked.set()
            return Hang()

    with serving(s3=Silent()):
        files = S3Files(SharedBucket(partial(in_own_loop, opened)), PLACE, ID)
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(partial(to_thread.run_sync, files.names, abandon_on_cancel=True))
                await to_thread.run_sync(asked.wait)
                group.cancel_scope.cancel()
        # While S3 still hangs.
        await to_thread.run_sync(assert_no_thread)


async def test_a_merge_that_is_cancelled_while_s3_hangs_leaves_no_thread(tmp_path: Path) -> None:
    asked = threading.Event()

    class Silent(S3):
        def handle(self, request: Request) -> Answer:  # type: ignore[override] # S3 itself always answers
            asked.set()
            return Hang()

    with serving(s3=Silent()):
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(merge, [f"{PLACE}/1", f"{PLACE}/2"], tmp_path / "all")
                await to_thread.run_sync(asked.wait)
                group.cancel_scope.cancel()
        await to_thread.run_sync(assert_no_thread)


@pytest.fixture
def remote() -> Iterator[StoredBucket]:
    """A bucket with two snapshots, of a simulator that runs in a thread of its own."""
    with serving() as simulator:
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
            await publish(writer, accounts=3)


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


def test_a_latest_that_is_no_snapshot_is_said(remote: StoredBucket, caplog: pytest.LogCaptureFixture) -> None:
    del remote.objects[f"{PREFIX}{LATER_ID}/manifest.json"]
    assert [each.id for each in list_snapshots(PLACE)] == [ID]
    assert Snapshot.open("latest", PLACE).id == ID
    said = [each for each in caplog.messages if each.startswith("latest in ")]
    assert len(said) == 2
    for each in said:
        assert each.startswith(f"latest in {PLACE} names {LATER_ID}, which has no manifest.json")


def test_verify_says_so_wherever_latest_is_looked_up(
    remote: StoredBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["latest", "latest~0", f"{PLACE}/latest", f"{PLACE}/{ID}"]
    assert main(["verify", *names, "--dest", PLACE, "--json"]) == 0
    del remote.objects[f"{PREFIX}{LATER_ID}/manifest.json"]
    capsys.readouterr()
    assert main(["verify", *names, "--dest", PLACE, "--json"]) == 1
    found = [json.loads(line)["status"] for line in capsys.readouterr().out.splitlines()]
    assert found == ["misnamed", "misnamed", "misnamed", "ok"]


def test_prune_counts_no_snapshot_that_lacks_an_object(
    remote: StoredBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    del remote.objects[f"{PREFIX}{LATER_ID}/pools.ndjson"]
    assert main(["prune", "--keep-last", "1", "--dry-run", "--dest", PLACE, "--json"]) == 0
    told = capsys.readouterr()
    (decision,) = [json.loads(line) for line in told.out.splitlines()]
    assert (decision["snapshot_id"], decision["action"]) == (ID, "keep")
    assert f"left alone: {PLACE}/{LATER_ID}/pools.ndjson is missing; the snapshot is damaged" in told.err


GONE = f"{PLACE}/{ID}/manifest.json was removed or replaced while it was read"


@pytest.fixture
def pruned() -> Iterator[S3Source]:
    """Two snapshots, of which one is removed before anything is read that was listed."""
    with serving() as simulator:
        held = stored(simulator)
        asyncio.run(write())
        bucket = Counting()

        def remove(_: int) -> None:
            for key in [each for each in held.objects if each.startswith(f"{PREFIX}{ID}/")]:
                del held.objects[key]

        bucket.before_read = remove
        yield S3Source(SharedBucket(partial(in_own_loop, bucket.open)), PLACE)


def test_a_snapshot_that_is_removed_before_it_is_opened_is_not_damaged(pruned: S3Source) -> None:
    with pytest.raises(SnapshotError) as caught:
        Snapshot.open_in(lambda _: pruned, ID, PLACE)
    assert str(caught.value) == GONE
    assert not isinstance(caught.value, DamagedSnapshotError)


@pytest.mark.parametrize("surveyed", [False, True])
def test_a_snapshot_that_is_removed_before_it_is_listed_with_others_is_not_damaged(
    pruned: S3Source, surveyed: bool
) -> None:
    found = pruned.bucket.call(survey, PREFIX) if surveyed else Survey(pruned.manifests(pruned.ids()), None)
    inventory = inventory_of(found, PLACE)
    assert [each.id for each in inventory.snapshots] == [LATER_ID]
    assert inventory.unreadable == {ID: GONE}


@pytest.fixture
def buckets_opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def recorded(
        settings: Settings, session: CallerSession, name: str
    ) -> AbstractAsyncContextManager[Bucket]:
        names.append(name)
        return open_bucket(settings, session, name)

    monkeypatch.setattr(access, "open_bucket", recorded)
    return names


def test_sources_in_one_bucket_share_a_connection(remote: StoredBucket, buckets_opened: list[str]) -> None:
    sources = Sources()
    with ThreadPoolExecutor(4) as pool:
        places = [PLACE, f"{PLACE}/elsewhere"] * 4
        found = [*pool.map(lambda place: sources.open(place).ids(), places)]
    assert found == [[ID, LATER_ID], []] * 4
    snapshot = Snapshot.open_in(sources.open, "latest", PLACE)
    assert len([*snapshot.pools()]) == 3
    assert buckets_opened == [NAME_OF_BUCKET]
    sources.close()
    assert_no_thread()
    # Who comes late opens it for himself, and leaves nothing behind.
    assert len([*snapshot.pools()]) == 3
    assert Snapshot.open_in(sources.open, "latest", f"{PLACE}/").id == LATER_ID


def test_a_bucket_that_could_not_be_opened_is_tried_again(
    remote: StoredBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Sources()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(CredentialsError):
            sources.open(PLACE)
    assert sources.open(PLACE).ids() == [ID, LATER_ID]
    sources.close()


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


def test_verify_goes_on_after_a_bucket_that_can_t_be_read(
    remote: StoredBucket, capsys: pytest.CaptureFixture[str]
) -> None:
    away = f"s3://nobody-s-bucket/{ID}"
    assert main(["verify", away, "latest", "--dest", PLACE, "--json"]) == 1
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["snapshot"], first["snapshot_id"], first["status"]) == (away, None, "unreadable")
    assert "there is no bucket nobody-s-bucket" in first["problems"][0]["message"]
    assert (second["snapshot_id"], second["status"]) == (LATER_ID, "ok")
    assert main(["verify", away]) == 1
    assert capsys.readouterr().err.endswith(f"{away}: the snapshot can't be read (1 problem)\n")
