"""What every store promises. A new store needs a `Place` here, and passes."""

from __future__ import annotations

import io
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import ProxyHandler, Request, build_opener

import anyio
import boto3
import pytest
from anyio import to_thread

from poolcensus.errors import DestinationLockedError, SnapshotError
from poolcensus.format.codec import dumps
from poolcensus.model import Outcome
from poolcensus.simulator import Simulator
from poolcensus.snapshot import Snapshot, SnapshotWriter, list_snapshots, unlock
from poolcensus.snapshot.inventory import take_inventory
from poolcensus.snapshot.pruning import prune, prune_repository
from poolcensus.snapshot.refused import refused_run
from poolcensus.snapshot.retention import Keep
from poolcensus.snapshot.verification import verify
from poolcensus.storage.base import Addition, Repository, Store
from poolcensus.storage.local.store import FolderStore
from poolcensus.storage.naming import is_local
from poolcensus.storage.stdout import StreamStore
from snapshot.making import (
    ID,
    LATER_ID,
    NOTHING_SPECIAL,
    POOLS,
    SOME,
    ago,
    clock,
    commit,
    fill,
    publish,
    target,
)
from storage.buckets import NAME, PLACE, PREFIX, bucket_store, opened, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from poolcensus.model import JsonObject, Target
    from poolcensus.snapshot import SnapshotInfo


class Place(ABC):
    """A destination as its readers see it."""

    transactional = True
    locks = True

    @abstractmethod
    def store(self) -> Store: ...

    @abstractmethod
    def seen(self) -> Mapping[str, Mapping[str, bytes]]:
        """The files of each published snapshot."""

    @abstractmethod
    def stale(self) -> list[str]:
        """What is there beside published snapshots."""

    async def opened(self, ref: str) -> str:
        """The id of the snapshot that a reader finds."""
        raise NotImplementedError

    async def name(self, snapshot_id: str) -> None:
        """Has `latest` name a snapshot."""
        raise NotImplementedError


class FolderPlace(Place):
    def __init__(self, path: Path) -> None:
        self.path = path / "snapshots"

    def store(self) -> Store:
        return FolderStore(self.path)

    def seen(self) -> Mapping[str, Mapping[str, bytes]]:
        return {
            folder.name: {file.name: file.read_bytes() for file in folder.iterdir()}
            for folder in self.path.iterdir()
            if folder.name[0] != "." and not folder.is_symlink()
        }

    def stale(self) -> list[str]:
        entries = self.path.iterdir() if self.path.exists() else ()
        return [entry.name for entry in entries if entry.name[0] == "." and entry.name != ".lock"]

    async def opened(self, ref: str) -> str:
        return Snapshot.open(ref, self.path).id

    async def name(self, snapshot_id: str) -> None:
        (self.path / "latest").unlink(missing_ok=True)
        (self.path / "latest").symlink_to(snapshot_id)


class StreamPlace(Place):
    transactional = False
    locks = False

    def __init__(self) -> None:
        self.stream = io.BytesIO()

    def store(self) -> Store:
        return StreamStore(self.stream)

    def seen(self) -> Mapping[str, Mapping[str, bytes]]:
        return {ID: {"pools.ndjson": self.stream.getvalue()}}

    def stale(self) -> list[str]:
        return []


class BucketPlace(Place):
    """A bucket, by its objects and by the keys of the uploads that are under way."""

    @abstractmethod
    def objects(self) -> Mapping[str, bytes]: ...

    @abstractmethod
    def uploads(self) -> list[str]: ...

    def store(self) -> Store:
        return bucket_store()

    async def opened(self, ref: str) -> str:
        return (await to_thread.run_sync(Snapshot.open, ref, PLACE)).id

    async def name(self, snapshot_id: str) -> None:
        async with opened() as bucket:
            await bucket.put(f"{PREFIX}latest.json", dumps({"snapshot_id": snapshot_id}))

    def seen(self) -> Mapping[str, Mapping[str, bytes]]:
        found: dict[str, dict[str, bytes]] = {}
        for key, body in self.objects().items():
            snapshot_id, slash, name = key.removeprefix(PREFIX).partition("/")
            if slash:
                found.setdefault(snapshot_id, {})[name] = body
        return {snapshot_id: files for snapshot_id, files in found.items() if "manifest.json" in files}

    def stale(self) -> list[str]:
        known = {f"{PREFIX}{each}/{name}" for each, files in self.seen().items() for name in files}
        known.add(f"{PREFIX}latest.json")
        return [*(key for key in self.objects() if key not in known), *self.uploads()]


