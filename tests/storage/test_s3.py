"""What is special about snapshots in a bucket: interrupted commits, the lease, litter, `latest.json`."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio
import pytest

from poolcensus.errors import CredentialsError, DestinationError, DestinationLockedError, SettingsError
from poolcensus.format.codec import dumps, loads
from poolcensus.snapshot.pruning import prune_repository
from poolcensus.snapshot.retention import Keep
from poolcensus.storage.base import ABORT_SECONDS
from poolcensus.storage.naming import LATEST_NAME
from poolcensus.storage.s3.bucket import S3Bucket
from poolcensus.storage.s3.keys import contents
from poolcensus.storage.s3.lease import LEASE_SECONDS
from poolcensus.storage.s3.store import BucketStore
from snapshot.making import ID, LATER_ID, commit
from storage.runs import EARLIER_ID, FILES, PLACE, assert_clean, latest, publish, seen, store, write
from storage.scripted_s3 import Run
from virtual_time import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from storage.scripted_s3 import Service


LAST_ID = "20261125T020000Z-000000"


async def second_run(service: Service) -> Run:
    """A run that has published a second snapshot. The service holds only the first one afterwards."""
    await publish(Run(service), ID)
    before = service.copy()
    run = Run(service)
    await publish(run, LATER_ID)
    service.hold(before)
    return run


# The default run leaves out the calls that are of one kind with the call before them: readings in a row,
# which find and leave the same, and the parts of one file. Where what counts is what a call has left behind,
# it leaves out all readings, and the trial, which does what the files do after it.
EVERY_CALL = pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
_READINGS = ("get", "list", "folders", "uploads")


async def moments(
    service: Service, run: Run, *, every: bool, readings: bool = True
) -> AsyncIterator[tuple[int, str, Run]]:
    """Yield the number and the name of the calls of `run`, with a new run that finds what that one found."""
    before = service.copy()
    last = ""
    for moment, name in enumerate(run.calls):
        kind = "read" if name.startswith(_READINGS) else name
        leaves_more = kind != "read" and not name.endswith("/.trial")
        if every or (kind != last and (readings or leaves_more)):
            service.hold(before)
            yield moment, name, Run(service)
            service.forget_runs()
        last = kind


class LaterRuns:
    """Shows that a later run publishes its snapshot and clears up, once for each kind of litter."""

    def __init__(self, service: Service, snapshot_id: str) -> None:
        self._service = service
        self._id = snapshot_id
        self._litter: set[frozenset[str]] = set()

    async def try_one(self, *others: str) -> None:
        """Publish a snapshot once the lock of a dead run has lapsed: it is there, beside the others."""
        service = self._service
        litter = frozenset({*service.objects, *(f"upload {key}" for key in service.uploading)})
        if litter in self._litter:
            return
        self._litter.add(litter)
        await anyio.sleep(LEASE_SECONDS + 1)
        await publish(Run(service), self._id)
        assert "p/.lock" not in service.objects
        assert_clean(service, *others, self._id)


def happens(trouble: str, first: int, last: int, number: int, _: str) -> str | None:
    return trouble if first <= number <= last else None


def cancels(scope: anyio.CancelScope, moment: int, trouble: str | None, number: int, _: str) -> str | None:
    if number != moment:
        return None
    scope.cancel()
    return trouble


def test_a_commit_writes_the_manifest_last_and_after_it_only_what_names_it(service: Service) -> None:
    async def body() -> None:
        calls = (await second_run(service)).calls
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

    service.run(body)


@EVERY_CALL
@pytest.mark.parametrize("trouble", ["refused", "lost"])
def test_a_call_that_fails_leaves_the_former_snapshots_or_the_new_one_whole(
    service: Service, trouble: str, every: bool
) -> None:
    async def body() -> None:
        outcomes = set()
        later = LaterRuns(service, LAST_ID)
        made = await second_run(service)
        async for failing, name, run in moments(service, made, every=every, readings=trouble == "refused"):
            run.trouble = partial(happens, trouble, failing, failing)
            error = ""
            try:
                await publish(run, LATER_ID)
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
            await later.try_one(*after)
        assert outcomes >= {(True, False), (False, True)}

    service.run(body)


@EVERY_CALL
def test_a_call_that_was_tried_again_and_finds_its_own_traces_is_no_failure(
    service: Service, every: bool
) -> None:
    async def body() -> None:
        later = LaterRuns(service, LAST_ID)
        made = await second_run(service)
        async for again, name, run in moments(service, made, every=every, readings=False):
            run.trouble = partial(happens, "again", again, again)
            await publish(run, LATER_ID)
            assert run.calls[again] == name
            # Of an upload that was begun twice nobody knows the first id: the next run lists it.
            kind, _, key = name.partition(" ")
            assert service.uploading == [key] * (kind == "begin")
            assert_clean(service, ID, LATER_ID, but_for_uploads=True)
            await later.try_one(ID, LATER_ID)
        run = Run(service)
        run.trouble = partial(happens, "again", 0, sys.maxsize)
        async with store(run):
            await anyio.sleep(LEASE_SECONDS * 3)

    service.run(body)


@EVERY_CALL
def test_a_run_that_dies_at_any_call_leaves_the_former_snapshots_or_the_new_one_whole(
    service: Service, every: bool
) -> None:
    async def body() -> None:
        later = LaterRuns(service, EARLIER_ID)
        made = await second_run(service)
        async for death, name, run in moments(service, made, every=every, readings=False):
            run.trouble = partial(happens, "refused", death, sys.maxsize)
            with anyio.move_on_after(1000):
                with suppress(DestinationError):
                    await publish(run, LATER_ID)
            after = seen(service)
            assert all(files == FILES for files in after.values()), name
            assert after.keys() <= {ID, LATER_ID}
            assert ID in after
            await later.try_one(*after)

    service.run(body)


@EVERY_CALL
@pytest.mark.parametrize("trouble", ["broken", pytest.param(None, marks=pytest.mark.long)])
def test_a_run_that_is_cancelled_at_any_call_leaves_nothing_behind(
    service: Service, trouble: str | None, every: bool
) -> None:
    async def body() -> None:
        async for moment, name, run in moments(service, await second_run(service), every=every):
            with anyio.CancelScope() as scope:
                run.trouble = partial(cancels, scope, moment, trouble)
                await publish(run, LATER_ID)
            assert not service.uploading, name
            assert "p/.lock" not in service.objects, name
            assert all(files == FILES for files in seen(service).values()), name
            assert {key.split("/")[1] for key in service.objects} <= {*seen(service), "latest.json"}, name

    service.run(body)


async def refuse(run: Run, run_id: str) -> None:
    async with store(run) as entered:
        draft = await entered.draft(run_id)
        await write(draft)
        assert await draft.refuse(b"{}") == f"{PLACE}/{run_id}"


def test_a_ledger_stays_until_the_next_run_that_keeps_or_publishes_one(service: Service) -> None:
    async def body() -> None:
        await refuse(Run(service), EARLIER_ID)
        ledger = {f"p/{EARLIER_ID}/refused.json", f"p/{EARLIER_ID}/targets.ndjson"}
        assert set(service.objects) == ledger
        assert not service.uploading
        async with store(Run(service)) as entered:
            await entered.sweep()
        assert set(service.objects) == ledger

    service.run(body)


@EVERY_CALL
@pytest.mark.parametrize(
    "trouble",
    [
        "refused",
        "death",
        pytest.param("lost", marks=pytest.mark.long),
        pytest.param("cancelled", marks=pytest.mark.long),
    ],
)
def test_a_ledger_is_kept_whole_or_not_at_all_and_is_no_snapshot(
    service: Service, trouble: str, every: bool
) -> None:
    async def body() -> None:
        later = LaterRuns(service, LAST_ID)
        await publish(Run(service), ID)
        await refuse(Run(service), EARLIER_ID)
        before = service.copy()
        await refuse(undisturbed := Run(service), LATER_ID)
        service.hold(before)
        # Until then it does what a run does that publishes, which is cut off at every call above.
        kept = undisturbed.calls.index(f"put p/{LATER_ID}/targets.ndjson")
        readings = trouble == "refused"
        async for moment, name, run in moments(service, undisturbed, every=every, readings=readings):
            if moment < kept and not (every and trouble == "refused"):
                continue
            with anyio.move_on_after(1000), anyio.CancelScope() as scope, suppress(DestinationError):
                last = sys.maxsize if trouble == "death" else moment
                run.trouble = partial(happens, trouble.replace("death", "refused"), moment, last)
                if trouble == "cancelled":
                    run.trouble = partial(cancels, scope, moment, "broken")
                await refuse(run, LATER_ID)
            assert seen(service) == {ID: FILES}, name
            for run_id in (EARLIER_ID, LATER_ID):
                if f"p/{run_id}/refused.json" in service.objects:
                    assert service.objects[f"p/{run_id}/targets.ndjson"].body == FILES["targets.ndjson"]
            assert any(key.endswith("/refused.json") for key in service.objects), name
            await later.try_one(ID)

    service.run(body)


def test_a_snapshot_whose_commit_cannot_be_settled_keeps_its_files_and_is_told_of_once(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        run = Run(service)
        lost: list[int] = []

        def trouble(number: int, name: str) -> str | None:
            if name == f"complete p/{ID}/manifest.json":
                lost.append(number)
                return "lost"
            return "refused" if lost else None

        run.trouble = trouble
        with pytest.raises(DestinationError, match="it can't be told whether snapshot .* is published"):
            await publish(run, ID)
        assert seen(service) == {ID: FILES}

    service.run(body)
    assert "it can't be told" not in caplog.text


def test_who_is_cancelled_while_a_commit_cannot_be_settled_is_told(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        run = Run(service)
        lost: list[int] = []
        with anyio.CancelScope() as scope:

            def trouble(number: int, name: str) -> str | None:
                if name == f"complete p/{ID}/manifest.json":
                    lost.append(number)
                    scope.cancel()
                    return "lost"
                return "hangs" if lost else None

            run.trouble = trouble
            await publish(run, ID)
        assert scope.cancelled_caught
        assert seen(service) == {ID: FILES}

    service.run(body)
    assert f"it can't be told whether snapshot {ID} is published in s3://census/p" in caplog.text


def test_a_lock_that_is_not_let_go_in_time_is_said_to_be_left(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Less than the first attempt of a call has.
    monkeypatch.setattr("poolcensus.storage.s3.store._LONGEST_RELEASE", 1.0)

    async def body() -> None:
        run = Run(service)
        async with store(run):
            run.trouble = lambda _, name: "hangs" if name == "get p/.lock" else None
        assert "p/.lock" in service.objects

    service.run(body)
    assert "the lock of s3://census/p is left to lapse: the service did not answer within 1 s" in caplog.text


# The write that takes the lock, and that which tries whether the service heeds conditions.
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("is_lapsed", [False, True])
@pytest.mark.parametrize("is_late", [False, True])
def test_who_is_cancelled_while_the_lock_is_taken_leaves_none_or_says_so(
    service: Service, caplog: pytest.LogCaptureFixture, *, number: int, is_lapsed: bool, is_late: bool
) -> None:
    service.slow_by = ABORT_SECONDS * (1.5 if is_late else 0.5)

    async def body() -> None:
        if is_lapsed:
            service.write("p/.lock", b"{}")
            service.make_older("p/.lock", LEASE_SECONDS + 1)
        run = Run(service)
        since = now()
        with anyio.CancelScope() as scope:

            def trouble(_: int, name: str) -> str | None:
                if name != "put p/.lock" or run.calls.count(name) != number:
                    return None
                scope.cancel()
                return "slow"

            run.trouble = trouble
            async with store(run):
                pytest.fail("entered")
        assert scope.cancelled_caught
        assert now() - since <= 2 * ABORT_SECONDS
        await anyio.sleep(10)
        assert ("p/.lock" in service.objects) == is_late

    service.run(body)
    said = "the lock of s3://census/p is left to lapse: the run was ended before the service had answered it"
    # What came of the trial can't be told without an answer.
    assert (said in caplog.text) == (is_late or number == 2)


def test_what_fails_as_the_run_is_cancelled_leaves_it_cancelled(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        with anyio.CancelScope() as scope:

            def trouble(_: int, name: str) -> str | None:
                if name != "put p/.lock":
                    return None
                scope.cancel()
                return "refused"

            run.trouble = trouble
            async with store(run):
                pytest.fail("entered")
        assert scope.cancelled_caught

    service.run(body)


def test_a_lock_is_renewed_for_as_long_as_its_run_lives(service: Service) -> None:
    async def body() -> None:
        async with store(Run(service)):
            # Ten leases, and more than that of renewals.
            for _ in range(20):
                await anyio.sleep(61)
                with pytest.raises(DestinationLockedError, match=r"\(started \d{4}-\S+Z, host .+, PID \d+\)"):
                    async with store(Run(service)):
                        pytest.fail("the second run came in")
        assert "p/.lock" not in service.objects

    service.run(body)


def test_the_lock_of_a_dead_run_lapses_and_not_before(service: Service) -> None:
    async def body() -> None:
        since = now()
        run = Run(service)
        run.trouble = partial(happens, "refused", 6, sys.maxsize)
        with pytest.raises(DestinationError):
            await publish(run, ID)
        assert "p/.lock" in service.objects
        await anyio.sleep(LEASE_SECONDS - (now() - since))
        with pytest.raises(DestinationLockedError, match="lapses within 0 s"):
            async with store(Run(service)):
                pytest.fail("too early")
        await anyio.sleep(1)  # its clock has whole seconds
        async with store(Run(service)):
            pass

    service.run(body)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lease_seconds":1e9}', b'{"lease_seconds":"x"}'])
def test_a_lock_that_no_run_of_ours_wrote_lapses_too(service: Service, content: bytes) -> None:
    async def body() -> None:
        service.write("p/.lock", content)
        with pytest.raises(DestinationLockedError):
            async with store(Run(service)):
                pytest.fail("too early")
        await anyio.sleep(LEASE_SECONDS + 1)
        async with store(Run(service)):
            pass

    service.run(body)


@pytest.mark.parametrize("says_when_modified", [True, False])
def test_a_lock_lapses_though_the_service_does_not_tell_its_time(
    service: Service, says_when_modified: bool
) -> None:
    async def body() -> None:
        service.tells_its_time, service.says_when_modified = False, says_when_modified
        dead = Run(service)
        dead.trouble = partial(happens, "refused", 6, sys.maxsize)
        with pytest.raises(DestinationError):
            await publish(dead, ID)
        assert "p/.lock" in service.objects
        found = now()
        async with store(Run(service)):
            # Seen untouched for a whole lease, however old it was.
            assert now() - found >= LEASE_SECONDS
            # And held for a whole one from then on.
            await anyio.sleep(LEASE_SECONDS * 3)
        await publish(Run(service), LATER_ID)
        assert_clean(service, LATER_ID)

    service.run(body)


@pytest.mark.parametrize("says_when_modified", [True, False])
def test_a_lock_whose_run_lives_is_heeded_though_the_service_does_not_tell_its_time(
    service: Service, says_when_modified: bool
) -> None:
    async def body() -> None:
        service.tells_its_time, service.says_when_modified = False, says_when_modified
        async with store(Run(service)):
            for _ in range(5):
                await anyio.sleep(7)
                asked = now()
                with pytest.raises(DestinationLockedError):
                    async with store(Run(service)):
                        pytest.fail("the second run came in")
                assert now() - asked < LEASE_SECONDS / 2

    service.run(body)


def test_a_lock_that_is_let_go_while_it_is_watched_is_taken_at_once(service: Service) -> None:
    async def body() -> None:
        service.tells_its_time = False
        service.write("p/.lock", b"{}")
        since = now()
        async with anyio.create_task_group() as group:

            async def let_go() -> None:
                await anyio.sleep(10)
                del service.objects["p/.lock"]

            group.start_soon(let_go)
            async with store(Run(service)):
                assert now() - since < LEASE_SECONDS / 2

    service.run(body)


def test_credentials_that_end_as_the_lock_is_written_are_what_a_run_ends_with(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(*_: object, **__: object) -> None:
        raise CredentialsError("the session has ended")

    async def body() -> None:
        monkeypatch.setattr(S3Bucket, "put", ended)
        with pytest.raises(CredentialsError, match="the session has ended"):
            async with store(Run(service)):
                pass

    service.run(body)


def test_a_renewal_whose_reply_was_lost_does_not_make_the_lease_longer(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        with pytest.raises(DestinationError, match="was lost"):
            async with store(run):
                since = now()
                # One renewal arrives and nobody hears of it. The next that arrives, late, finds that one.
                late: list[str] = []

                def trouble(_: int, name: str) -> str | None:
                    elapsed = now() - since
                    if not name.startswith("put"):
                        return None
                    if elapsed < LEASE_SECONDS * 0.26:
                        return "lost"
                    if elapsed < LEASE_SECONDS * 0.8 or late:
                        return "refused"
                    late.append(name)
                    return None

                run.trouble = trouble
                try:
                    await anyio.sleep_forever()
                finally:
                    held = now() - since
        assert held <= LEASE_SECONDS

    service.run(body)


@pytest.mark.parametrize("lapsed", [True, False])
def test_of_two_runs_that_find_a_lapsed_lock_or_none_one_gets_it(service: Service, lapsed: bool) -> None:
    async def body() -> None:
        if lapsed:
            service.write("p/.lock", b"{}")
            await anyio.sleep(LEASE_SECONDS + 1)
        came_in: list[int] = []
        refused: list[int] = []
        done = anyio.Event()

        async def run(number: int) -> None:
            try:
                async with store(Run(service)):
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

    service.run(body)


def test_a_lock_that_cannot_be_renewed_ends_the_run_when_it_lapses(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        with pytest.raises(DestinationError, match="was lost: it could not be renewed for 120 s"):
            async with store(run):
                since = now()
                run.trouble = lambda *_: "refused"
                try:
                    await anyio.sleep_forever()
                finally:
                    held = now() - since
        # Never later than others may take it.
        assert held <= LEASE_SECONDS

    service.run(body)


def test_who_is_cancelled_when_the_lock_is_lost_stays_cancelled(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        entered = store(run)
        with anyio.CancelScope() as scope:
            async with entered:
                run.trouble = lambda *_: "refused"
                with anyio.CancelScope(shield=True):
                    while entered._lost is None:
                        await anyio.sleep(1)
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    service.run(body)


def test_what_a_lost_lock_raises_is_raised_in_one_task(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        entered = store(run)
        with pytest.raises(DestinationError) as caught:
            async with entered:
                run.trouble = lambda *_: "refused"
                await anyio.sleep_forever()
        assert entered._lost is not None
        assert caught.value is not entered._lost
        assert str(caught.value) == str(entered._lost)

    service.run(body)


def test_a_renewal_that_fails_for_a_while_ends_nothing(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        async with store(run) as entered:
            until = now() + LEASE_SECONDS * 0.7
            run.trouble = lambda *_: "lost" if now() < until else None
            await anyio.sleep(LEASE_SECONDS * 2)
            draft = await entered.draft(ID)
            await write(draft)
            await commit(draft, FILES["manifest.json"])
        assert_clean(service, ID)

    service.run(body)


def test_a_lock_that_someone_else_took_ends_the_run_before_anything_is_published(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        with pytest.raises(DestinationError, match="another run has taken it"):
            async with store(run) as entered:
                draft = await entered.draft(ID)
                await write(draft)
                service.write("p/.lock", b'{"run":"another"}')
                await commit(draft, FILES["manifest.json"])
        assert seen(service) == {}
        assert service.objects.keys() == {"p/.lock"}
        assert loads(service.objects["p/.lock"].body) == {"run": "another"}

    service.run(body)


@pytest.mark.parametrize("stuck", ["put p/.lock", f"complete p/{ID}/manifest.json"])
def test_a_run_that_wakes_up_after_its_lock_was_taken_publishes_nothing(service: Service, stuck: str) -> None:
    async def body() -> None:
        sleeper = Run(service)
        asleep = anyio.Event()
        errors: list[str] = []

        def falls_asleep(_: int, name: str) -> str | None:
            if name != stuck or asleep.is_set():
                return None
            asleep.set()
            return "hangs"

        async def sleep_through() -> None:
            try:
                async with store(sleeper) as entered:
                    draft = await entered.draft(ID)
                    await write(draft)
                    sleeper.trouble = falls_asleep
                    await commit(draft, FILES["manifest.json"])
            except DestinationError as error:
                errors.append(str(error))

        async with anyio.create_task_group() as group:
            group.start_soon(sleep_through)
            await asleep.wait()
            service.make_older("p/.lock", LEASE_SECONDS + 1)
            await publish(Run(service), LATER_ID)
            assert not errors
        assert len(errors) == 1
        assert seen(service) == {LATER_ID: FILES}
        assert not service.uploading

    service.run(body)


def conflicts(key: str, times: int, trouble: str = "conflict") -> Callable[[int, str], str | None]:
    """The first completions of an upload of `key` meet another call, with which S3 does not go on."""
    left = [trouble] * times
    return lambda _, name: left.pop() if name == f"complete {key}" and left else None


def test_a_manifest_that_meets_a_conflict_is_sent_anew_with_the_lock_confirmed(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        manifest = f"p/{ID}/manifest.json"
        run.trouble = conflicts(manifest, 3)
        await publish(run, ID)
        assert_clean(service, ID)
        sent = [f"begin {manifest}", f"send {manifest}", "put p/.lock", f"complete {manifest}"]
        settled = [f"abort {manifest}", f"head {manifest}"]
        first = run.calls.index(sent[0])
        assert run.calls[first : run.calls.index("get p/latest.json")] == [*(sent + settled) * 3, *sent]

    service.run(body)


def test_conflicts_without_an_end_are_no_other_run(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        run.trouble = conflicts(f"p/{ID}/manifest.json", 99)
        with pytest.raises(DestinationError) as caught:
            await publish(run, ID)
        assert str(caught.value) == (
            f"can't write s3://census/p/{ID}/manifest.json: S3 answered ConditionalRequestConflict; run again"
            " or choose another destination"
        )
        assert run.calls.count(f"complete p/{ID}/manifest.json") == 4
        assert not service.objects
        assert not service.uploading

    service.run(body)


def test_a_manifest_that_is_there_after_a_conflict_is_published(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        run.trouble = conflicts(f"p/{ID}/manifest.json", 1, "late")
        await publish(run, ID)
        assert run.calls.count(f"begin p/{ID}/manifest.json") == 1
        assert_clean(service, ID)

    service.run(body)


@pytest.mark.parametrize("moment", ["complete", "abort", "head", "begin", "send"])
def test_a_run_whose_lock_is_taken_around_a_conflict_publishes_nothing(service: Service, moment: str) -> None:
    async def body() -> None:
        run = Run(service)
        manifest = f"p/{ID}/manifest.json"
        met = conflicts(manifest, 1)
        taken: list[str] = []

        def trouble(number: int, name: str) -> str | None:
            if name == f"{moment} {manifest}" and f"complete {manifest}" in run.calls and not taken:
                taken.append(name)
                service.write("p/.lock", b'{"run":"another"}')
                # As it comes in, it clears up.
                service.drop(f"p/{ID}/")
            return met(number, name)

        run.trouble = trouble
        with pytest.raises(DestinationError):
            await publish(run, ID)
        assert taken
        assert run.calls.count(f"complete {manifest}") == 1
        assert seen(service) == {}
        assert not service.uploading

    service.run(body)


@pytest.mark.parametrize("trouble", ["conflict", "late"])
def test_a_trial_that_meets_a_conflict_is_tried_again(service: Service, trouble: str) -> None:
    async def body() -> None:
        run = Run(service)
        run.trouble = conflicts(f"p/{ID}/.trial", 1, trouble)
        await publish(run, ID)
        assert_clean(service, ID)

    service.run(body)


def test_a_trial_that_meets_conflicts_without_an_end_has_lost_no_upload(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        run.trouble = conflicts(f"p/{ID}/.trial", 99)
        with pytest.raises(DestinationError, match="a trial with .* failed.*RequestConflict") as caught:
            await publish(run, ID)
        assert "lost" not in str(caught.value)
        assert not service.uploading

    service.run(body)


def test_a_page_in_answer_to_a_deletion_ends_a_run_and_a_removal(service: Service) -> None:
    async def body() -> None:
        await publish(Run(service), ID)
        run = Run(service)
        run.trouble = lambda _, name: "page" if name.startswith("delete ") else None
        with pytest.raises(
            DestinationError,
            match=r"a trial with .* failed.*\.trial: what answered is not S3",
        ):
            await publish(run, LATER_ID)
        assert [*seen(service)] == [ID]
        # Its lock was not let go either.
        await anyio.sleep(LEASE_SECONDS + 1)
        async with store(run) as entered:
            with pytest.raises(DestinationError, match=r"manifest\.json: what answered is not S3"):
                await entered.remove(ID)

    service.run(body)


def test_a_service_that_ignores_conditions_is_refused(service: Service) -> None:
    async def body() -> None:
        service.heeds_conditions = False
        with pytest.raises(DestinationError, match=r"s3://census/p can't be locked.* ignores If-None"):
            async with store(Run(service)):
                pytest.fail("it came in")
        assert service.objects == {}

    service.run(body)


def test_a_service_that_lists_no_uploads_is_refused(service: Service) -> None:
    async def body() -> None:
        service.uploads_listed = "never"
        with pytest.raises(
            DestinationError, match=r"can't publish in s3://census/p.*does not list the multipart"
        ):
            await publish(Run(service), ID)
        with pytest.raises(DestinationError, match="does not list the multipart"):
            await store(Run(service)).rehearse()
        assert not service.objects
        assert not service.uploading

    service.run(body)


def test_a_service_that_lists_uploads_a_moment_late_is_not_refused(service: Service) -> None:
    async def body() -> None:
        service.uploads_listed = "never"
        run = Run(service)

        def trouble(*_: object) -> None:
            # One look of the sweep, and the first one of the trial.
            if sum(name.startswith("folders of uploads") for name in run.calls) > 2:
                service.uploads_listed = "as S3"

        run.trouble = trouble
        await publish(run, ID)
        assert_clean(service, ID)

    service.run(body)


@pytest.mark.parametrize("listed", ["as S3", "by prefix", "by key"])
def test_an_upload_of_a_dead_run_is_completed_by_nobody(
    service: Service, listed: Literal["as S3", "by prefix", "by key"]
) -> None:
    async def body() -> None:
        service.uploads_listed = listed
        dead = Run(service)
        completes = f"complete p/{ID}/manifest.json"
        dead.trouble = lambda *_: "refused" if completes in dead.calls else None
        with suppress(DestinationError):
            await publish(dead, ID)
        assert service.uploading == [f"p/{ID}/manifest.json"]
        await anyio.sleep(LEASE_SECONDS + 1)
        await publish(Run(service), LATER_ID)
        assert_clean(service, LATER_ID)

    service.run(body)


def test_a_snapshot_whose_manifest_a_listing_leaves_out_keeps_its_files(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        await publish(Run(service), ID)
        service.left_out = {f"p/{ID}/manifest.json"}
        await publish(Run(service), LATER_ID)
        assert_clean(service, ID, LATER_ID)

    service.run(body)
    assert f"the service does not list p/{ID}/manifest.json, which is there" in caplog.text


def test_the_first_snapshot_is_found_on_a_service_that_lists_by_folder(service: Service) -> None:
    async def body() -> None:
        service.objects_listed = "beyond"
        await publish(Run(service), ID)
        assert_clean(service, ID)
        async with Run(service).open() as bucket:
            assert await contents(bucket, "p/") == {ID: {name: len(data) for name, data in FILES.items()}}

    service.run(body)


def test_a_service_that_does_not_list_what_was_written_is_refused(service: Service) -> None:
    async def body() -> None:
        service.objects_listed = "never"
        with pytest.raises(DestinationError, match=r"can't publish in s3://census/p.*does not list what was"):
            await publish(Run(service), ID)
        assert not service.objects
        assert not service.uploading

    service.run(body)


def test_litter_of_dead_runs_is_swept_and_nothing_else(service: Service) -> None:
    async def body() -> None:
        await publish(Run(service), ID)
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
        async with Run(service).open() as bucket:
            for key in ("p/notes.txt", f"p/{LATER_ID}/manifest.json", f"pp/{LATER_ID}/manifest.json"):
                await bucket.begin(key)
        before = set(service.objects)
        async with store(Run(service)) as entered:
            assert before < set(service.objects)
            await entered.sweep()
            assert before - set(service.objects) == litter
            assert service.uploading == ["p/notes.txt", f"pp/{LATER_ID}/manifest.json"]

    service.run(body)


def test_a_removal_that_is_cut_off_at_any_call_leaves_a_snapshot_whole_or_none(service: Service) -> None:
    async def remove(run: Run) -> None:
        async with store(run) as entered:
            await entered.remove(ID)

    async def body() -> None:
        await publish(Run(service), ID)
        # Of a later version, and listed before the manifest.
        service.write(f"p/{ID}/accounts.ndjson", b"a\n")
        before = service.copy()
        await remove(undisturbed := Run(service))
        assert seen(service) == {}
        service.hold(before)
        async for moment, name, run in moments(service, undisturbed, every=True):
            run.trouble = partial(happens, "refused", moment, sys.maxsize)
            with suppress(DestinationError):
                await remove(run)
            assert seen(service) in ({}, {ID: {**FILES, "accounts.ndjson": b"a\n"}}), name

    service.run(body)


def test_an_id_that_is_there_already_is_refused(service: Service) -> None:
    async def body() -> None:
        await publish(Run(service), ID)
        with pytest.raises(DestinationError, match="there is a snapshot of this id already"):
            await publish(Run(service), ID)
        assert_clean(service, ID)

    service.run(body)


def test_latest_never_goes_back(service: Service) -> None:
    async def body() -> None:
        for snapshot_id, expected in ((ID, ID), (LATER_ID, LATER_ID), (EARLIER_ID, LATER_ID)):
            await publish(Run(service), snapshot_id)
            assert latest(service) == expected
        assert_clean(service, ID, LATER_ID, EARLIER_ID)

    service.run(body)


@pytest.mark.parametrize("content", [None, b"{", b'{"snapshot_id":"20261121T020000Z-000000"}'])
def test_latest_is_put_right(service: Service, content: bytes | None) -> None:
    async def body() -> None:
        await publish(Run(service), LATER_ID)
        if content is None:
            del service.objects["p/latest.json"]
        else:
            service.write("p/latest.json", content)
        await publish(Run(service), EARLIER_ID)
        assert latest(service) == LATER_ID

    service.run(body)


def test_latest_that_someone_else_renews_meanwhile_is_not_overwritten(service: Service) -> None:
    async def body() -> None:
        await publish(Run(service), EARLIER_ID)
        run = Run(service)

        def trouble(_: int, name: str) -> None:
            # A run that was taken for dead, between its reading and its writing.
            if name == "put p/latest.json" and LATER_ID not in seen(service):
                for file, content in FILES.items():
                    service.write(f"p/{LATER_ID}/{file}", content)
                service.write("p/latest.json", dumps({"snapshot_id": LATER_ID}))

        run.trouble = trouble
        await publish(run, ID)
        assert latest(service) == LATER_ID

    service.run(body)


def test_a_manifest_that_cant_be_read_ends_a_removal_in_one_sentence(service: Service) -> None:
    async def body() -> None:
        for snapshot_id in (EARLIER_ID, ID, LATER_ID):
            await publish(Run(service), snapshot_id)
        run = Run(service)
        run.trouble = lambda _, name: "refused" if name.startswith("get") and ID in name else None
        with pytest.raises(DestinationError, match="access is denied"):
            await prune_repository(store(run), Keep(last=1))
        assert [*seen(service)] == [EARLIER_ID, ID, LATER_ID]

    service.run(body)


@pytest.mark.parametrize("below", ["", "/shards", "/a/b"])
def test_nothing_is_published_in_a_snapshot(service: Service, below: str) -> None:
    async def body() -> None:
        await publish(Run(service), ID)
        before = dict(service.objects)
        with pytest.raises(SettingsError, match=f"is, or lies in, the snapshot {ID}"):
            async with BucketStore(Run(service).open, f"{PLACE}/{ID}{below}"):
                pass
        assert service.objects == before
        # A folder that is only called like one is any folder.
        async with BucketStore(Run(service).open, f"{PLACE}/{LATER_ID}{below}"):
            pass

    service.run(body)


def test_what_is_cancelled_once_it_is_published_is_the_latest_all_the_same(service: Service) -> None:
    async def body() -> None:
        await publish(Run(service), EARLIER_ID)
        run = Run(service)
        with anyio.CancelScope() as scope:
            async with store(run) as entered:
                draft = await entered.draft(ID)
                await write(draft)

                def cancel(_: int, name: str) -> None:
                    if draft.published and not scope.cancel_called:
                        scope.cancel()

                run.trouble = cancel
                await commit(draft, FILES["manifest.json"])
        assert scope.cancelled_caught
        assert draft.published
        assert latest(service) == ID

    service.run(body)


@pytest.mark.parametrize(("trouble", "why"), [("refused", "access is denied"), ("hangs", "no reply within")])
def test_who_is_cancelled_before_the_latest_is_renewed_is_told(
    service: Service, caplog: pytest.LogCaptureFixture, trouble: str, why: str
) -> None:
    async def body() -> None:
        await publish(Run(service), EARLIER_ID)
        run = Run(service)
        with anyio.CancelScope() as scope:
            async with store(run) as entered:
                draft = await entered.draft(ID)
                await write(draft)

                def cancel(_: int, name: str) -> str | None:
                    if not draft.published:
                        return None
                    scope.cancel()
                    return trouble if "latest.json" in name else None

                run.trouble = cancel
                await commit(draft, FILES["manifest.json"])
        assert scope.cancelled_caught
        assert draft.published
        assert latest(service) == EARLIER_ID
        assert caplog.text.count(f"{LATEST_NAME} may still name the snapshot before it: ") == 1
        assert why in caplog.text

    service.run(body)


@pytest.mark.parametrize("trouble", [None, "refused", "hangs"])
def test_who_is_cancelled_while_the_snapshot_is_published_renews_the_latest_or_is_told(
    service: Service, caplog: pytest.LogCaptureFixture, trouble: str | None
) -> None:
    async def body() -> None:
        await publish(Run(service), EARLIER_ID)
        run = Run(service)
        with anyio.CancelScope() as scope:

            def cancel(_: int, name: str) -> str | None:
                if name == f"complete p/{ID}/manifest.json":
                    scope.cancel()
                return trouble if "latest.json" in name else None

            run.trouble = cancel
            await publish(run, ID)
        assert scope.cancelled_caught
        assert seen(service).keys() == {EARLIER_ID, ID}
        assert latest(service) == (EARLIER_ID if trouble else ID)
        assert caplog.text.count(f"{LATEST_NAME} may still name the snapshot before it: ") == bool(trouble)

    service.run(body)


@pytest.mark.parametrize("seconds", [10, 25])
@pytest.mark.parametrize("effect", ["lost", "refused"])
def test_an_outage_in_the_commit_is_waited_for_until_it_is_known_what_is_published(
    service: Service, effect: str, seconds: int
) -> None:
    async def body() -> None:
        run = Run(service)
        until: list[float] = []

        def trouble(_: int, name: str) -> str | None:
            if name == f"complete p/{ID}/manifest.json":
                until.append(now() + seconds)
                return effect
            return "refused" if until and now() < until[0] else None

        run.trouble = trouble
        if effect == "lost":
            await publish(run, ID)
            assert_clean(service, ID)
        else:
            with pytest.raises(DestinationError, match="access is denied"):
                await publish(run, ID)
            assert not service.objects
            assert not service.uploading

    service.run(body)


@pytest.mark.parametrize("trouble", ["refused", "hangs"])
def test_who_is_cancelled_while_an_outage_is_waited_for_is_gone_soon_and_told(
    service: Service, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    async def body() -> None:
        run = Run(service)
        lost: list[str] = []
        with anyio.CancelScope() as scope:

            def fails(_: int, name: str) -> str | None:
                if name == f"complete p/{ID}/manifest.json":
                    lost.append(name)
                    scope.deadline = now() + 5
                    return "lost"
                return trouble if lost else None

            run.trouble = fails
            await publish(run, ID)
        assert scope.cancelled_caught
        assert now() - scope.deadline < 5
        assert seen(service) == {ID: FILES}

    service.run(body)
    assert f"it can't be told whether snapshot {ID} is published in s3://census/p" in caplog.text


def test_what_is_found_published_by_who_is_cancelled_in_an_outage_is_the_latest(service: Service) -> None:
    async def body() -> None:
        await publish(Run(service), EARLIER_ID)
        run = Run(service)
        with anyio.CancelScope() as scope:

            def trouble(_: int, name: str) -> str | None:
                completes = f"complete p/{ID}/manifest.json"
                if name == completes:
                    scope.deadline = now() + 5
                    return "lost"
                return "refused" if completes in run.calls and now() < scope.deadline else None

            run.trouble = trouble
            await publish(run, ID)
        assert scope.cancelled_caught
        assert_clean(service, EARLIER_ID, ID)

    service.run(body)


def test_what_only_the_last_look_finds_published_is_the_latest(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        await publish(Run(service), EARLIER_ID)
        run = Run(service)
        hangs_until = 0.0
        with anyio.CancelScope() as scope:

            def trouble(_: int, name: str) -> str | None:
                nonlocal hangs_until
                if name == f"complete p/{ID}/manifest.json":
                    # What is asked within it gets no answer, and whoever commits has no time for more.
                    hangs_until = now() + ABORT_SECONDS / 2
                    scope.cancel()
                    return "lost"
                return "hangs" if now() < hangs_until else None

            run.trouble = trouble
            await publish(run, ID)
        assert scope.cancelled_caught
        assert_clean(service, EARLIER_ID, ID)
        assert latest(service) == ID

    service.run(body)
    assert "can't be told" not in caplog.text


def test_the_lock_is_let_go_while_what_was_begun_can_not_be_cleared_up(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        with anyio.CancelScope() as scope:

            def trouble(_: int, name: str) -> str | None:
                if name == f"complete p/{ID}/pools.ndjson":
                    scope.cancel()
                    return "refused"
                return "hangs" if scope.cancel_called and ".lock" not in name else None

            run.trouble = trouble
            await publish(run, ID)
        assert "p/.lock" not in service.objects
        assert not seen(service)

    service.run(body)


def test_a_run_that_fails_has_time_to_let_go_of_the_lock(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More than the first attempt of a call has, which gets no answer.
    monkeypatch.setattr("poolcensus.storage.s3.store._LONGEST_RELEASE", 100.0)

    async def body() -> None:
        run = Run(service)
        with pytest.raises(ValueError, match="a mistake"):
            async with store(run):
                run.trouble = lambda _, name: "hangs" if name == "get p/.lock" else None
                raise ValueError("a mistake")
        assert "p/.lock" not in service.objects

    service.run(body)


@pytest.mark.parametrize("times", [1, 99])
def test_a_lock_whose_deletion_meets_a_conflict_is_let_go_or_said_to_be_left(
    service: Service, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    async def body() -> None:
        run = Run(service)
        left = ["conflict"] * times
        run.trouble = lambda _, name: left.pop() if name == "delete p/.lock" and left else None
        await publish(run, ID)
        assert seen(service) == {ID: FILES}
        assert ("p/.lock" in service.objects) == (times > 1)
        assert run.calls.count("delete p/.lock") == min(times + 1, 4)

    service.run(body)
    said = "the lock of s3://census/p is left to lapse: can't delete s3://census/p/.lock: S3 answered"
    assert (said in caplog.text) == (times > 1)


def test_a_service_that_refuses_a_manifest_which_is_not_there_is_no_other_run(service: Service) -> None:
    async def body() -> None:
        run = Run(service)
        manifest = f"p/{ID}/manifest.json"
        run.trouble = lambda _, name: "exists" if name == f"complete {manifest}" else None
        with pytest.raises(DestinationError) as caught:
            await publish(run, ID)
        assert str(caught.value) == (
            f"can't write s3://census/{manifest}: the service refuses it, as if it were there already"
            " (PreconditionFailed); choose another destination"
        )
        assert not service.objects
        assert not service.uploading

    service.run(body)
