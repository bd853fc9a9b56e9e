"""A run whose accounts are asked by workers comes to the same as one that asks them itself."""

from __future__ import annotations

import json
import logging
import platform
import re
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from itertools import count
from math import inf
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest
from anyio import to_thread

import poolcensus
from poolcensus.analysis.causes import remedy_of
from poolcensus.aws.credentials import identity, patience
from poolcensus.census import Census, spread
from poolcensus.census import api as census_api
from poolcensus.census.cluster import open_workers
from poolcensus.census.part import (
    PartFailure,
    PartMessage,
    PartResult,
    PartTask,
    decode_task,
    encode_task,
    part_failure,
)
from poolcensus.census.spread import SpreadEngine
from poolcensus.census.taking import take_part
from poolcensus.config.cluster import EngineKind
from poolcensus.config.secrets import VARIABLE, environment_of, without_secrets
from poolcensus.errors import CredentialsError, FatalError, NotPublishedError, SettingsError
from poolcensus.flow import breaker
from poolcensus.flow.breaker import Endpoint
from poolcensus.model import FailedCall, Outcome, Shard
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally
from poolcensus.scope.given import GivenListing
from poolcensus.simulator.faults import Fault, FaultKind, Injector
from poolcensus.simulator.latency import Latency
from poolcensus.snapshot.verification import verify
from poolcensus.workers import WorkerLostError, dask
from two_organizations import FOUR, ONE, THREE, TWO

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.config import Settings
    from poolcensus.model import Account
    from poolcensus.simulator.call import Call
    from poolcensus.snapshot import Snapshot
    from poolcensus.workers import Work
    from two_organizations import Two

    Start = Callable[..., Coroutine[None, None, Lab]]
    Use = Callable[["InThreads"], "InThreads"]

MIXED = {
    "suspended": 0.1,
    "scp_denied": 0.1,
    "no_role": 0.1,
    "access_denied": 0.1,
    "opt_in_disabled": 0.3,
}
_OF_THE_RUN = re.compile(
    rb'"(?:snapshot_id|collected_at|request_id)":(?:"[^"]*"|null),?|"(?:attempts|seconds)":[^,}]*,'
)


class InThreads:
    """Workers that are threads, each with a loop of its own. `spoil` fails a task, or changes its result."""

    def __init__(self, size: int, spoil: Callable[[PartTask, bytes], bytes] = lambda _, data: data) -> None:
        self.size = size
        self.tasks: list[bytes] = []
        self.most = self._here = 0
        self._spoil = spoil
        self._limiter = anyio.CapacityLimiter(size)

    async def run(self, key: str, task: bytes) -> bytes:
        assert re.fullmatch(r"[0-9TZ]+-[0-9a-f]{6}-[a-z]+-[0-9]+", key)
        self.tasks.append(task)
        self._here += 1
        self.most = max(self.most, self._here)
        try:
            data = await to_thread.run_sync(take_part, task, limiter=self._limiter)
        finally:
            self._here -= 1
        return self._spoil(decode_task(task), data)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have few accounts make several batches."""
    monkeypatch.setattr(spread, "_LEAST_IN_A_BATCH", 3)
    monkeypatch.setattr(spread, "_ENOUGH_TO_BEGIN", 10)


@pytest.fixture
def by(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Have the next runs ask their accounts by these workers."""

    def use(workers: InThreads) -> InThreads:
        @asynccontextmanager
        async def open_workers(_: Settings) -> AsyncIterator[InThreads]:
            yield workers

        monkeypatch.setattr(census_api, "open_workers", open_workers)
        return workers

    return use


def lines(snapshot: Snapshot) -> list[list[bytes]]:
    """The bytes of a snapshot's files, sorted, but for what belongs to the run."""
    return [
        sorted(_OF_THE_RUN.sub(b"", line) for line in path.read_bytes().splitlines(keepends=True))
        for path in (snapshot.pools_path, snapshot.targets_path)
    ]


@pytest.mark.parametrize("size", [1, 3])
async def test_the_files_are_those_of_a_run_without_workers(lab: Start, by: Use, size: int) -> None:
    here = await lab(accounts=60, mean_pools=6, page_size=4, seed=11, **MIXED)
    alone = await here.collect(include_ou_path=True, include_account_tags=True)
    workers = by(InThreads(size))
    found = await here.collect(include_ou_path=True, include_account_tags=True)
    here.assert_exact(found)
    assert lines(found) == lines(alone)
    assert not verify(found)
    assert len(workers.tasks) > size
    assert workers.most <= size
    one, other = found.manifest, alone.manifest
    assert (one.outcomes, one.accounts_planned, one.accounts_skipped, one.request) == (
        other.outcomes,
        other.accounts_planned,
        other.accounts_skipped,
        other.request,
    )
    # Each batch asks who its caller is.
    extra = len(workers.tasks)
    assert one.totals.requests == other.totals.requests + extra
    assert one.totals.assume_role_calls == other.totals.assume_role_calls
    assert one.totals.pages == other.totals.pages


