"""The concurrency limiter, checked against a model, and the retry quota."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.flow.concurrency import CallKey, ConcurrencyLimiter
from poolcensus.flow.retry_quota import RetryQuota
from poolcensus.flow.windows import Pauses
from virtual_time import now, on_virtual_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup


@asynccontextmanager
async def place(limiter: ConcurrencyLimiter, its: CallKey, *, ahead: bool = False) -> AsyncIterator[None]:
    """Hold a place for one call."""
    await limiter.acquire(its, ahead=ahead)
    try:
        yield
    finally:
        limiter.release(its)


def key(account: str = "a", region: str = "r", service: str = "s") -> CallKey:
    return CallKey(account, region, service)


class Step(NamedTuple):
    """One thing that happens to the limiter: a call arrives, ends, is cancelled, or the loop has a turn."""

    kind: str
    account: str
    region: str
    ahead: bool
    which: int


_STEPS = st.lists(
    st.builds(
        Step,
        kind=st.sampled_from(["arrive", "arrive", "end", "cancel", "end and cancel", "turn"]),
        account=st.sampled_from("abc"),
        region=st.sampled_from("xyz"),
        ahead=st.booleans(),
        which=st.integers(0, 50),
    ),
    max_size=40,
)


class _Caller:
    def __init__(self, its: CallKey) -> None:
        self.key = its
        self.scope = anyio.CancelScope()
        self.done = anyio.Event()
        self.inside = False

    async def run(self, limiter: ConcurrencyLimiter, ahead: bool) -> None:
        with self.scope:
            async with place(limiter, self.key, ahead=ahead):
                self.inside = True
                try:
                    await self.done.wait()
                finally:
                    self.inside = False


async def _settle() -> None:
    for _ in range(6):
        await checkpoint()


class _Model:
    """The limiter, those who called it, and what must hold of them."""

    def __init__(self, total: int, per_account: int, per_region: int) -> None:
        self.limiter = ConcurrencyLimiter(total=total, per_account=per_account, per_region=per_region)
        self.callers: list[_Caller] = []
        self._bounds = (total, per_account, per_region)

    @property
    def inside(self) -> list[_Caller]:
        return [each for each in self.callers if each.inside]

    @property
    def open(self) -> list[_Caller]:
        return [each for each in self.callers if not each.done.is_set() and not each.scope.cancel_called]

    async def take(self, step: Step, group: TaskGroup) -> None:
        inside, still_open = self.inside, self.open
        if step.kind == "arrive":
            caller = _Caller(key(step.account, step.region))
            self.callers.append(caller)
            group.start_soon(caller.run, self.limiter, step.ahead)
        if step.kind in {"end", "end and cancel"} and inside:
            inside[step.which % len(inside)].done.set()
        if step.kind == "end and cancel" and still_open:
            # Let a waiting caller get the place, and cancel it before it runs.
            await checkpoint()
            still_open[(step.which + 1) % len(still_open)].scope.cancel()
        if step.kind == "cancel" and still_open:
            still_open[step.which % len(still_open)].scope.cancel()
        if step.kind == "turn":
            await _settle()
            self.check_that_nobody_waits_for_a_free_place()

    def check_bounds(self) -> None:
        accounts = Counter(each.key.account_id for each in self.inside)
        regions = Counter(each.key.region for each in self.inside)
        total, per_account, per_region = self._bounds
        assert len(self.inside) <= total
        assert max(accounts.values(), default=0) <= per_account
        assert max(regions.values(), default=0) <= per_region

    def check_that_nobody_waits_for_a_free_place(self) -> None:
        accounts = Counter(each.key.account_id for each in self.inside)
        regions = Counter(each.key.region for each in self.inside)
        total, per_account, per_region = self._bounds
        assert self.limiter._in_flight == len(self.inside)
        assert not [
            each
            for each in self.open
            if not each.inside
            and len(self.inside) < total
            and accounts[each.key.account_id] < per_account
            and regions[each.key.region] < per_region
        ]

    async def end(self) -> None:
        for each in self.callers:
            each.done.set()
        with anyio.fail_after(20):
            while self.inside or self.limiter._in_flight:
                await checkpoint()
                self.check_bounds()


@settings(max_examples=150)
@given(steps=_STEPS, bounds=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)))
async def test_the_gate_keeps_its_bounds_and_loses_no_place(
    steps: list[Step], bounds: tuple[int, int, int]
) -> None:
    model = _Model(*bounds)
    async with anyio.create_task_group() as group:
        for step in steps:
            await model.take(step, group)
            model.check_bounds()
        await model.end()
    limiter = model.limiter
    assert not limiter._accounts
    assert not any(limiter._endpoints.values())
    assert not limiter._ahead.by_endpoint
    assert not limiter._behind.by_endpoint


class _Queue:
    """A model with a single queue: a free place goes to the first caller in it that can have the place."""

    def __init__(self, total: int, per_account: int, per_region: int) -> None:
        self._bounds = (total, per_account, per_region)
        self._waiting: list[tuple[bool, int]] = []
        self._keys: list[CallKey] = []
        self.inside: list[int] = []

    def arrive(self, its: CallKey, *, ahead: bool) -> None:
        number = len(self._keys)
        self._keys.append(its)
        self._waiting.append((not ahead, number))
        if self._has_room(its):
            self._grant()

    def end(self, number: int) -> None:
        self.inside.remove(number)
        self._grant()

    def cancel(self, number: int) -> None:
        self._waiting = [each for each in self._waiting if each[1] != number]

    @property
    def waiting(self) -> list[int]:
        return sorted(number for _, number in self._waiting)

    def _grant(self) -> None:
        for each in sorted(self._waiting):
            if self._has_room(self._keys[each[1]]):
                self._waiting.remove(each)
                self.inside.append(each[1])

    def _has_room(self, its: CallKey) -> bool:
        inside = [self._keys[number] for number in self.inside]
        total, per_account, per_region = self._bounds
        return (
            len(inside) < total
            and sum(each.account_id == its.account_id for each in inside) < per_account
            and sum(each.region == its.region for each in inside) < per_region
        )


@settings(max_examples=200)
@given(
    steps=st.lists(
        st.builds(
            Step,
            kind=st.sampled_from(["arrive", "arrive", "end", "cancel"]),
            account=st.sampled_from("abcdef"),
            region=st.sampled_from("xyz"),
            ahead=st.sampled_from([False, False, True]),
            which=st.integers(0, 50),
        ),
        min_size=10,
        max_size=40,
    ),
    bounds=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
)
async def test_places_go_to_whom_one_queue_would_give_them(
    steps: list[Step], bounds: tuple[int, int, int]
) -> None:
    total, per_account, per_region = bounds
    limiter = ConcurrencyLimiter(total=total, per_account=per_account, per_region=per_region)
    queue = _Queue(*bounds)
    keys: list[CallKey] = []
    calls: list[asyncio.Task[None]] = []
    for step in steps:
        if step.kind == "arrive":
            keys.append(key(step.account, step.region))
            calls.append(asyncio.create_task(limiter.acquire(keys[-1], ahead=step.ahead)))
            queue.arrive(keys[-1], ahead=step.ahead)
        elif step.kind == "end" and queue.inside:
            number = queue.inside[step.which % len(queue.inside)]
            queue.end(number)
            limiter.release(keys[number])
        elif step.kind == "cancel" and queue.waiting:
            number = queue.waiting[step.which % len(queue.waiting)]
            queue.cancel(number)
            calls[number].cancel()
        await _settle()
        assert [number for number, call in enumerate(calls) if not call.done()] == queue.waiting
    for number in queue.waiting:
        calls[number].cancel()
    await asyncio.gather(*calls, return_exceptions=True)


class _Looks(dict[str, int]):
    """The limiter's places by account, counting the lookups."""

    count = 0

    def get(self, account_id: str, default: int = 0) -> int:  # type: ignore[override]
        self.count += 1
        return super().get(account_id, default)


