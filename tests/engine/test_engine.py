"""The engine with scripted parts: targets whose time is over, deadlines, full sinks, and more."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import anyio
import anyio.lowlevel
import pytest

from poolcensus.aws.call import CallCounts
from poolcensus.engine.deadlines import Deadline
from poolcensus.engine.engine import Engine
from poolcensus.engine.interfaces import EngineLimits
from poolcensus.flow.breaker import CircuitBreakers
from poolcensus.flow.fitting import FittedConcurrency
from poolcensus.flow.windows import Pauses
from poolcensus.format.times import utc_now
from poolcensus.model import Account, Caller, Outcome, Page, Target, TargetResult
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.regions import RegionChoice
from virtual_time import on_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from poolcensus.aws.call import CallWatch
    from poolcensus.aws.session import Aws
    from poolcensus.scope.accounts import AccountListing

    Read = Callable[[], Awaitable[Page | None]]

pytestmark = pytest.mark.usefixtures("no_task_left")

ON, OPT_IN = "us-east-1", "af-south-1"
ONE, TWO = "000000000001", "000000000002"
JUST_ONE = RegionChoice((ON,), ())


async def nothing(_: object = None) -> None:
    await anyio.lowlevel.checkpoint()


async def for_ever(_: object = None) -> None:
    await anyio.sleep_forever()


class PlayedPages:
    """A target of so many calls."""

    def __init__(self, read: Read, calls: int) -> None:
        self._read = read
        self._left = calls
        self.ended = False

    async def next(self) -> Page | None:
        page = await self._read()
        self._left -= 1
        self.ended = not self._left
        return page


class Played:
    """Scripted parts of an engine: accounts, how each of them is read, and a sink.

    The account `TWO` shows the time: its target hangs, and so it ends when all targets that were opened at
    the same time are overdue.
    """

    def __init__(self, reads: dict[str, Read], regions: RegionChoice = JUST_ONE) -> None:
        self.reads = reads
        self.regions = regions
        self.skipped: tuple[object, ...] = ()
        self.pauses = Pauses()
        self.breakers = CircuitBreakers(accounts=3)
        self.work = self.breakers.work
        self.counts = CallCounts()
        self.in_flight = 0
        self.caller = Caller("999999999999", "arn:aws:iam::999999999999:user/u", "aws")
        self.results: list[TargetResult] = []
        self.done_calls: list[str] = []
        self.calls_each = 1
        self.slow_rooms: list[Callable[[], Awaitable[object]]] = []
        self.on_page: Callable[[], None] = lambda: None
        self.on_done: Callable[[], None] = lambda: None
        self.status: Callable[[], Awaitable[None]] = nothing
        self.restored: Callable[[Target], Awaitable[TargetResult | None]] | None = None
        self.overdue = anyio.Event()

    @property
    def client(self) -> Played:
        return self

    broker = reader = region_status = client
    operation = WORKSPACES_POOLS

    async def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        for each in self.reads:
            yield (Account(each),)

    def source(self, account_id: str) -> Played:
        return self

    async def get(self) -> None:
        await nothing()

    def forget(self, account_id: str) -> None:
        pass

    async def ask_anything(self) -> None:
        await nothing()

    async def disabled(self, account_id: str) -> frozenset[str] | None:
        await self.status()
        return None

    def may_be_disabled(self, account_id: str, region: str) -> bool:
        return True

    def open(self, target: Target, source: object, watch: CallWatch) -> PlayedPages:
        watch.attempts += 1
        return PlayedPages(self.reads[target.account.id], self.calls_each)

    def full(self) -> bool:
        return bool(self.slow_rooms)

    async def room(self) -> None:
        if self.slow_rooms:
            await self.slow_rooms.pop()()

    def page(self, page: Page) -> None:
        self.on_page()

    def done(self, result: TargetResult, target: Target) -> None:
        assert (result.account_id, result.region) == (target.account.id, target.region)
        self.done_calls.append(result.account_id)
        if result.account_id == TWO:
            self.overdue.set()
        self.on_done()
        self.results.append(result)

    def has(self, target: Target) -> bool:
        return target.account.id == ONE

    async def restore(self, target: Target) -> TargetResult | None:
        if target.account.id == ONE and self.restored is not None:
            return await self.restored(target)
        return None

    def engine(self, *, timeout: float, concurrency: int, deadline: float | Deadline | None = None) -> Engine:
        ends = deadline if isinstance(deadline, Deadline) else Deadline.after(deadline)
        return Engine(
            aws=cast("Aws", self),
            listing=cast("AccountListing", self),
            regions=self.regions,
            sink=self,
            limits=EngineLimits(concurrency, 8, 8, timeout, ends),
            former=self if self.restored is not None else None,
        )

    async def run(self, *, timeout: float = 0.05, concurrency: int = 8) -> dict[str, TargetResult]:  # noqa: ASYNC109
        engine = self.engine(timeout=timeout, concurrency=concurrency)
        with anyio.fail_after(20):
            await engine.run()
        expected = sorted([*self.reads] * len(self.regions.regions))
        assert sorted(self.done_calls) == expected, "a result was handed over more than once"
        assert engine.counts.outcomes.total() == len(self.results) == len(expected)
        return {each.account_id: each for each in self.results}


async def one_page() -> Page | None:
    return Page(Target(Account(ONE), ON), 1, utc_now(), ({"PoolId": "p"},))


async def test_the_time_of_a_slow_destination_is_not_the_targets() -> None:
    played = Played({ONE: one_page, TWO: for_ever})
    played.slow_rooms = [played.overdue.wait]
    results = await played.run()
    assert (results[ONE].outcome, results[ONE].pools) == (Outcome.OK, 1)
    assert results[TWO].outcome is Outcome.TIMED_OUT


async def test_no_call_is_made_while_the_sink_is_full() -> None:
    """This holds for a target's first call, and for one after a page that has filled the sink."""
    steps: list[str] = []

    async def read() -> Page | None:
        steps.append("call")
        return await one_page()

    async def room() -> None:
        await anyio.lowlevel.checkpoint()
        steps.append("room")

    played = Played({ONE: read})
    played.calls_each = 3
    played.slow_rooms = [room]
    played.on_page = lambda: played.slow_rooms.append(room)
    await played.run(timeout=10)
    assert steps == ["room", "call", "room", "call", "room", "call"]