class SimulatedPlace(BucketPlace):
    def __init__(self, simulator: Simulator) -> None:
        self.bucket = stored(simulator)

    def objects(self) -> Mapping[str, bytes]:
        return {key: each.body for key, each in self.bucket.objects.items() if not key.endswith("/.lock")}

    def uploads(self) -> list[str]:
        return [each.key for each in self.bucket.uploads.values()]


class MotoPlace(BucketPlace):
    def __init__(self, client: Any) -> None:
        self.client = client

    def objects(self) -> Mapping[str, bytes]:
        listed = self.client.list_objects_v2(Bucket=NAME).get("Contents", ())
        keys = [each["Key"] for each in listed if not each["Key"].endswith("/.lock")]
        return {key: self.client.get_object(Bucket=NAME, Key=key)["Body"].read() for key in keys}

    def uploads(self) -> list[str]:
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=NAME).get("Uploads", ())]


@pytest.fixture
def moto_place(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoPlace]:
    build_opener(ProxyHandler({})).open(
        Request(f"{moto_url}/moto-api/reset", method="POST"), timeout=10
    ).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    client = boto3.Session().client("s3", region_name="us-east-1")
    client.create_bucket(Bucket=NAME)
    yield MotoPlace(client)
    client.close()


@pytest.fixture
async def simulated_place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SimulatedPlace]:
    async with Simulator() as simulator:
        monkeypatch.setenv("AWS_ENDPOINT_URL", simulator.endpoint_url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", simulator.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", simulator.secret_access_key)
        yield SimulatedPlace(simulator)


@pytest.fixture
def folder_place(tmp_path: Path) -> FolderPlace:
    return FolderPlace(tmp_path)


@pytest.fixture
def stream_place() -> StreamPlace:
    return StreamPlace()


in_its_worker = pytest.mark.xdist_group("moto")
# Where the requests are of a kind that no other test of these makes: moto's opinion costs seconds.
moto_too = pytest.mark.parametrize(
    "place",
    ["folder", "stream", "simulated", pytest.param("moto", marks=in_its_worker)],
    indirect=True,
)


@pytest.fixture(
    params=["folder", "stream", "simulated", pytest.param("moto", marks=[pytest.mark.long, in_its_worker])]
)
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.getfixturevalue(f"{request.param}_place")
    return made


@moto_too
async def test_bytes_arrive_in_order_and_the_manifest_with_them(place: Place) -> None:
    pieces = [b"a\n", b"", b"bb\n" * 700_000, b"c\n"]
    async with place.store() as store:
        draft = await store.draft(ID)
        assert draft.snapshot_id == ID
        pools = await draft.create("pools.ndjson")
        targets = await draft.create("targets.ndjson")
        for piece in pieces:
            await pools.append(piece)
            await targets.append(piece[:3])
        published = [draft.published]
        await commit(draft, b"{}\n")
        published.append(draft.published)
    assert published == [False, True]
    seen = place.seen()[ID]
    assert seen["pools.ndjson"] == b"".join(pieces)
    if place.transactional:
        assert seen["targets.ndjson"] == b"a\nbb\nc\n"
        assert seen["manifest.json"] == b"{}\n"
    assert place.stale() == []


async def test_a_file_may_stay_empty(place: Place) -> None:
    async with place.store() as store:
        draft = await store.draft(ID)
        await draft.create("pools.ndjson")
        await commit(draft, b"{}\n")
    assert place.seen()[ID]["pools.ndjson"] == b""


async def test_readers_see_nothing_before_the_commit(place: Place) -> None:
    if not place.transactional:
        pytest.skip("a stream is read as it is written")
    async with place.store() as store:
        draft = await store.draft(ID)
        file = await draft.create("pools.ndjson")
        await file.append(b"x" * 2_000_000)
        assert place.seen() == {}
        await commit(draft, b"{}\n")
        assert list(place.seen()) == [ID]


@moto_too
async def test_an_aborted_draft_leaves_nothing(place: Place) -> None:
    async with place.store() as store:
        draft = await store.draft(ID)
        await (await draft.create("pools.ndjson")).append(b"x")
        await draft.abort()
        await draft.abort()
        assert not draft.published
    if place.transactional:
        assert place.seen() == {}
    assert place.stale() == []


async def test_leaving_a_store_clears_up_what_an_abort_had_no_time_for(place: Place) -> None:
    async with place.store() as store:
        draft = await store.draft(ID)
        await (await draft.create("pools.ndjson")).append(b"x" * (9 << 20))
        with anyio.CancelScope() as scope:
            scope.cancel()
            await draft.abort()
    if place.transactional:
        assert place.seen() == {}
    assert place.stale() == []