async def test_a_place_is_handed_on_without_a_look_at_all_who_wait() -> None:
    regions, waiting = 17, 40
    limiter = ConcurrencyLimiter(total=1000, per_account=5, per_region=1)
    for number in range(regions):
        await limiter.acquire(key(f"{number}", f"r{number}"))
    calls = [
        asyncio.create_task(limiter.acquire(key(f"{region}-{number}", f"r{region}")))
        for number in range(waiting)
        for region in range(regions)
    ]
    await _settle()
    limiter._accounts = looks = _Looks(limiter._accounts)
    for number in range(regions):
        limiter.release(key(f"{number}", f"r{number}"))
    # Two lookups for each place: to find the next call, and to give it the place.
    assert looks.count <= 2 * regions
    await _settle()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not call.cancelled() for call in calls) == regions


async def test_a_waiter_that_is_cancelled_just_after_it_was_granted_hands_its_place_on() -> None:
    limiter = ConcurrencyLimiter(total=1, per_account=1, per_region=1)
    await limiter.acquire(key())
    first, second = _Caller(key()), _Caller(key())
    async with anyio.create_task_group() as group:
        group.start_soon(first.run, limiter, False)
        await _settle()
        group.start_soon(second.run, limiter, False)
        await _settle()
        # The place is granted, but the task has not run yet.
        limiter.release(key())
        assert limiter._in_flight == 1
        first.scope.cancel()
        await _settle()
        assert not first.inside
        assert second.inside
        second.done.set()
    assert limiter._in_flight == 0