async def test_limits_of_the_run_are_divided(lab: Start, by: Use) -> None:
    here = await lab(accounts=12)
    workers = by(InThreads(3))
    await here.collect(concurrency=100, per_region=32, shard=Shard(1, 2))
    (task, *_) = map(decode_task, workers.tasks)
    assert (task.settings.concurrency, task.settings.per_region, task.concurrent_runs) == (33, 10, 2 * 3)
    assert task.settings.shard is None


async def test_a_task_holds_no_secret(lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=4, external_id="canary-external")
    workers = by(InThreads(2))
    settings = here.settings(external_id="canary-external", notify_command="curl -H canary-token")
    monkeypatch.setenv(VARIABLE, environment_of({None: without_secrets(settings)[1]})[VARIABLE])
    async with Census(settings) as census:
        here.assert_exact(await census.collect())
    assert workers.tasks
    for task in workers.tasks:
        assert b"canary" not in task
        assert here.simulator.secret_access_key.encode() not in task


async def test_a_worker_without_the_external_id_says_what_it_lacks(lab: Start, by: Use) -> None:
    here = await lab(accounts=4, external_id="canary-external")
    by(InThreads(1))
    with pytest.raises(CredentialsError, match="A worker .* lacks .*POOLCENSUS_EXTERNAL_ID") as raised:
        await here.collect(external_id="canary-external")
    assert "canary" not in str(raised.value)
    assert not [each for each in here.dest.iterdir() if each.name[0] != "."]


async def test_its_own_external_id_is_enough(lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=4, external_id="canary-external")
    by(InThreads(1))
    monkeypatch.setenv("POOLCENSUS_EXTERNAL_ID", "canary-external")
    here.assert_exact(await here.collect())


async def test_accounts_whose_worker_is_lost_are_in_the_ledger_and_fail_the_run_no_further(
    lab: Start, by: Use
) -> None:
    here = await lab(accounts=60, mean_pools=3)
    lost: set[str] = set()

    def spoil(task: PartTask, data: bytes) -> bytes:
        if not lost:
            lost.update(each.id for each in task.accounts)
            raise WorkerLostError("the worker that had this account was lost 3 times")
        return data

    by(InThreads(2, spoil))
    snapshot = await here.collect()
    assert not verify(snapshot)
    results = list(snapshot.targets())
    assert len(results) == 60 * 3
    assert {each.account_id for each in results if each.outcome is Outcome.ERROR} == lost
    assert {each.error_code for each in results if each.account_id in lost} == {"WorkerLost"}
    assert not [each for each in snapshot.pools() if each.account_id in lost]
    with pytest.raises(NotPublishedError):
        lost.clear()
        await here.collect(strict=True)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda files: files.pop("targets.ndjson.zst"), id="a file is missing"),
        pytest.param(
            lambda files: files.update({"pools.ndjson.zst": files["pools.ndjson.zst"][:-9]}),
            id="a file is cut",
        ),
        pytest.param(lambda files: files.pop("manifest.json"), id="no manifest"),
    ],
)
async def test_what_is_damaged_on_its_way_ends_the_run(
    lab: Start, by: Use, change: Callable[[dict[str, bytes]], object]
) -> None:
    here = await lab(accounts=6, mean_pools=9)

    def spoil(_: PartTask, data: bytes) -> bytes:
        result = msgspec.msgpack.decode(data, type=PartResult)
        change(result.files)
        return msgspec.msgpack.encode(result)

    by(InThreads(2, spoil))
    with pytest.raises(FatalError, match="what a worker brought can't be used"):
        await here.collect()
    assert not [each for each in here.dest.iterdir() if each.name[0] != "."]


async def test_another_batchs_accounts_are_not_taken_for_its_own(lab: Start, by: Use) -> None:
    here = await lab(accounts=12)
    first: list[bytes] = []

    def spoil(_: PartTask, data: bytes) -> bytes:
        first.append(data)
        return first[0]

    by(InThreads(1, spoil))
    with pytest.raises(FatalError, match="was not asked for"):
        await here.collect()