async def test_leaving_a_store_aborts_what_is_still_a_draft(place: Place) -> None:
    async with place.store() as store:
        draft = await store.draft(ID)
        await (await draft.create("pools.ndjson")).append(b"x")
    assert not draft.published
    if place.transactional:
        assert place.seen() == {}
    assert place.stale() == []


async def test_a_rehearsal_leaves_the_place_as_it_was(place: Place) -> None:
    await place.store().rehearse()
    assert place.stale() == []
    async with place.store() as store:
        draft = await store.draft(ID)
        await draft.create("pools.ndjson")
        await commit(draft, b"{}\n")
        if place.locks:
            with pytest.raises(DestinationLockedError):
                await place.store().rehearse()
    before = place.seen()
    await place.store().rehearse()
    assert (place.seen(), place.stale()) == (before, [])


async def test_an_abort_after_the_commit_does_nothing(place: Place) -> None:
    async with place.store() as store:
        draft = await store.draft(ID)
        await (await draft.create("pools.ndjson")).append(b"x")
        await commit(draft, b"{}\n")
        before = place.seen()
        await draft.abort()
        assert draft.published
        assert place.seen() == before


async def test_a_cancelled_run_leaves_nothing(place: Place) -> None:
    with anyio.CancelScope() as scope:
        async with place.store() as store:
            draft = await store.draft(ID)
            file = await draft.create("pools.ndjson")
            try:
                scope.cancel()
                await file.append(b"x" * 1_000_000)
            finally:
                with anyio.CancelScope(shield=True):
                    await draft.abort()
    assert scope.cancelled_caught
    assert not draft.published
    if place.transactional:
        assert place.seen() == {}
    assert place.stale() == []


async def test_a_later_run_finds_the_place_free(place: Place) -> None:
    for snapshot_id in (ID, LATER_ID):
        async with place.store() as store:
            draft = await store.draft(snapshot_id)
            await draft.create("pools.ndjson")
            await commit(draft, b"{}\n")
    if place.transactional:
        assert sorted(place.seen()) == [ID, LATER_ID]


async def test_only_snapshot_ids_name_a_draft(place: Place) -> None:
    async with place.store() as store:
        for name in ("", "..", "../x", "latest", ID + "/", "/" + ID):
            with pytest.raises(ValueError, match="not a snapshot id"):
                await store.draft(name)


@moto_too
async def test_two_runs_never_hold_one_place(place: Place) -> None:
    if not place.locks:
        pytest.skip("a stream belongs to its process")
    async with place.store():
        with pytest.raises(
            DestinationLockedError, match=r'^Destination ".*" is locked by another run \(started \d{4}-'
        ):
            async with place.store():
                pytest.fail("the second run came in")
    async with place.store():
        pass