async def test_a_task_that_is_cancelled_just_after_it_was_granted_hands_its_place_on() -> None:
    limiter = ConcurrencyLimiter(total=1, per_account=1, per_region=1)
    await limiter.acquire(key())
    first = asyncio.create_task(limiter.acquire(key()))
    second = asyncio.create_task(limiter.acquire(key()))
    await _settle()
    limiter.release(key())
    # Unlike a cancel scope, asyncio cancels a task even if the future that it waits for is done.
    first.cancel()
    await _settle()
    assert first.cancelled()
    assert second.done()
    assert limiter._in_flight == 1
    limiter.release(key())
    assert limiter._in_flight == 0


async def test_ahead_goes_before_those_who_came_first() -> None:
    limiter = ConcurrencyLimiter(total=1, per_account=1, per_region=1)
    order: list[str] = []

    async def call(name: str, *, ahead: bool) -> None:
        async with place(limiter, key(), ahead=ahead):
            order.append(name)

    await limiter.acquire(key())
    async with anyio.create_task_group() as group:
        for name, ahead in (("first", False), ("second", False), ("had one already", True)):
            group.start_soon(partial(call, name, ahead=ahead))
            await _settle()
        limiter.release(key())
    assert order == ["had one already", "first", "second"]


async def test_those_who_wait_go_in_their_order_even_past_one_who_can_not() -> None:
    limiter = ConcurrencyLimiter(total=2, per_account=1, per_region=2)
    order: list[str] = []

    async def call(account: str, name: str) -> None:
        async with place(limiter, key(account)):
            order.append(name)

    await limiter.acquire(key("a"))
    await limiter.acquire(key("b"))
    async with anyio.create_task_group() as group:
        for account, name in (("a", "a1"), ("c", "c1"), ("a", "a2"), ("d", "d1")):
            group.start_soon(call, account, name)
            await _settle()
        limiter.release(key("b"))
        await _settle()
        assert order == ["c1", "d1"]
        limiter.release(key("a"))
    assert order == ["c1", "d1", "a1", "a2"]


async def test_those_who_were_passed_over_keep_their_order() -> None:
    limiter = ConcurrencyLimiter(total=3, per_account=1, per_region=3)
    order: list[str] = []

    async def call(name: str) -> None:
        async with place(limiter, key("a")):
            order.append(name)

    for account in "abc":
        await limiter.acquire(key(account))
    async with anyio.create_task_group() as group:
        for name in ("first", "second", "third"):
            group.start_soon(call, name)
            await _settle()
        limiter.release(key("b"))
        limiter.release(key("a"))
    assert order == ["first", "second", "third"]