@pytest.mark.parametrize("fits", [True, False])
async def test_all_places_are_used_where_the_services_take_their_time(
    monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    """As soon as it has turned out that they do: the run begins with few."""
    regions = tuple(f"region-{number}" for number in range(32))
    accounts = [f"{number:012d}" for number in range(1, 101)]
    expected, reached = (256, anyio.Event()) if fits else (32, anyio.Event())
    if not fits:
        monkeypatch.setattr(FittedConcurrency, "look", lambda *_, **__: False)

    async def read() -> Page | None:
        played.in_flight += 1
        if played.in_flight == expected:
            reached.set()
        await anyio.sleep_forever()
        return None

    played = Played(dict.fromkeys(accounts, read), RegionChoice(regions, ()))
    engine = played.engine(timeout=100, concurrency=256)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.run)
        with anyio.fail_after(20):
            await reached.wait()
            await anyio.wait_all_tasks_blocked()
        assert played.in_flight == expected
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("put", [4, 24, 64, 99])
def test_a_run_that_is_cancelled_after_its_deadline_counts_every_target(put: int) -> None:
    accounts = [f"{number:012d}" for number in range(1, 101)]
    played = Played(dict.fromkeys(accounts, for_ever))

    async def main() -> None:
        engine = played.engine(timeout=100, concurrency=4, deadline=0.05)
        waiting = anyio.Event()

        async def room() -> None:
            waiting.set()
            await anyio.sleep_forever()

        def fill() -> None:
            if len(played.done_calls) >= put:
                played.slow_rooms.append(room)

        # After the deadline has ended the open targets, the sink has no room for all of the others.
        played.on_done = fill
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(engine.run)
            with anyio.fail_after(20):
                await waiting.wait()
            tasks.cancel_scope.cancel()
        assert len(played.results) == put
        assert engine.counts.outcomes == {Outcome.TIMED_OUT: 4, Outcome.CANCELLED: 96}

    # On a virtual clock, the deadline passes after the open targets have made their calls, on any machine.
    on_virtual_time(main)


async def test_a_target_that_only_waited_when_the_deadline_passed_was_not_begun() -> None:
    played = Played({ONE: for_ever, TWO: for_ever})
    played.slow_rooms = [anyio.sleep_forever]
    with anyio.fail_after(20):
        await played.engine(timeout=100, concurrency=8, deadline=0.05).run()
    results = {each.account_id: each for each in played.results}
    assert (results[ONE].outcome, results[TWO].outcome) == (Outcome.CANCELLED, Outcome.TIMED_OUT)
    assert results[ONE].error_message == "the run's deadline of 0.05 s passed before it was begun"