async def test_the_writer_puts_the_same_records_everywhere(place: Place, tmp_path: Path) -> None:
    async with (
        place.store() as store,
        SnapshotWriter(await store.draft(ID), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, SOME)
        await publish(writer)
    other = FolderPlace(tmp_path / "other")
    async with (
        other.store() as store,
        SnapshotWriter(await store.draft(ID), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, SOME)
        await publish(writer)
    expected = other.seen()[ID]
    for name, content in place.seen()[ID].items():
        assert content == expected[name]


async def written(place: Place, *snapshot_ids: str) -> Repository:
    """A store of the place, with these snapshots in it. Nobody holds it."""
    store = place.store()
    if not isinstance(store, Repository):
        pytest.skip("nothing is kept there")
    async with store:
        for snapshot_id in snapshot_ids:
            async with SnapshotWriter(
                await store.draft(snapshot_id), partition="aws", operation=POOLS
            ) as writer:
                await fill(writer, SOME)
                await publish(writer)
    return store


async def test_an_inventory_needs_no_lock_and_has_every_snapshot(place: Place) -> None:
    repository = await written(place, LATER_ID, ID)
    async with place.store():
        inventory = await take_inventory(repository)
    assert [(each.id, each.pools) for each in inventory.snapshots] == [(ID, 3), (LATER_ID, 3)]
    assert inventory.latest == LATER_ID
    assert not inventory.unreadable


@moto_too
async def test_a_removed_snapshot_is_gone_and_the_others_are_as_they_were(place: Place) -> None:
    repository = await written(place, ID, LATER_ID)
    before = place.seen()
    async with repository:
        await repository.remove(ID)
        assert [each.id for each in (await take_inventory(repository)).snapshots] == [LATER_ID]
    assert place.seen() == {LATER_ID: before[LATER_ID]}
    assert place.stale() == []


async def test_only_snapshots_are_removed_and_only_under_the_lock(place: Place) -> None:
    repository = await written(place, ID)
    before = place.seen()
    with pytest.raises(RuntimeError, match="not in use"):
        await repository.remove(ID)
    async with repository:
        for name in ("", "..", "../x", "latest", ID + "/", "/" + ID):
            with pytest.raises(ValueError, match="not a snapshot id"):
                await repository.remove(name)
    assert place.seen() == before


async def test_retention_works_on_any_of_them(place: Place) -> None:
    repository = await written(place, ID, LATER_ID)
    async with place.store():
        with pytest.raises(DestinationLockedError):
            await prune_repository(repository, Keep(last=1))
        pruning = await prune_repository(repository, Keep(last=1), dry_run=True)
    assert [(each.snapshot_id, each.keep) for each in pruning.decisions] == [(ID, False), (LATER_ID, True)]
    assert await prune_repository(repository, Keep(last=1)) == pruning
    assert [*place.seen()] == [LATER_ID]


async def test_the_librarys_functions_take_any_of_them(place: Place) -> None:
    repository = await written(place, ID, LATER_ID)
    dest = repository.location
    infos = await to_thread.run_sync(list_snapshots, dest)
    assert [each.id for each in infos] == [ID, LATER_ID]
    for ref, where in (("latest", dest), ("latest~0", dest), (LATER_ID, dest), (f"{dest}/{LATER_ID}", None)):
        snapshot = await to_thread.run_sync(Snapshot.open, ref, where)
        assert (snapshot.id, snapshot.info) == (LATER_ID, infos[-1])
        assert snapshot.location == f"{dest}/{LATER_ID}"
    assert await to_thread.run_sync(verify, snapshot) == ()
    assert len(await to_thread.run_sync(list, snapshot.pools())) == 3
    assert len(await to_thread.run_sync(list, snapshot.targets())) == 3
    assert await to_thread.run_sync(list, snapshot.uncovered()) == []
    for name in ("latest~2", "20200101T000000Z-000000"):
        with pytest.raises(SnapshotError, match=f"No snapshot {name} in {dest}"):
            await to_thread.run_sync(Snapshot.open, name, dest)
    for run in (None, ID, f"{dest}/{ID}"):
        assert await to_thread.run_sync(refused_run, run, dest) is None
    assert (await prune(dest, Keep(last=1), dry_run=True)).decisions[0].snapshot_id == ID
    assert await unlock(dest) is None
    async with place.store():
        with pytest.raises(DestinationLockedError):
            await prune(dest, Keep(last=1))
        with pytest.raises(DestinationLockedError, match="still running"):
            await unlock(dest)
    await prune(dest, Keep(last=1))
    assert [*place.seen()] == [LATER_ID]


async def add(
    repository: Repository,
    snapshot_id: str,
    ended: float,
    request: JsonObject = NOTHING_SPECIAL,
    content: Mapping[Target, Sequence[str] | Outcome] = SOME,
) -> SnapshotInfo | None:
    """Publish a snapshot that ended so many hours ago, and return what the writer says was there before."""
    async with (
        repository,
        SnapshotWriter(await repository.draft(snapshot_id), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, content)
        await publish(writer, started_at=clock(ended + 0.1), finished_at=clock(ended), request=request)
    return writer.before


async def latest_of(repository: Repository) -> str | None:
    return (await take_inventory(repository)).latest


async def test_the_latest_is_the_one_that_was_published_last_by_its_manifest(
    place: Place,
) -> None:
    repository = await written(place)
    # The third went on with a run that was interrupted before the others began.
    first, second, resumed = ago(50), ago(26), ago(51)
    # Two runs that began within one second, the one whose random digits are larger first.
    twin, last = ago(1, "ffffff"), ago(1, "000001")
    order = []
    for snapshot_id, ended in ((first, 49.0), (second, 25.0), (resumed, 24.0), (twin, 0.9), (last, 0.8)):
        await add(repository, snapshot_id, ended)
        order.append(snapshot_id)
        assert await latest_of(repository) == snapshot_id
        assert await place.opened("latest") == snapshot_id
    assert [each.id for each in (await take_inventory(repository)).snapshots] == order
    for back, snapshot_id in enumerate(reversed(order)):
        assert await place.opened(f"latest~{back}") == snapshot_id
    # One that is published late is not the latest for that.
    await add(repository, ago(30), 29)
    assert await latest_of(repository) == last


async def test_one_from_the_future_is_never_the_latest(place: Place) -> None:
    repository = await written(place)
    ahead = ago(-24)
    await add(repository, ahead, -24.1)
    assert await latest_of(repository) is None
    with pytest.raises(SnapshotError, match=r"No snapshot latest in .*: it has 0, and 1 dated in the future"):
        await place.opened("latest")
    assert await place.opened(ahead) == ahead
    real = ago(2)
    # Neither where only its id is from the future, or only its end: a clock was put right, or went wrong.
    for snapshot_id, ended in ((real, 1.0), (ago(-25), 0.5), (ago(1), -26.0)):
        await add(repository, snapshot_id, ended)
        assert await latest_of(repository) == real
        assert await place.opened("latest") == real
    with pytest.raises(SnapshotError, match="it has 1, and 3 dated in the future"):
        await place.opened("latest~1")
    assert len((await take_inventory(repository)).snapshots) == 4


async def test_a_latest_that_names_one_from_the_future_is_put_right(place: Place) -> None:
    repository = await written(place)
    ahead, real = ago(-24), ago(2)
    await add(repository, ahead, -24.1)
    await place.name(ahead)
    assert await latest_of(repository) == ahead
    # Not while there is no other: the clock that is wrong may be this machine's.
    await add(repository, ago(-25), -25.1)
    assert await latest_of(repository) == ahead
    await add(repository, real, 1)
    assert await latest_of(repository) == real


async def test_a_snapshot_that_is_passed_over_is_told_of(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    repository = await written(place)

    async def said(snapshot_id: str, ended: float) -> str | None:
        caplog.clear()
        await add(repository, snapshot_id, ended)
        told = [each for each in caplog.messages if "dated in the future" in each]
        prefix = (
            f"snapshot {snapshot_id} is published in {repository.location}, but by this machine's clock it is"
            " dated in the future: "
        )
        assert all(each.startswith(prefix) for each in told)
        return told[0].removeprefix(prefix) if told else None

    name = "latest" if is_local(repository.location) else "latest.json"
    real = ago(2)
    assert await said(ago(-24), -24.1) == f"`{name}` names nothing"
    assert await said(real, 1.0) is None
    for snapshot_id, ended in ((ago(-25), 0.5), (ago(1), -26.0)):
        assert await said(snapshot_id, ended) == f"`{name}` names {real}"
    # Behind another, and no later than this machine's clock.
    assert await said(ago(30), 29.0) is None


async def test_a_wrong_clock_and_a_narrow_run_remove_nothing(place: Place) -> None:
    repository = await written(place)
    full, narrow, ahead = ago(4), ago(3), ago(-24)
    await add(repository, full, 3.9)
    await add(repository, narrow, 2.9, {"accounts": ["000000000001"]})
    await add(repository, ahead, -24.1)
    before = place.seen()
    for keep in (Keep(last=1), Keep(daily=1), Keep(monthly=1)):
        pruning = await prune_repository(repository, keep)
        assert not pruning.failures
        assert place.seen() == before
    # A later partial one of the same request takes no day from the complete one.
    await add(repository, ago(2), 1.9, content={target(1): Outcome.THROTTLED})
    await add(repository, ago(1), 0.9, {"accounts": ["000000000001"]})
    await prune_repository(repository, Keep(last=1, daily=1))
    assert {full, ahead} <= place.seen().keys()


async def test_a_draft_knows_the_newest_of_the_others_once_it_is_published(place: Place) -> None:
    repository = await written(place)
    assert await add(repository, ago(-24), -24.1) is None
    assert await add(repository, ago(9), 8) is None
    narrow: JsonObject = {"accounts": ["000000000001"]}
    found = await add(repository, ago(7), 6, narrow)
    assert found is not None
    assert found.scope.summary == "whole organization"
    found = await add(repository, ago(8), 7.5)
    assert found is not None
    assert found.scope.request == narrow


async def test_pieces_are_packed_outside_the_loops_thread(place: Place) -> None:
    read: list[int] = []

    class Noted(NamedTuple):
        content: bytes

        def read(self) -> bytes:
            read.append(threading.get_ident())
            return self.content

    async with place.store() as store:
        draft = await store.draft(ID)
        pools, ledger = await draft.create("pools.ndjson"), await draft.create("targets.ndjson")
        await draft.append(
            [
                Addition(pools, [Noted(b"a"), b"\n"]),
                Addition(ledger, [Noted(b"1\n")]),
                Addition(pools, [Noted(b"")]),
            ]
        )
        await draft.append([Addition(ledger, [Noted(b"")]), Addition(pools, [b"b", Noted(b"\n")])])
        await commit(draft, b"{}")
    assert place.seen()[ID]["pools.ndjson"] == b"a\nb\n"
    assert len(read) == 5
    assert threading.get_ident() not in read