async def test_an_account_at_its_bound_does_not_keep_others_out() -> None:
    limiter = ConcurrencyLimiter(total=10, per_account=1, per_region=10)
    await limiter.acquire(key("busy"))
    async with anyio.create_task_group() as group:
        blocked = _Caller(key("busy"))
        group.start_soon(blocked.run, limiter, False)
        await _settle()
        with anyio.fail_after(20):
            await limiter.acquire(key("other"))
        assert limiter._in_flight == 2
        assert not blocked.inside
        limiter.release(key("other"))
        limiter.release(key("busy"))
        blocked.done.set()
    assert limiter._in_flight == 0


@given(st.integers(0, 100), st.lists(st.sampled_from([0, 5, 10, -5, -10, -1]), max_size=100))
def test_the_quota_is_never_overdrawn_nor_overfilled(capacity: int, steps: list[int]) -> None:
    quota, left = RetryQuota(capacity, patience=0.0, clock=float), capacity
    for step in steps:
        if step >= 0:
            assert quota.spend(step) == (step <= left)
            left -= step if step <= left else 0
        else:
            quota.succeeded(-step if step != -1 else 0)
            left = min(capacity, left - step)
    assert not quota.spend(left + 1)
    assert quota.spend(left)


def test_those_who_wait_for_something_other_than_a_place_are_counted() -> None:
    pauses = Pauses()
    assert not pauses.room.is_set()
    with pauses.pause("r1"):
        assert (pauses.count, pauses.in_region["r1"], pauses.in_region["r2"]) == (1, 1, 0)
        # Another target may be opened.
        assert pauses.room.is_set()
    with pauses.pause("r1"), pytest.raises(ValueError, match="within"), pauses.pause("r2"):
        raise ValueError("within")
    assert pauses.count == pauses.in_region.total() == 0


async def test_those_ahead_keep_their_order() -> None:
    limiter = ConcurrencyLimiter(total=1, per_account=1, per_region=1)
    await limiter.acquire(key("holder"))
    order: list[str] = []

    async def wait(name: str, ahead: bool) -> None:
        async with place(limiter, key(name), ahead=ahead):
            order.append(name)

    async with anyio.create_task_group() as group:
        for name in ("behind", "first", "second", "third"):
            group.start_soon(wait, name, name != "behind")
        await _settle()
        limiter.release(key("holder"))
    assert order == ["first", "second", "third", "behind"]


async def test_one_account_may_have_fewer_places_than_the_others() -> None:
    limiter = ConcurrencyLimiter(total=100, per_account=8, per_region=100)
    limiter.bound("a", 2)
    async with place(limiter, key("a")), place(limiter, key("a")):
        with anyio.move_on_after(0) as scope:
            await limiter.acquire(key("a"))
        assert scope.cancelled_caught
        for _ in range(8):
            await limiter.acquire(key("b"))
    assert limiter._in_flight == 8


async def test_calls_to_what_may_be_away_take_a_quarter_of_the_places() -> None:
    limiter = ConcurrencyLimiter(total=8, per_account=9, per_region=9)
    entered: list[str] = []

    async def hold(name: str, *, doubtful: bool) -> None:
        await limiter.acquire(key(name), doubtful=doubtful)
        entered.append(name)
        await release[name].wait()
        limiter.release(key(name), doubtful=doubtful)

    names = [f"doubtful{number}" for number in range(4)]
    release = {name: anyio.Event() for name in (*names, "other")}
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(lambda each: hold(each, doubtful=True), name)
        await anyio.wait_all_tasks_blocked()
        assert entered == names[:2]
        group.start_soon(lambda: hold("other", doubtful=False))
        await anyio.wait_all_tasks_blocked()
        assert entered[2:] == ["other"]
        # A place of another call goes to no doubtful call. One of a doubtful call goes to the next of them.
        release["other"].set()
        await anyio.wait_all_tasks_blocked()
        assert len(entered) == 3
        for name in names:
            release[name].set()
    assert entered[3:] == names[2:]
    assert limiter._in_flight == 0