async def test_the_calls_in_flight_are_those_of_its_own_client() -> None:
    played = Played({ONE: for_ever})
    played.in_flight = 3
    engine = played.engine(timeout=100, concurrency=8)
    # The client may share its limiter with others.
    assert engine.progress().in_flight == 3


async def test_a_deadline_counts_from_where_the_run_began() -> None:
    played = Played({ONE: for_ever})
    ends = Deadline(60.0, anyio.current_time() + 0.05)
    with anyio.fail_after(20):
        await played.engine(timeout=100, concurrency=8, deadline=ends).run()
    assert [each.outcome for each in played.results] == [Outcome.TIMED_OUT]
    assert played.results[0].error_message == "the run's deadline of 60 s passed while it was being read"


async def test_what_is_restored_is_not_cut_off_by_the_targets_time() -> None:
    played = Played({TWO: for_ever, ONE: for_ever})

    async def restored(target: Target) -> TargetResult | None:
        await played.overdue.wait()
        return TargetResult(target.account.id, None, target.region, Outcome.OK, pools=7, attempts=3)

    played.restored = restored
    results = await played.run()
    assert (results[ONE].outcome, results[ONE].pools) == (Outcome.OK, 7)


async def test_what_waits_for_the_former_run_or_for_room_is_work() -> None:
    played = Played({ONE: one_page, TWO: one_page})
    counted: list[int] = []

    async def restored(_: Target) -> None:
        counted.append(played.work.count)

    async def room() -> None:
        counted.append(played.work.count)

    played.restored = restored
    played.slow_rooms = [room]
    await played.run()
    # Restoring has to count as work: otherwise a silent region would seem to be all that is left.
    assert len(counted) == 2
    assert min(counted) >= 1


async def test_a_run_that_is_cancelled_amid_what_it_takes_over_counts_what_has_no_result() -> None:
    regions = RegionChoice(("eu-west-1", "eu-west-2", "eu-west-3"), ())
    played = Played({ONE: one_page}, regions)
    begun = anyio.Event()

    async def restored(target: Target) -> TargetResult:
        if target.region != "eu-west-1":
            begun.set()
            await anyio.sleep_forever()
        return TargetResult(ONE, None, target.region, Outcome.EMPTY, pages=1, attempts=1)

    played.restored = restored
    engine = played.engine(timeout=60, concurrency=8)
    async with anyio.create_task_group() as group:
        group.start_soon(engine.run)
        await begun.wait()
        group.cancel_scope.cancel()
    assert engine.counts.targets == 3
    assert engine.counts.outcomes == {Outcome.EMPTY: 1, Outcome.CANCELLED: 2}


async def test_a_target_that_is_not_restored_has_its_time() -> None:
    played = Played({ONE: for_ever})

    async def restored(_: Target) -> None:
        await nothing()

    played.restored = restored
    results = await played.run()
    assert (results[ONE].outcome, results[ONE].attempts) == (Outcome.TIMED_OUT, 1)


async def test_a_target_that_ends_as_its_time_does_leaves_the_next_its_own() -> None:
    async def ends_all_the_same() -> None:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            pass
        # It swallows the cancellation and returns without a checkpoint.

    async def several_steps() -> Page | None:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        return await one_page()

    others = {f"{number:012d}": several_steps for number in range(3, 9)}
    played = Played({ONE: ends_all_the_same, **others})
    results = await played.run(concurrency=1)
    assert results.pop(ONE).outcome is Outcome.EMPTY
    assert {each.outcome for each in results.values()} == {Outcome.OK}


async def test_a_target_whose_time_is_over_has_not_the_result_of_the_one_before() -> None:
    played = Played({ONE: one_page, TWO: for_ever, "000000000003": one_page})
    results = await played.run(concurrency=1)
    assert [results[each].outcome for each in sorted(results)] == [
        Outcome.OK,
        Outcome.TIMED_OUT,
        Outcome.OK,
    ]
    assert results[TWO].pools == 0


async def test_regions_that_are_always_on_do_not_wait_for_what_the_account_says_of_the_others() -> None:
    played = Played({ONE: one_page}, RegionChoice((ON,), (OPT_IN,)))
    one_is_done = anyio.Event()

    played.on_done, played.status = one_is_done.set, one_is_done.wait
    await played.run(timeout=10)
    assert [each.region for each in played.results] == [ON, OPT_IN]