async def test_accounts_that_a_worker_left_out_are_missed(lab: Start, by: Use) -> None:
    here = await lab(accounts=6)

    class Fewer(InThreads):
        async def run(self, key: str, task: bytes) -> bytes:
            decoded = decode_task(task)
            fewer = msgspec.structs.replace(decoded, accounts=decoded.accounts[1:])
            return await super().run(key, encode_task(fewer))

    by(Fewer(1))
    with pytest.raises(FatalError, match="is missing"):
        await here.collect()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"profile": "nope"}, 'Profile "nope" not found'),
        ({"accounts_from": ("organization", "/nowhere/accounts.csv")}, "/nowhere/accounts.csv"),
    ],
)
async def test_what_ends_a_worker_is_said_of_the_worker_and_is_no_mistake_of_the_caller(
    lab: Start, by: Use, change: dict[str, object], said: str
) -> None:
    here = await lab(accounts=3)

    class Elsewhere(InThreads):
        async def run(self, key: str, task: bytes) -> bytes:
            decoded = decode_task(task)
            settings = msgspec.structs.replace(decoded.settings, **change)
            return await super().run(key, encode_task(msgspec.structs.replace(decoded, settings=settings)))

    by(Elsewhere(1))
    with pytest.raises(FatalError, match=f"A worker on {platform.node()} failed: .*{said}") as raised:
        await here.collect()
    assert not isinstance(raised.value, SettingsError)


async def test_a_worker_without_room_says_where(lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=3)
    by(InThreads(1))
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with pytest.raises(FatalError, match=r"A worker on .* failed: /proc/nowhere/.*No such file.*TMPDIR"):
        await here.collect()


async def test_what_workers_log_is_logged_once(lab: Start, by: Use, caplog: pytest.LogCaptureFixture) -> None:
    here = await lab(accounts=30)
    numbers = count()

    def spoil(_: PartTask, data: bytes) -> bytes:
        result = msgspec.msgpack.decode(data, type=PartResult)
        number = next(numbers)
        told = (
            PartMessage(logging.WARNING, "the clock is wrong"),
            PartMessage(logging.WARNING, f"it is {number} s behind", f"clock of host {number // 2}"),
        )
        return msgspec.msgpack.encode(msgspec.structs.replace(result, messages=told))

    by(InThreads(1, spoil))
    await here.collect()
    assert next(numbers) >= 3
    assert [each.message for each in caplog.records if each.levelno == logging.WARNING] == [
        "the clock is wrong",
        "it is 0 s behind",
        "it is 2 s behind",
    ]


async def test_what_a_worker_has_logged_is_logged_though_its_batch_ends_in_vain(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=30, faults=("html:0",))
    identities(monkeypatch, FaultKind.HTML, good=2)

    def spoil(_: PartTask, data: bytes) -> bytes:
        result = msgspec.msgpack.decode(data, type=PartResult)
        if result.error is None:
            return data
        told = (PartMessage(logging.WARNING, "STS is asked by a proxy"),)
        return msgspec.msgpack.encode(msgspec.structs.replace(result, messages=told))

    by(InThreads(1, spoil))
    await here.collect()
    assert "STS is asked by a proxy" in caplog.messages


async def test_a_worker_names_the_host_whose_clock_is_wrong(lab: Start, by: Use) -> None:
    here = await lab(accounts=3, clock_offset=1200.0)
    handed: list[PartResult] = []

    def note(_: PartTask, data: bytes) -> bytes:
        handed.append(msgspec.msgpack.decode(data, type=PartResult))
        return data

    by(InThreads(1, note))
    await here.collect()
    (told,) = (each for result in handed for each in result.messages if each.level == logging.WARNING)
    assert told.text.startswith(f"A worker on {platform.node()}: this machine's clock is 1")
    assert platform.node() in str(told.once)


async def test_parts_side_by_side_in_one_process_hand_back_their_own_messages(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=6)
    handed: dict[str, PartResult] = {}
    both = threading.Barrier(2, timeout=20)
    read = GivenListing.accounts

    async def accounts(self: GivenListing) -> AsyncGenerator[tuple[Account, ...]]:
        # Both have begun, and neither has ended: in its loop, and in a thread of it.
        await to_thread.run_sync(both.wait)
        async with aclosing(read(self)) as batches:
            async for batch in batches:
                log = logging.getLogger("poolcensus")
                log.warning("%s are asked", len(batch))
                await to_thread.run_sync(log.warning, "%s in a thread", batch[0].id)
                yield batch
        await to_thread.run_sync(both.wait)

    def note(task: PartTask, data: bytes) -> bytes:
        handed[task.accounts[0].id] = msgspec.msgpack.decode(data, type=PartResult)
        return data

    monkeypatch.setattr(GivenListing, "accounts", accounts)
    by(InThreads(2, note))
    await here.collect()
    assert len(handed) == 2
    for first, result in handed.items():
        told = [each.text for each in result.messages if each.level == logging.WARNING]
        assert told == ["3 are asked", f"{first} in a thread"]