async def _hold(limiter: ConcurrencyLimiter, account: str, seconds: float, *, doubtful: bool = False) -> None:
    await limiter.acquire(key(account), doubtful=doubtful)
    try:
        await anyio.sleep(seconds)
    finally:
        limiter.release(key(account), doubtful=doubtful)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_of_few_places_calls_to_what_may_be_away_take_a_quarter_of_the_time(total: int) -> None:
    async def main() -> None:
        limiter = ConcurrencyLimiter(total=total, per_account=9, per_region=9)
        doubtful_held = others_held = 0.0

        async def doubt(account: str) -> None:
            nonlocal doubtful_held
            while True:
                await _hold(limiter, account, 30.0, doubtful=True)
                doubtful_held += 30.0

        async def call(account: str) -> None:
            nonlocal others_held
            while True:
                await _hold(limiter, account, 1.0)
                others_held += 1.0
                # The pause between a target that ends and the next one.
                await anyio.sleep(0.1)

        with anyio.move_on_after(3600):
            async with anyio.create_task_group() as group:
                for number in range(total + 1):
                    group.start_soon(doubt, f"doubtful{number}")
                    group.start_soon(call, f"other{number}")
        assert doubtful_held <= 3600 * total / 4
        # But not much less, so that an endpoint that is back is noticed.
        assert doubtful_held >= 3600 * total / 5
        assert others_held >= 3600 * total / 2

    on_virtual_time(main)


def test_calls_to_what_may_be_away_have_the_only_place_while_nobody_else_calls() -> None:
    async def main() -> None:
        limiter = ConcurrencyLimiter(total=1, per_account=9, per_region=9)
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(lambda each: _hold(limiter, each, 30.0, doubtful=True), f"{number}")
            await anyio.sleep(31)
            # While a long call is in flight, the pause does not end early.
            await _hold(limiter, "other", 20.0)
        assert 4 * 30 + 20 < now() < 4 * 30 + 20 + 4 * 30 / 3

    on_virtual_time(main)


def test_a_call_to_what_may_be_away_has_a_free_place_once_its_time_has_come_beside_a_long_one() -> None:
    async def main() -> None:
        limiter = ConcurrencyLimiter(total=2, per_account=9, per_region=9)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: _hold(limiter, "other", 30.0))
            await _hold(limiter, "silent", 3.0, doubtful=True)
            await limiter.acquire(key("next"), doubtful=True)
            # Half of the time of one place is a quarter of the time of two places.
            assert now() == pytest.approx(6)
            limiter.release(key("next"), doubtful=True)

    on_virtual_time(main)


def test_what_fails_at_once_or_is_back_holds_up_no_other_of_its_kind() -> None:
    async def main() -> None:
        limiter = ConcurrencyLimiter(total=1, per_account=9, per_region=9)
        await _hold(limiter, "silent", 30.0, doubtful=True)
        began = now()
        for _ in range(100):
            await _hold(limiter, "back", 0.01, doubtful=True)
        assert now() - began < 30

    on_virtual_time(main)


@pytest.mark.parametrize("place_is_taken", [False, True])
def test_one_that_is_cancelled_while_it_leaves_the_time_to_others_hands_its_turn_on(
    place_is_taken: bool,
) -> None:
    async def main() -> None:
        limiter = ConcurrencyLimiter(total=1, per_account=9, per_region=9)
        await _hold(limiter, "silent", 30.0, doubtful=True)
        if place_is_taken:
            await limiter.acquire(key("other"))
        first, second = (
            asyncio.create_task(limiter.acquire(key(name), doubtful=True)) for name in ("first", "second")
        )
        # After 100 seconds the pause is over, and the call waits for the place itself.
        await anyio.sleep(100 if place_is_taken else 1)
        first.cancel()
        await _settle()
        assert first.cancelled()
        if place_is_taken:
            limiter.release(key("other"))
        with anyio.fail_after(100):
            await second
        limiter.release(key("second"), doubtful=True)
        assert limiter._in_flight == 0

    on_virtual_time(main)
