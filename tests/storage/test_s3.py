"""What is special about snapshots in a bucket: interrupted commits, the lease, litter, `latest.json`."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.errors import DestinationError, DestinationLockedError
from poolcensus.format.codec import dumps, loads
from poolcensus.snapshot import Keep, prune
from poolcensus.storage.s3.lease import LEASE_SECONDS
from poolcensus.storage.s3.store import BucketStore
from snapshot.making import ID, LATER_ID, commit
from storage.fake_bucket import FakeBucket, Service, virtually

if TYPE_CHECKING:
    from poolcensus.storage.base import Draft

EARLIER_ID = "20261122T020000Z-ffffff"
PLACE = "s3://census/p"
POOLS = b"0123456789" * 3
FILES = {"pools.ndjson": POOLS, "targets.ndjson": b"t\n", "manifest.json": b"{}\n"}


def store(bucket: FakeBucket) -> BucketStore:
    # In parts of ten bytes: three of them, and none for the ledger.
    return BucketStore(lambda: bucket, PLACE, part_bytes=10)


async def write(draft: Draft) -> None:
    pools, targets = await draft.create("pools.ndjson"), await draft.create("targets.ndjson")
    for start in range(0, len(POOLS), 7):
        await pools.append(POOLS[start : start + 7])
    await targets.append(FILES["targets.ndjson"])


async def publish(bucket: FakeBucket, snapshot_id: str) -> None:
    async with store(bucket) as entered:
        draft = await entered.draft(snapshot_id)
        await write(draft)
        await commit(draft, FILES["manifest.json"])


def seen(service: Service) -> dict[str, dict[str, bytes]]:
    """What a reader finds: the files of each snapshot that has a manifest."""
    found: dict[str, dict[str, bytes]] = {}
    for key, each in service.objects.items():
        snapshot_id, slash, name = key.removeprefix("p/").partition("/")
        if slash:
            found.setdefault(snapshot_id, {})[name] = each.body
    return {snapshot_id: files for snapshot_id, files in found.items() if "manifest.json" in files}


def latest(service: Service) -> str:
    return str(json.loads(service.objects["p/latest.json"].body)["snapshot_id"])


def assert_clean(service: Service, *ids: str) -> None:
    """Nothing is there but these snapshots, whole, and `latest.json`, which names the newest."""
    assert seen(service) == dict.fromkeys(ids, FILES)
    assert len(service.objects) == len(FILES) * len(ids) + 1
    assert not service.pending
    assert latest(service) == max(ids)


async def calls_of_a_run() -> list[str]:
    """The calls of a run that publishes a second snapshot."""
    service = Service()
    await publish(FakeBucket(service), ID)
    bucket = FakeBucket(service)
    await publish(bucket, LATER_ID)
    return bucket.calls


def happens(trouble: str, first: int, last: int, number: int, _: str) -> str | None:
    return trouble if first <= number <= last else None


def cancels(scope: anyio.CancelScope, moment: int, number: int, _: str) -> None:
    if number == moment:
        scope.cancel()


def test_a_commit_writes_the_manifest_last_and_after_it_only_what_names_it() -> None:
    async def body() -> None:
        calls = await calls_of_a_run()
        commit = calls[calls.index(f"complete p/{LATER_ID}/pools.ndjson") :]
        assert commit == [
            f"complete p/{LATER_ID}/pools.ndjson",
            f"put p/{LATER_ID}/targets.ndjson",
            f"begin p/{LATER_ID}/manifest.json",
            f"send p/{LATER_ID}/manifest.json",
            "put p/.lock",
            f"complete p/{LATER_ID}/manifest.json",
            "get p/latest.json",
            "folders p/",
            "list p/2026112",
            f"get p/{ID}/manifest.json",
            "put p/latest.json",
            "get p/.lock",
            "delete p/.lock",
        ]

    virtually(body)


@pytest.mark.parametrize("trouble", ["refused", "lost"])
def test_a_call_that_fails_leaves_the_former_snapshots_or_the_new_one_whole(trouble: str) -> None:
    async def body() -> None:
        outcomes = set()
        for failing, name in enumerate(await calls_of_a_run()):
            service = Service()
            await publish(FakeBucket(service), ID)
            bucket = FakeBucket(service)
            bucket.trouble = partial(happens, trouble, failing, failing)
            error = ""
            try:
                await publish(bucket, LATER_ID)
            except DestinationError as caught:
                error = str(caught)
            after = seen(service)
            assert all(files == FILES for files in after.values()), name
            assert ID in after
            published = LATER_ID in after
            if error and published:
                assert f"snapshot {LATER_ID} is published" in error, name
            if not error:
                assert published, name
            assert "can't be told" not in error
            outcomes.add((bool(error), published))
            # Whatever the call left behind is in nobody's way.
            await anyio.sleep(LEASE_SECONDS + 1)
            await publish(FakeBucket(service), "20261125T020000Z-000000")
            ids = {ID, LATER_ID, "20261125T020000Z-000000"} if published else {ID, "20261125T020000Z-000000"}
            assert_clean_but_for_the_lock(service, ids)
        assert outcomes >= {(True, False), (False, True)}

    virtually(body)


def test_a_call_that_was_tried_again_and_finds_its_own_traces_is_no_failure() -> None:
    async def body() -> None:
        for again, name in enumerate(await calls_of_a_run()):
            service = Service()
            await publish(FakeBucket(service), ID)
            bucket = FakeBucket(service)
            bucket.trouble = partial(happens, "again", again, again)
            await publish(bucket, LATER_ID)
            assert bucket.calls[again] == name
            assert_clean(service, ID, LATER_ID)
        service = Service()
        bucket = FakeBucket(service)
        bucket.trouble = partial(happens, "again", 0, sys.maxsize)
        async with store(bucket):
            await anyio.sleep(LEASE_SECONDS * 3)

    virtually(body)


def assert_clean_but_for_the_lock(service: Service, ids: set[str]) -> None:
    assert service.objects.pop("p/.lock", None) is None
    assert_clean(service, *ids)


def test_a_run_that_dies_at_any_call_leaves_the_former_snapshots_or_the_new_one_whole() -> None:
    async def body() -> None:
        for death, name in enumerate(await calls_of_a_run()):
            service = Service()
            await publish(FakeBucket(service), ID)
            bucket = FakeBucket(service)
            bucket.trouble = partial(happens, "refused", death, sys.maxsize)
            with anyio.move_on_after(1000):
                with suppress(DestinationError):
                    await publish(bucket, LATER_ID)
            after = seen(service)
            assert all(files == FILES for files in after.values()), name
            assert after.keys() <= {ID, LATER_ID}
            assert ID in after
            await anyio.sleep(LEASE_SECONDS + 1)
            await publish(FakeBucket(service), EARLIER_ID)
            assert_clean_but_for_the_lock(service, {*after, EARLIER_ID})

    virtually(body)


def test_a_run_that_is_cancelled_at_any_call_leaves_nothing_behind() -> None:
    async def body() -> None:
        for moment, name in enumerate(await calls_of_a_run()):
            service = Service()
            await publish(FakeBucket(service), ID)
            bucket = FakeBucket(service)
            with anyio.CancelScope() as scope:
                bucket.trouble = partial(cancels, scope, moment)
                await publish(bucket, LATER_ID)
            assert not service.pending, name
            assert "p/.lock" not in service.objects, name
            assert all(files == FILES for files in seen(service).values()), name
            assert {key.split("/")[1] for key in service.objects} <= {*seen(service), "latest.json"}, name

    virtually(body)


async def refuse(bucket: FakeBucket, run_id: str) -> None:
    async with store(bucket) as entered:
        draft = await entered.draft(run_id)
        await write(draft)
        assert await draft.refuse(b"{}") == f"{PLACE}/{run_id}"


@pytest.mark.parametrize("trouble", ["refused", "lost", "death", "cancelled"])
def test_a_ledger_is_kept_whole_or_not_at_all_and_is_no_snapshot(trouble: str) -> None:
    async def body() -> None:
        service = Service()
        await refuse(bucket := FakeBucket(service), EARLIER_ID)
        ledger = {f"p/{EARLIER_ID}/refused.json", f"p/{EARLIER_ID}/targets.ndjson"}
        assert set(service.objects) == ledger
        assert not service.pending
        async with store(FakeBucket(service)) as entered:
            await entered.sweep()
        assert set(service.objects) == ledger
        for moment, name in enumerate(bucket.calls):
            service = Service()
            await publish(FakeBucket(service), ID)
            await refuse(FakeBucket(service), EARLIER_ID)
            bucket = FakeBucket(service)
            with anyio.move_on_after(1000), anyio.CancelScope() as scope, suppress(DestinationError):
                last = sys.maxsize if trouble == "death" else moment
                bucket.trouble = partial(happens, trouble.replace("death", "refused"), moment, last)
                if trouble == "cancelled":
                    bucket.trouble = partial(cancels, scope, moment)
                await refuse(bucket, LATER_ID)
            assert seen(service) == {ID: FILES}, name
            for run_id in (EARLIER_ID, LATER_ID):
                if f"p/{run_id}/refused.json" in service.objects:
                    assert service.objects[f"p/{run_id}/targets.ndjson"].body == FILES["targets.ndjson"]
            assert any(key.endswith("/refused.json") for key in service.objects), name
            await anyio.sleep(LEASE_SECONDS + 1)
            await publish(FakeBucket(service), "20261125T020000Z-000000")
            assert_clean_but_for_the_lock(service, {ID, "20261125T020000Z-000000"})

    virtually(body)


def test_a_snapshot_whose_commit_cannot_be_settled_keeps_its_files() -> None:
    async def body() -> None:
        service = Service()
        bucket = FakeBucket(service)
        lost: list[int] = []

        def trouble(number: int, name: str) -> str | None:
            if name == f"complete p/{ID}/manifest.json":
                lost.append(number)
                return "lost"
            return "refused" if lost else None

        bucket.trouble = trouble
        with pytest.raises(DestinationError, match="it can't be told whether snapshot .* is published"):
            await publish(bucket, ID)
        assert seen(service) == {ID: FILES}

    virtually(body)


# --- the lock -------------------------------------------------------------------------------------------


def test_a_lock_is_renewed_for_as_long_as_its_run_lives() -> None:
    async def body() -> None:
        service = Service()
        async with store(FakeBucket(service)):
            for _ in range(100):
                await anyio.sleep(61)
                with pytest.raises(DestinationLockedError, match=r"\(started \d{4}-\S+Z, host .+, PID \d+\)"):
                    async with store(FakeBucket(service)):
                        pytest.fail("the second run came in")
        assert "p/.lock" not in service.objects

    virtually(body)


def test_the_lock_of_a_dead_run_lapses_and_not_before() -> None:
    async def body() -> None:
        service = Service()
        bucket = FakeBucket(service)
        bucket.trouble = partial(happens, "refused", 6, sys.maxsize)
        with pytest.raises(DestinationError):
            await publish(bucket, ID)
        assert "p/.lock" in service.objects
        await anyio.sleep(LEASE_SECONDS - anyio.current_time())
        with pytest.raises(DestinationLockedError, match="lapses within 0 s"):
            async with store(FakeBucket(service)):
                pytest.fail("too early")
        await anyio.sleep(0.5)
        async with store(FakeBucket(service)):
            pass

    virtually(body)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lease_seconds":1e9}', b'{"lease_seconds":"x"}'])
def test_a_lock_that_no_run_of_ours_wrote_lapses_too(content: bytes) -> None:
    async def body() -> None:
        service = Service()
        service.write("p/.lock", content)
        with pytest.raises(DestinationLockedError):
            async with store(FakeBucket(service)):
                pytest.fail("too early")
        await anyio.sleep(LEASE_SECONDS + 1)
        async with store(FakeBucket(service)):
            pass

    virtually(body)


@pytest.mark.parametrize("says_when_modified", [True, False])
def test_a_lock_lapses_though_the_service_does_not_tell_its_time(says_when_modified: bool) -> None:
    async def body() -> None:
        service = Service(tells_its_time=False, says_when_modified=says_when_modified)
        dead = FakeBucket(service)
        dead.trouble = partial(happens, "refused", 6, sys.maxsize)
        with pytest.raises(DestinationError):
            await publish(dead, ID)
        assert "p/.lock" in service.objects
        found = anyio.current_time()
        async with store(FakeBucket(service)):
            # Seen untouched for a whole lease, however old it was.
            assert anyio.current_time() - found >= LEASE_SECONDS
            # And held for a whole one from then on.
            await anyio.sleep(LEASE_SECONDS * 3)
        await publish(FakeBucket(service), LATER_ID)
        assert_clean(service, LATER_ID)

    virtually(body)


@pytest.mark.parametrize("says_when_modified", [True, False])
def test_a_lock_whose_run_lives_is_heeded_though_the_service_does_not_tell_its_time(
    says_when_modified: bool,
) -> None:
    async def body() -> None:
        service = Service(tells_its_time=False, says_when_modified=says_when_modified)
        async with store(FakeBucket(service)):
            for _ in range(5):
                await anyio.sleep(7)
                asked = anyio.current_time()
                with pytest.raises(DestinationLockedError):
                    async with store(FakeBucket(service)):
                        pytest.fail("the second run came in")
                assert anyio.current_time() - asked < LEASE_SECONDS / 2

    virtually(body)


def test_a_lock_that_is_let_go_while_it_is_watched_is_taken_at_once() -> None:
    async def body() -> None:
        service = Service(tells_its_time=False)
        service.write("p/.lock", b"{}")
        async with anyio.create_task_group() as group:

            async def let_go() -> None:
                await anyio.sleep(10)
                del service.objects["p/.lock"]

            group.start_soon(let_go)
            async with store(FakeBucket(service)):
                assert anyio.current_time() < LEASE_SECONDS / 2

    virtually(body)


def test_a_renewal_whose_reply_was_lost_does_not_make_the_lease_longer() -> None:
    async def body() -> None:
        service = Service()
        bucket = FakeBucket(service)
        with pytest.raises(DestinationError, match="was lost"):
            async with store(bucket):
                since = anyio.current_time()
                # One renewal arrives and nobody hears of it. The next that arrives, late, finds that one.
                late: list[str] = []

                def trouble(_: int, name: str) -> str | None:
                    elapsed = anyio.current_time() - since
                    if not name.startswith("put"):
                        return None
                    if elapsed < LEASE_SECONDS * 0.26:
                        return "lost"
                    if elapsed < LEASE_SECONDS * 0.8 or late:
                        return "refused"
                    late.append(name)
                    return None

                bucket.trouble = trouble
                try:
                    await anyio.sleep_forever()
                finally:
                    held = anyio.current_time() - since
        assert held <= LEASE_SECONDS

    virtually(body)


def test_of_two_runs_that_find_a_lapsed_lock_one_gets_it() -> None:
    async def body() -> None:
        service = Service()
        service.write("p/.lock", b"{}")
        await anyio.sleep(LEASE_SECONDS + 1)
        came_in: list[int] = []
        refused: list[int] = []
        done = anyio.Event()

        async def run(number: int) -> None:
            try:
                async with store(FakeBucket(service)):
                    came_in.append(number)
                    await done.wait()
            except DestinationLockedError:
                refused.append(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(run, number)
            await anyio.sleep(1)
            done.set()
        assert (len(came_in), len(refused)) == (1, 4)

    virtually(body)


def test_a_lock_that_cannot_be_renewed_ends_the_run_when_it_lapses() -> None:
    async def body() -> None:
        service = Service()
        bucket = FakeBucket(service)
        with pytest.raises(DestinationError, match="was lost: it could not be renewed for 120 s"):
            async with store(bucket):
                since = anyio.current_time()
                bucket.trouble = lambda *_: "refused"
                try:
                    await anyio.sleep_forever()
                finally:
                    held = anyio.current_time() - since
        # Never later than others may take it.
        assert held <= LEASE_SECONDS

    virtually(body)


def test_who_is_cancelled_when_the_lock_is_lost_stays_cancelled() -> None:
    async def body() -> None:
        bucket = FakeBucket(Service())
        entered = store(bucket)
        with anyio.CancelScope() as scope:
            async with entered:
                bucket.trouble = lambda *_: "refused"
                with anyio.CancelScope(shield=True):
                    while entered._lost is None:
                        await anyio.sleep(1)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    virtually(body)


def test_what_a_lost_lock_raises_is_raised_in_one_task() -> None:
    async def body() -> None:
        bucket = FakeBucket(Service())
        entered = store(bucket)
        with pytest.raises(DestinationError) as caught:
            async with entered:
                bucket.trouble = lambda *_: "refused"
                await anyio.sleep_forever()
        assert entered._lost is not None
        assert caught.value is not entered._lost
        assert str(caught.value) == str(entered._lost)

    virtually(body)


def test_a_renewal_that_fails_for_a_while_ends_nothing() -> None:
    async def body() -> None:
        service = Service()
        bucket = FakeBucket(service)
        async with store(bucket) as entered:
            bucket.trouble = lambda *_: "lost" if anyio.current_time() < LEASE_SECONDS * 0.7 else None
            await anyio.sleep(LEASE_SECONDS * 2)
            draft = await entered.draft(ID)
            await write(draft)
            await commit(draft, FILES["manifest.json"])
        assert_clean(service, ID)

    virtually(body)


def test_a_lock_that_someone_else_took_ends_the_run_before_anything_is_published() -> None:
    async def body() -> None:
        service = Service()
        bucket = FakeBucket(service)
        with pytest.raises(DestinationError, match="another run has taken it"):
            async with store(bucket) as entered:
                draft = await entered.draft(ID)
                await write(draft)
                service.write("p/.lock", b'{"run":"another"}')
                await commit(draft, FILES["manifest.json"])
        assert seen(service) == {}
        assert service.objects.keys() == {"p/.lock"}
        assert loads(service.objects["p/.lock"].body) == {"run": "another"}

    virtually(body)


@pytest.mark.parametrize("stuck", ["put p/.lock", f"complete p/{ID}/manifest.json"])
def test_a_run_that_wakes_up_after_its_lock_was_taken_publishes_nothing(stuck: str) -> None:
    async def body() -> None:
        service = Service()
        sleeper = FakeBucket(service)
        awake = anyio.Event()
        errors: list[str] = []

        async def sleep_through() -> None:
            try:
                async with store(sleeper) as entered:
                    draft = await entered.draft(ID)
                    await write(draft)
                    sleeper.gates[stuck] = awake
                    await commit(draft, FILES["manifest.json"])
            except DestinationError as error:
                errors.append(str(error))

        async with anyio.create_task_group() as group:
            group.start_soon(sleep_through)
            await anyio.sleep(10)
            service.objects["p/.lock"].modified = -LEASE_SECONDS
            await publish(FakeBucket(service), LATER_ID)
            awake.set()
        assert len(errors) == 1
        assert seen(service) == {LATER_ID: FILES}
        assert not service.pending

    virtually(body)


def test_a_service_that_ignores_conditions_is_refused() -> None:
    async def body() -> None:
        service = Service(heeds_conditions=False)
        with pytest.raises(DestinationError, match=r"s3://census/p can't be locked.* ignores If-None"):
            async with store(FakeBucket(service)):
                pytest.fail("it came in")
        assert service.objects == {}

    virtually(body)


# --- litter ---------------------------------------------------------------------------------------------


def test_litter_of_dead_runs_is_swept_and_nothing_else() -> None:
    async def body() -> None:
        service = Service()
        await publish(FakeBucket(service), ID)
        kept = {
            "p/notes.txt",
            f"p/{ID}",
            f"p/x/{LATER_ID}/pools.ndjson",
            f"p/{LATER_ID}x/pools.ndjson",
            f"{LATER_ID}/pools.ndjson",
            f"pp/{LATER_ID}/pools.ndjson",
        }
        litter = {f"p/{LATER_ID}/pools.ndjson", f"p/{EARLIER_ID}/sub/x", f"p/{LATER_ID}/other"}
        for key in (*kept, *litter):
            service.write(key, b"")
        ours = FakeBucket(service)
        for key in ("p/notes.txt", f"p/{LATER_ID}/manifest.json", f"pp/{LATER_ID}/manifest.json"):
            await ours.begin(key)
        before = set(service.objects)
        async with store(FakeBucket(service)) as entered:
            assert before < set(service.objects)
            await entered.sweep()
            assert before - set(service.objects) == litter
            assert {key for key, _ in service.pending.values()} == {
                "p/notes.txt",
                f"pp/{LATER_ID}/manifest.json",
            }

    virtually(body)


def test_an_id_that_is_there_already_is_refused() -> None:
    async def body() -> None:
        service = Service()
        await publish(FakeBucket(service), ID)
        with pytest.raises(DestinationError, match="there is a snapshot of this id already"):
            await publish(FakeBucket(service), ID)
        assert_clean(service, ID)

    virtually(body)


# --- latest.json ----------------------------------------------------------------------------------------


def test_latest_never_goes_back() -> None:
    async def body() -> None:
        service = Service()
        for snapshot_id, expected in ((ID, ID), (LATER_ID, LATER_ID), (EARLIER_ID, LATER_ID)):
            await publish(FakeBucket(service), snapshot_id)
            assert latest(service) == expected
        assert_clean(service, ID, LATER_ID, EARLIER_ID)

    virtually(body)


@pytest.mark.parametrize("content", [None, b"{", b'{"snapshot_id":"20261121T020000Z-000000"}'])
def test_latest_is_put_right(content: bytes | None) -> None:
    async def body() -> None:
        service = Service()
        await publish(FakeBucket(service), LATER_ID)
        if content is None:
            del service.objects["p/latest.json"]
        else:
            service.write("p/latest.json", content)
        await publish(FakeBucket(service), EARLIER_ID)
        assert latest(service) == LATER_ID

    virtually(body)


def test_latest_that_someone_else_renews_meanwhile_is_not_overwritten() -> None:
    async def body() -> None:
        service = Service()
        await publish(FakeBucket(service), EARLIER_ID)
        bucket = FakeBucket(service)

        def trouble(_: int, name: str) -> None:
            # A run that was taken for dead, between its reading and its writing.
            if name == "put p/latest.json" and LATER_ID not in seen(service):
                for file, content in FILES.items():
                    service.write(f"p/{LATER_ID}/{file}", content)
                service.write("p/latest.json", dumps({"snapshot_id": LATER_ID}))

        bucket.trouble = trouble
        await publish(bucket, ID)
        assert latest(service) == LATER_ID

    virtually(body)


async def test_a_manifest_that_cant_be_read_ends_a_removal_in_one_sentence() -> None:
    service = Service()
    for snapshot_id in (EARLIER_ID, ID, LATER_ID):
        await publish(FakeBucket(service), snapshot_id)
    bucket = FakeBucket(service)
    bucket.trouble = lambda _, name: "refused" if name.startswith("get") and ID in name else None
    with pytest.raises(DestinationError, match="refused"):
        await prune(store(bucket), Keep(last=1))
    assert [*seen(service)] == [EARLIER_ID, ID, LATER_ID]


async def test_what_is_cancelled_once_it_is_published_is_the_latest_all_the_same() -> None:
    service = Service()
    await publish(FakeBucket(service), EARLIER_ID)
    bucket = FakeBucket(service)
    with anyio.CancelScope() as scope:
        async with store(bucket) as entered:
            draft = await entered.draft(ID)
            await write(draft)

            def cancel(_: int, name: str) -> None:
                if draft.published and not scope.cancel_called:
                    scope.cancel()

            bucket.trouble = cancel
            await commit(draft, FILES["manifest.json"])
    assert scope.cancelled_caught
    assert draft.published
    assert latest(service) == ID