async def test_at_the_deadline_every_target_has_an_outcome(lab: Start, by: Use) -> None:
    here = await lab(accounts=40)

    class Hanging(InThreads):
        async def run(self, key: str, task: bytes) -> bytes:
            if self.tasks:
                self.tasks.append(task)
                await anyio.sleep_forever()
            return await super().run(key, task)

    by(Hanging(2))
    snapshot = await here.collect(deadline=3)
    assert not verify(snapshot)
    outcomes = snapshot.manifest.outcomes
    assert snapshot.manifest.totals.targets == 40 * 3
    assert outcomes.keys() <= {
        Outcome.OK,
        Outcome.EMPTY,
        Outcome.REGION_DISABLED,
        Outcome.TIMED_OUT,
        Outcome.CANCELLED,
    }
    assert outcomes[Outcome.TIMED_OUT]
    assert outcomes[Outcome.CANCELLED]


async def test_the_ledger_names_the_deadline_of_the_run_and_not_that_of_a_part(lab: Start, by: Use) -> None:
    here = await lab(accounts=12, latency=Latency.parse("100"))

    class Late(InThreads):
        async def run(self, key: str, task: bytes) -> bytes:
            decoded = decode_task(task)
            settings = msgspec.structs.replace(decoded.settings, deadline=1.5, concurrency=1)
            return await super().run(key, encode_task(msgspec.structs.replace(decoded, settings=settings)))

    by(Late(1))
    snapshot = await here.collect(deadline=60)
    late = {each.outcome: each.error_message for each in snapshot.targets() if each.error_code == "Deadline"}
    assert late == {
        Outcome.TIMED_OUT: "the run's deadline of 60 s passed while it was being read",
        Outcome.CANCELLED: "the run's deadline of 60 s passed before it was begun",
    }


async def test_a_part_whose_time_is_over_before_it_can_ask_ends_no_other(lab: Start, by: Use) -> None:
    here = await lab(accounts=80)

    class Late(InThreads):
        async def run(self, key: str, task: bytes) -> bytes:
            if self.tasks:
                return await super().run(key, task)
            decoded = decode_task(task)
            settings = msgspec.structs.replace(decoded.settings, deadline=0.001)
            return await super().run(key, encode_task(msgspec.structs.replace(decoded, settings=settings)))

    by(Late(1))
    snapshot = await here.collect(deadline=60)
    assert not verify(snapshot)
    late = [each for each in snapshot.targets() if not each.outcome.covered]
    assert 0 < len(late) < snapshot.manifest.totals.targets
    assert {(each.outcome, each.error_message) for each in late} == {
        (Outcome.CANCELLED, "the run's deadline of 60 s passed before it was begun")
    }


async def test_no_batch_is_sent_that_could_not_be_back_before_the_deadline(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=12)
    workers = by(InThreads(1))
    monkeypatch.setattr(spread, "_LEAST_TIME", 10.0)
    snapshot = await here.collect(deadline=2)
    assert not verify(snapshot)
    assert workers.tasks == []
    assert snapshot.manifest.outcomes == {Outcome.CANCELLED: 12 * 3}


async def test_a_run_that_was_stopped_goes_on_with_what_its_workers_had_brought(lab: Start, by: Use) -> None:
    here = await lab(accounts=60, mean_pools=4)
    by(InThreads(1))
    async with Census(here.settings()) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        with anyio.fail_after(60):
            while census.progress().done < 30:
                await anyio.sleep(0.005)
        group.cancel_scope.cancel()
        done = census.progress().done
    assert census.resumable
    assert done < 60 * 3
    # What was cancelled is not done.
    assert census.progress().done < 60 * 3
    before = here.calls("workspaces.DescribeWorkspacesPools")
    requests = here.simulator.stats.calls.total()
    workers = by(InThreads(2))
    snapshot = await here.collect(resume=True)
    here.assert_exact(snapshot)
    # The calls for what was taken over count too.
    made = here.calls("workspaces.DescribeWorkspacesPools") - before
    taken_over = sum(each.attempts for each in snapshot.targets()) - made
    assert taken_over >= 30
    calls = here.simulator.stats.calls.total() - requests
    assert snapshot.manifest.totals.requests == calls + taken_over
    assert not verify(snapshot)
    asked = sum(len(decode_task(task).accounts) for task in workers.tasks)
    assert asked < 60
    assert before < here.calls("workspaces.DescribeWorkspacesPools")


@pytest.mark.parametrize(("deadline", "patience"), [(None, 60.0), (5, 5.0), (3600, 60.0)])
async def test_nobody_waits_for_a_first_worker_beyond_the_deadline(
    monkeypatch: pytest.MonkeyPatch, deadline: float | None, patience: float
) -> None:
    waited: list[object] = []

    @asynccontextmanager
    async def dask_workers(_: Work, **options: object) -> AsyncIterator[InThreads]:
        waited.append(options["patience"])
        yield InThreads(1)

    monkeypatch.setattr(dask, "dask_workers", dask_workers)
    async with open_workers(poolcensus.Settings(engine=EngineKind.DASK, deadline=deadline)):
        assert waited == [patience]


async def test_several_organizations_are_spread_over_the_same_workers(two: Two, by: Use) -> None:
    async with poolcensus.Census(two.settings()) as census:
        alone = await census.collect()
    # One that waits behind another's would be blamed for the end of its worker.
    workers = by(InThreads(1))
    async with poolcensus.Census(two.settings()) as census:
        found = await census.collect()
    assert lines(found) == lines(alone)
    assert [each.accounts_planned for each in found.manifest.organizations] == [3, 2]
    assert (len(workers.tasks), workers.most) == (2, 1)


async def test_a_stream_is_refused(lab: Start) -> None:
    here = await lab(accounts=2)
    async with Census(here.settings(engine="dask")) as census:
        with pytest.raises(SettingsError, match="collect"):
            async for _ in census.pools():
                pass


async def test_workers_with_credentials_of_another_account_are_told_apart(lab: Start, by: Use) -> None:
    here = await lab(accounts=6)

    def spoil(_: PartTask, data: bytes) -> bytes:
        result = msgspec.msgpack.decode(data, type=PartResult)
        manifest = result.files["manifest.json"].replace(
            b'"account": "000000000001"', b'"account": "000000000002"'
        )
        return msgspec.msgpack.encode(
            msgspec.structs.replace(result, files={**result.files, "manifest.json": manifest})
        )

    by(InThreads(1, spoil))
    with pytest.raises(CredentialsError, match="as account 000000000002, and this run as"):
        await here.collect()


class Absence:
    """A region that has its connections reset from the second batch on, for some seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, region: str, seconds: float) -> None:
        self._region = region
        self._seconds = seconds
        self._batches = -1
        self._until = 0.0
        monkeypatch.setattr(Injector, "choose", lambda _, call, page: self._choose(call))

    def _choose(self, call: Call) -> Fault | None:
        self._batches += call.operation == "GetCallerIdentity"
        if self._batches < 2 or (call.service, call.region) != ("workspaces", self._region):
            return None
        self._until = self._until or time.monotonic() + self._seconds
        return Fault(FaultKind.RESET) if time.monotonic() < self._until else None


async def test_a_region_that_has_answered_another_batch_is_waited_for(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=40, faults=("html:0",))
    Absence(monkeypatch, "eu-west-1", 1.5)
    monkeypatch.setattr(breaker, "_PATIENCE_WITH_THE_UNKNOWN", 0.0)
    workers = by(InThreads(1))
    here.assert_exact(await here.collect())
    regions = here.simulator.world.config.regions
    assert len(workers.tasks) > 2
    for task in map(decode_task, workers.tasks[1:]):
        assert task.answered >= {Endpoint(region, "workspaces") for region in regions}


async def test_a_region_that_stays_away_is_waited_for_by_one_batch(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=40, faults=("html:0",))
    Absence(monkeypatch, "eu-west-1", inf)
    monkeypatch.setattr(breaker, "_PATIENCE_WITH_THE_UNKNOWN", 0.0)
    monkeypatch.setattr(breaker, "PATIENCE", 0.5)
    workers = by(InThreads(1))
    snapshot = await here.collect(give_up_region_after=1)
    away = {each.region for each in snapshot.targets() if each.outcome is Outcome.UNREACHABLE}
    assert away == {"eu-west-1"}
    known = [Endpoint("eu-west-1", "workspaces") in decode_task(task).answered for task in workers.tasks]
    assert known[:3] == [False, True, False]
    assert not any(known[2:])


async def test_what_a_batch_is_told_to_answer_and_has_not_called_is_not_told_on(lab: Start, by: Use) -> None:
    here = await lab(accounts=3)
    elsewhere = Endpoint("sa-east-1", "workspaces")
    handed: list[PartResult] = []

    class Told(InThreads):
        async def run(self, key: str, task: bytes) -> bytes:
            told = msgspec.structs.replace(decode_task(task), answered=frozenset({elsewhere}))
            return await super().run(key, encode_task(told))

    def note(_: PartTask, data: bytes) -> bytes:
        handed.append(msgspec.msgpack.decode(data, type=PartResult))
        return data

    by(Told(1, note))
    await here.collect()
    (result,) = handed
    called = {Endpoint(region, "workspaces") for region in here.simulator.world.config.regions}
    assert result.answered >= called
    assert elsewhere not in result.answered | result.silent


async def test_what_one_batch_finds_silent_is_taken_from_what_all_have_heard(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=30)
    monkeypatch.setattr(spread, "_MOST_IN_A_BATCH", 5)
    one, other = Endpoint("eu-west-1", "workspaces"), Endpoint("sa-east-1", "workspaces")
    news = iter(({"answered": {one}}, {"answered": {other}}, {"silent": {one}}))

    def spoil(_: PartTask, data: bytes) -> bytes:
        result = msgspec.msgpack.decode(data, type=PartResult)
        found = {"answered": (), "silent": (), **next(news, {})}
        return msgspec.msgpack.encode(
            msgspec.structs.replace(result, **{name: frozenset(each) for name, each in found.items()})
        )

    workers = by(InThreads(1, spoil))
    await here.collect()
    told = [decode_task(task).answered for task in workers.tasks]
    assert told[:4] == [set(), {one}, {one, other}, {other}]
    assert len(told) > 4
    assert set(told[4:]) == {frozenset({other})}


def identities(monkeypatch: pytest.MonkeyPatch, kind: FaultKind, *, good: int, bad: float = inf) -> None:
    """Have GetCallerIdentity fail so often, after so many good calls, of which the run itself makes one."""
    asked: list[Call] = []

    def choose(_: Injector, call: Call, page: object) -> Fault | None:
        if call.operation != "GetCallerIdentity":
            return None
        asked.append(call)
        return Fault(kind) if good < len(asked) <= good + bad else None

    monkeypatch.setattr(Injector, "choose", choose)
    monkeypatch.setattr(identity, "_PATIENCE", msgspec.structs.replace(identity._PATIENCE, max_attempts=1))


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        pytest.param(
            FaultKind.EXPIRED,
            (
                {"role": Outcome.EXPIRED, "own": Outcome.EXPIRED},
                "the caller's credentials have expired and could not be renewed: ",
                "Run it again with new credentials",
            ),
            id="expired",
        ),
        pytest.param(
            FaultKind.UNRECOGNIZED,
            (
                {"role": Outcome.ASSUME_ROLE_FAILED, "own": Outcome.ERROR},
                "Could not assume arn:aws:iam::000000000002:role/PoolCensusReader: ",
                "STS no longer accepts the credentials",
            ),
            id="refused",
        ),
        pytest.param(
            FaultKind.HTML,
            (
                {"role": Outcome.ASSUME_ROLE_FAILED, "own": Outcome.BAD_RESPONSE},
                "Could not assume arn:aws:iam::000000000002:role/PoolCensusReader: STS sent a reply without",
                "Check for a proxy",
            ),
            id="no answer",
        ),
    ],
)
async def test_a_worker_that_can_not_say_who_calls_costs_its_accounts_what_that_costs_without_workers(
    lab: Start,
    by: Use,
    monkeypatch: pytest.MonkeyPatch,
    kind: FaultKind,
    wanted: tuple[dict[str, Outcome], str, str],
) -> None:
    here = await lab(accounts=40, faults=("html:0",))
    file = here.dest.with_name("accounts.csv")
    # The caller's own account, which needs no role, is in the last batch.
    ids = (f"{number:012}" for number in range(40, 0, -1))
    file.write_text("\n".join(("account_id", *ids)), encoding="utf-8")
    identities(monkeypatch, kind, good=2)
    workers = by(InThreads(1))
    snapshot = await here.collect(accounts_from=str(file))
    assert not verify(snapshot)
    begun = {each.id for each in decode_task(workers.tasks[0]).accounts}
    failed = [each for each in snapshot.targets() if each.account_id not in begun]
    totals = snapshot.manifest.totals
    assert totals.covered == len(begun) * 3
    # Those of the batches that failed, too.
    assert totals.requests == here.simulator.stats.calls.total()
    assert len(failed) == (40 - len(begun)) * 3 > 0
    found = {"own" if each.account_id == "000000000001" else "role": each.outcome for each in failed}
    outcomes, message, advice = wanted
    assert found == outcomes
    second = next(each for each in failed if each.account_id == "000000000002")
    assert str(second.error_message).startswith(message)
    assert remedy_of(FailureTally(WORKSPACES_POOLS, failed).groups()[0]).startswith(advice)


@pytest.mark.parametrize("size", [1, 2])
async def test_an_sts_that_stays_silent_is_waited_for_by_one_batch_of_each_worker(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    here = await lab(accounts=60, faults=("html:0",))
    identities(monkeypatch, FaultKind.RESET, good=1 + size)
    monkeypatch.setattr(patience, "PATIENCE", 0.0)
    monkeypatch.setattr(spread, "PATIENCE", 0.0)
    monkeypatch.setattr(spread, "_MOST_IN_A_BATCH", 5)
    workers = by(InThreads(size))
    snapshot = await here.collect()
    assert not verify(snapshot)
    assert snapshot.manifest.totals.covered
    failed = [each for each in snapshot.targets() if not each.outcome.covered]
    # The caller's own account needs no role, and is in whichever batch comes first.
    assert {each.outcome for each in failed if each.account_id != "000000000001"} == {
        Outcome.ASSUME_ROLE_FAILED
    }
    # Some are sent before the last of the workers has waited, and not all that there would be.
    assert len(workers.tasks) < 60 / 5


def in_vain(worker: str, seconds: float = breaker.PATIENCE) -> bytes:
    """What a worker hands back that STS has not answered."""
    failed_call = FailedCall(Outcome.UNREACHABLE, "ConnectTimeout", "no connection", "request-1")
    failure = PartFailure("STS is silent", "other", worker, seconds, failed_call)
    return msgspec.msgpack.encode(PartResult({}, failure, ()))


class OneAfterTheOther(InThreads):
    """Two workers that run one task at a time. `failures` has what comes of some, by their numbers."""

    def __init__(self, failures: Mapping[int, bytes]) -> None:
        super().__init__(2)
        self._failures = failures
        self._lock = anyio.Lock()
        self._taken = count(1)

    async def run(self, key: str, task: bytes) -> bytes:
        async with self._lock:
            number = next(self._taken)
            if number not in self._failures:
                return await super().run(key, task)
            self.tasks.append(task)
            return self._failures[number]


@pytest.mark.parametrize(
    ("failures", "all_sent"),
    [
        pytest.param({2: in_vain("a"), 3: in_vain("a"), 4: in_vain("a")}, True, id="one worker"),
        pytest.param({2: in_vain("a"), 4: in_vain("b")}, True, id="not in a row"),
        pytest.param({2: in_vain("a", 59.0), 3: in_vain("b", 59.0)}, True, id="waited less"),
        pytest.param({2: in_vain("a"), 3: in_vain("b")}, False, id="each worker"),
    ],
)
async def test_accounts_are_given_up_once_each_worker_has_waited_in_vain(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch, failures: dict[int, bytes], all_sent: bool
) -> None:
    here = await lab(accounts=60)
    monkeypatch.setattr(spread, "_LEAST_IN_A_BATCH", 5)
    monkeypatch.setattr(spread, "_MOST_IN_A_BATCH", 5)
    workers = by(OneAfterTheOther(failures))
    snapshot = await here.collect()
    assert not verify(snapshot)
    sent = [len(decode_task(task).accounts) for task in workers.tasks]
    assert set(sent) == {5}
    assert (len(sent) == 12) == all_sent
    failed = [each for each in snapshot.targets() if each.outcome is Outcome.ASSUME_ROLE_FAILED]
    assert {each.request_id for each in failed} == {"request-1"}
    ended = {each.account_id for each in failed}
    assert len(ended) == 60 - 5 * (len(sent) - len(failures))


# By then the first batches have ended on any machine: a shorter deadline would come before them on some.
@pytest.mark.long
async def test_a_deadline_that_passes_while_accounts_are_given_up_leaves_none_of_them_out(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=60)
    monkeypatch.setattr(spread, "_LEAST_IN_A_BATCH", 5)
    monkeypatch.setattr(spread, "_MOST_IN_A_BATCH", 5)
    given_up: list[int] = []

    async def hang(_: SpreadEngine, batch: tuple[Account, ...], failed: FailedCall) -> None:
        given_up.append(len(batch))
        await anyio.sleep_forever()

    monkeypatch.setattr(SpreadEngine, "_end_in_vain", hang)
    by(OneAfterTheOther({2: in_vain("a"), 3: in_vain("b")}))
    snapshot = await here.collect(deadline=15)
    assert not verify(snapshot)
    assert max(given_up) > 5
    found = {(each.account_id, each.region) for each in snapshot.targets()}
    assert len(found) == snapshot.manifest.totals.targets == 60 * 3


async def test_a_worker_tells_how_long_it_has_waited_for_sts(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=60, faults=("html:0",))
    identities(monkeypatch, FaultKind.RESET, good=2)
    for each in (patience, spread):
        monkeypatch.setattr(each, "PATIENCE", 0.5)
    failures: list[PartFailure] = []

    def note(_: PartTask, data: bytes) -> bytes:
        result = msgspec.msgpack.decode(data, type=PartResult)
        if result.error is not None:
            failures.append(result.error)
        return data

    by(InThreads(1, note))
    await here.collect()
    (failure,) = failures
    assert failure.seconds >= 0.5


def test_each_thread_of_a_worker_has_a_name_of_its_own() -> None:
    both = threading.Barrier(2, timeout=20)

    def name(_: int) -> str:
        both.wait()
        first, second = (part_failure(FatalError("no reply"), 60.0).worker for _ in range(2))
        both.wait()
        assert first == second
        return first

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(name, range(2)))) == 2


async def test_no_batch_is_sent_without_accounts_once_sts_is_back(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=30, faults=("html:0",))
    identities(monkeypatch, FaultKind.RESET, good=2, bad=1)
    monkeypatch.setattr(patience, "PATIENCE", 0.0)
    monkeypatch.setattr(spread, "PATIENCE", 0.0)
    monkeypatch.setattr(spread, "_MOST_IN_A_BATCH", 5)
    workers = by(InThreads(1))
    snapshot = await here.collect()
    assert not verify(snapshot)
    assert [len(decode_task(task).accounts) for task in workers.tasks] == [5, 5]
    assert snapshot.manifest.totals.targets == 30 * 3


async def test_a_hub_role_that_is_refused_in_mid_run_costs_what_it_costs_without_workers(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=40, faults=("html:0",))
    hub = "000000000002"
    assumed: list[Call] = []

    def choose(_: Injector, call: Call, page: object) -> Fault | None:
        if call.operation != "AssumeRole" or call.role_account != hub or call.account != "000000000001":
            return None
        assumed.append(call)
        # The first batch has the account of the hub itself, and its role.
        return Fault(FaultKind.DENIED) if len(assumed) > 2 else None

    monkeypatch.setattr(Injector, "choose", choose)
    workers = by(InThreads(1))
    snapshot = await here.collect(role_chain=f"arn:aws:iam::{hub}:role/PoolCensusReader")
    assert not verify(snapshot)
    begun = {each.id for each in decode_task(workers.tasks[0]).accounts}
    failed = [each for each in snapshot.targets() if each.account_id not in begun]
    totals = snapshot.manifest.totals
    assert totals.covered == len(begun) * 3
    assert totals.requests == here.simulator.stats.calls.total()
    assert len(failed) == (40 - len(begun)) * 3 > 0
    assert {each.outcome for each in failed} == {Outcome.EXPIRED}
    assert f"Could not assume arn:aws:iam::{hub}:role/PoolCensusReader" in str(failed[0].error_message)


async def test_a_credential_process_that_fails_in_mid_run_costs_what_it_costs_without_workers(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=40)
    folder = here.dest.parent
    keys = {
        "Version": 1,
        "AccessKeyId": here.simulator.access_key_id,
        "SecretAccessKey": here.simulator.secret_access_key,
    }
    # It gives them to the run, and to the first batch.
    (folder / "1").write_text(json.dumps(keys), encoding="utf-8")
    (folder / "2").write_text(json.dumps(keys), encoding="utf-8")
    once = f"sh -c 'cd {folder}; for f in 1 2; do if test -e $f; then cat $f; rm $f; exit; fi; done; exit 7'"
    (folder / "config").write_text(f"[profile cp]\ncredential_process = {once}\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    workers = by(InThreads(1))
    snapshot = await here.collect(profile="cp")
    begun = {each.id for each in decode_task(workers.tasks[0]).accounts}
    failed = [each for each in snapshot.targets() if each.account_id not in begun]
    assert snapshot.manifest.totals.covered == len(begun) * 3
    assert {(each.outcome, each.error_code) for each in failed} == {
        (Outcome.EXPIRED, "CredentialsNotRenewed")
    }
    assert "exited with status 7" in str(failed[0].error_message)


@pytest.mark.parametrize(("kind", "good"), [(FaultKind.EXPIRED, 1), (FaultKind.DENIED, 2)])
async def test_a_run_ends_where_its_first_worker_can_not_say_who_calls_and_where_a_policy_denies_that(
    lab: Start, by: Use, monkeypatch: pytest.MonkeyPatch, kind: FaultKind, good: int
) -> None:
    here = await lab(accounts=40, faults=("html:0",))
    identities(monkeypatch, kind, good=good)
    by(InThreads(1))
    with pytest.raises(CredentialsError, match="A worker on .* failed: AWS "):
        await here.collect()


async def test_accounts_keep_regions_of_their_own(lab: Start, by: Use, tmp_path: Path) -> None:
    here = await lab(accounts=4, regions=("us-east-1", "eu-west-1"))
    file = tmp_path / "accounts.csv"
    file.write_text("account_id,regions\n000000000002,eu-west-1\n000000000003,\n", encoding="utf-8")
    by(InThreads(2))
    found = await here.collect(accounts_from=str(file), regions="us-east-1")
    assert {(each.account_id, each.region) for each in found.targets()} == {
        ("000000000002", "eu-west-1"),
        ("000000000003", "us-east-1"),
    }


async def test_regions_of_the_run_that_one_organization_lacks_end_no_part(
    two: Two, by: Use, tmp_path: Path
) -> None:
    file = tmp_path / "gov.csv"
    file.write_text(f"account_id,regions\n{FOUR},us-gov-west-1\n", encoding="utf-8")
    first, second = two.tables()
    del first["regions"], second["regions"], second["accounts"]
    second["accounts_from"] = str(file)
    by(InThreads(2))
    async with poolcensus.Census(two.settings(organization=[first, second], regions="us-east-1")) as census:
        found = await census.collect()
    assert {(each.account_id, each.region) for each in found.targets()} == {
        *((account_id, "us-east-1") for account_id in (ONE, TWO, THREE)),
        (FOUR, "us-gov-west-1"),
    }
