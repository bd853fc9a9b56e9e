"""Rate limits: of the pages of a target, of calls that share a limit, and with throttling at random."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.rate import ChainPace, RateLimits, SharedPace, SteadyPace
from virtual_time import now, on_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_CHAIN_WAIT = 20.0
LONGEST_SHARED_WAIT = 0.2


def key(account: str = "a", region: str = "r", service: str = "s") -> CallKey:
    return CallKey(account, region, service)


def test_calls_of_a_documented_rate_go_one_after_the_other_and_make_up_for_no_pause() -> None:
    sent: list[float] = []

    async def call(pace: SteadyPace, after: float) -> None:
        await anyio.sleep(after)
        await pace.wait()
        sent.append(now())

    async def run() -> None:
        pace = SteadyPace(5.0, now)
        async with anyio.create_task_group() as group:
            for after in (0.0, 0.0, 0.0, 10.0, 10.0):
                group.start_soon(call, pace, after)

    on_virtual_time(run)
    assert sent == pytest.approx([0.0, 0.2, 0.4, 10.0, 10.2])


def test_nothing_is_kept_and_no_call_held_back_before_a_throttle() -> None:
    rates = RateLimits(1, lambda: 0.0)
    for number in range(1000):
        for begun in (False, True):
            assert rates.admits(key(str(number)), begun=begun)
            rates.passed(key(str(number)), begun=begun)
    assert _held(rates) == 0


def test_a_throttled_page_holds_back_the_next_page_of_its_target_and_no_other_call() -> None:
    time = 0.0
    rates = RateLimits(1, lambda: time)
    rates.throttled(key(), begun=True)
    time = 1.0
    rates.passed(key(), begun=True)
    assert not rates.admits(key(), begun=True)
    assert rates.admits(key(), begun=False)
    for other in (key("b"), key("a", "r2"), key("a", "r", "s2")):
        assert rates.admits(other, begun=True)
    assert _held(rates) == 1
    time = 2.0
    assert rates.admits(key(), begun=True)


def _held(rates: RateLimits) -> int:
    """Return the number of paces."""
    return len(rates._shared) + sum(map(len, rates._chains.values()))


def _throttle_beginners(rates: RateLimits, count: int) -> None:
    """Throttle the first calls of `count` targets, which are all in flight at the same time."""
    for number in range(count):
        rates.throttled(key(str(number)), begun=False)
        rates._shared["r", "s"].sent(rates._clock())


def test_throttled_beginners_hold_back_their_service_in_their_region() -> None:
    rates = RateLimits(1, lambda: 0.0)
    _throttle_beginners(rates, 20)
    assert not rates.admits(key("any"), begun=False)
    assert not rates.admits(key("any"), begun=True)
    assert rates.admits(key("any", "r2"), begun=False)
    assert rates.admits(key("any", "r", "s2"), begun=False)
    assert _held(rates) == 1


async def test_where_beginners_are_throttled_a_throttled_page_is_not_its_accounts_doing() -> None:
    time = 0.0
    rates = RateLimits(1, lambda: time)
    _throttle_beginners(rates, 1)
    for region in ("r", "r2"):
        rates.throttled(key("a", region), begun=True)
        time += 1.0
        rates.passed(key("a", region), begun=True)
        assert rates.admits(key("a", region), begun=True)
    assert _held(rates) == 1


def test_an_account_that_is_done_leaves_nothing() -> None:
    rates = RateLimits(1, lambda: 0.0)
    for region in ("r1", "r2"):
        rates.throttled(key("a", region), begun=True)
    rates.throttled(key("b"), begun=True)
    rates.forget("a")
    assert _held(rates) == 1
    rates.forget("b")
    rates.forget("c")
    assert _held(rates) == 0
    assert rates.admits(key("a", "r1"), begun=True)


def test_the_gap_ends_between_the_call_that_was_too_early_and_the_one_that_got_through() -> None:
    pace = ChainPace(10.0)
    pace.throttled(10.2)
    pace.passed(10.6)
    # The first retry could have been sent at 10.4, and 10.5 is in the middle.
    assert pace.delay(10.6) == pytest.approx(0.5)
    assert pace.delay(10.9) == pytest.approx(0.2)
    assert pace.delay(11.1) == 0


@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans())))
def test_a_chain_waits_no_longer_than_a_retry_and_forgets_a_throttle(
    events: list[tuple[float, bool]],
) -> None:
    time = 0.0
    pace = ChainPace(time)
    for seconds, throttled in events:
        time += seconds
        if throttled:
            pace.throttled(time)
        else:
            pace.passed(time)
        assert 0 <= pace.delay(time) <= LONGEST_CHAIN_WAIT + 1e-9
    for _ in range(30):
        time += pace.delay(time)
        pace.passed(time)
    assert pace.delay(time) <= LONGEST_CHAIN_WAIT / 500


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, None]), st.floats(0, 10)),
        max_size=100,
    )
)
async def test_one_throttle_in_three_holds_back_no_call(runs: list[tuple[int | None, float]]) -> None:
    time = 0.0
    pace = SharedPace(time, 1)
    for throttled, seconds in runs:
        for number in range(3):
            assert pace.admits(time)
            pace.sent(time)
            time += seconds / 3
            if number != throttled:
                pace.passed(time)


@given(
    st.integers(4, 100),
    st.lists(st.tuples(st.floats(0, 0.3) | st.floats(0, 100), st.booleans()), max_size=200),
)
def test_whatever_came_before_a_call_is_sent_within_a_fifth_of_a_second(
    throttled: int, events: list[tuple[float, bool]]
) -> None:
    time = 0.0
    pace = SharedPace(time, 1)
    for _ in range(throttled):
        pace.sent(time)
    # Calls are held back from the start, before any time has passed.
    assert 0 < pace.delay(time) <= LONGEST_SHARED_WAIT
    for seconds, passed in events:
        time += seconds
        assert 0 <= pace.delay(time) <= LONGEST_SHARED_WAIT + 1e-9
        pace.sent(time)
        if passed:
            pace.passed(time)


@given(st.integers(1, 3000), st.floats(0.001, 1.0))
def test_a_limit_that_is_lifted_is_soon_forgotten(refused: int, apart: float) -> None:
    time = 0.0
    pace = SharedPace(time, 1)
    for _ in range(refused):
        time += min(apart, pace.delay(time))
        pace.sent(time)
    lifted, calls = time, 0
    while pace.delay(time) > 0:
        time += pace.delay(time)
        pace.sent(time)
        pace.passed(time)
        calls += 1
        assert calls <= 120
    assert time - lifted <= 15
    for _ in range(100):
        assert pace.delay(time) == 0
        pace.sent(time)
        pace.passed(time)


class _Bucket:
    """A rate that is shared by all who call."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._last = 0.0

    def takes(self) -> bool:
        self._tokens = min(self._burst, self._tokens + (now() - self._last) * self._rate)
        self._last = now()
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def _at_random(share: float, seed: int) -> Callable[[], bool]:
    chance = random.Random(seed)
    return lambda: chance.random() >= share


class _Count(NamedTuple):
    seconds: float
    throttled: int


def _census(
    targets: int, takes: Callable[[], bool], *, latency: float, seed: int, hold: bool = True
) -> _Count:
    """Read `targets` targets of one page each, with backoff, and with the rate limits if `hold`."""

    async def main() -> _Count:
        rates = RateLimits(1, now)
        chance = random.Random(seed)
        throttled = 0

        async def read(number: int) -> None:
            nonlocal throttled
            account, wait = key(str(number)), 0.25
            while True:
                if hold and not rates.admits(account, begun=False):
                    await rates.wait(account, begun=False)
                await anyio.sleep(latency / 2)
                taken = takes()
                await anyio.sleep(latency / 2)
                if taken:
                    rates.passed(account, begun=False)
                    return
                throttled += 1
                rates.throttled(account, begun=False)
                await anyio.sleep(max(0.2, wait * chance.random()))
                wait = min(2 * wait, 20.0)

        async with anyio.create_task_group() as group:
            for number in range(targets):
                group.start_soon(read, number)
                # About as fast as a program can make calls.
                await anyio.sleep(0.005)
        return _Count(now(), throttled)

    return on_virtual_time(main)


@settings(max_examples=15)
@given(
    rate=st.floats(10, 100),
    burst=st.floats(5, 50),
    latency=st.floats(0.001, 0.3),
    targets=st.integers(100, 250),
    seed=st.integers(0, 1000),
)
def test_under_a_shared_limit_one_call_is_throttled_for_two_that_are_not(
    rate: float, burst: float, latency: float, targets: int, seed: int
) -> None:
    bucket = _Bucket(rate, burst)
    found = _census(targets, bucket.takes, latency=latency, seed=seed)
    # The bound does not include calls in flight before the first throttle, nor four calls in two seconds.
    under_way = latency / 0.005
    assert found.throttled <= 0.5 * targets + under_way + 4 * (1 + found.seconds / 2) + 10
    assert found.seconds <= 1.5 * targets / rate + 10


@pytest.mark.parametrize("share", [0.05, 0.2, 0.25])
@pytest.mark.parametrize("latency", [0.002, 0.05, 0.3])
# A second seed only runs with the long tests.
@pytest.mark.parametrize("seeds", [1, pytest.param(2, marks=pytest.mark.long)])
def test_random_throttles_cost_what_their_backoff_costs(share: float, latency: float, seeds: int) -> None:
    for seed in range(seeds):
        found = [
            _census(600, _at_random(share, seed), latency=latency, seed=seed, hold=hold)
            for hold in (True, False)
        ]
        # The throttles come in another order, so the most throttles of one call may differ.
        assert found[0].seconds <= 1.15 * found[1].seconds + 2.0


def test_a_page_waits_behind_one_beginner_and_not_behind_all() -> None:
    async def main() -> None:
        rates = RateLimits(1, now)
        _throttle_beginners(rates, 50)
        order: list[str] = []

        async def call(name: str, *, begun: bool) -> None:
            await rates.wait(key(name), begun=begun)
            order.append(name)

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(lambda name: call(name, begun=False), str(number))
            await anyio.sleep(0.001)
            group.start_soon(lambda: call("page", begun=True))
        assert order.index("page") <= 2

    on_virtual_time(main)


def test_who_does_not_queue_waits_only_where_some_calls_get_through() -> None:
    async def main() -> None:
        rates = RateLimits(1, now)
        ends: list[tuple[bool, float]] = []

        async def call() -> None:
            ends.append((await rates.wait(key(), begun=False, queues=False), now()))

        async with anyio.create_task_group() as group:
            _throttle_beginners(rates, 9)
            for _ in range(20):
                group.start_soon(call)
            await anyio.sleep(0.5)
            # Nine throttles may be by chance, so these calls wait. With ten, the others don't wait any
            # longer.
            waited = len(ends)
            _throttle_beginners(rates, 1)
        assert waited < 10
        assert {sent for sent, _ in ends[:waited]} == {True}
        assert [sent for sent, _ in ends].count(False) >= 20 - waited - 1
        assert now() < 1
        assert not await rates.wait(key(), begun=False, queues=False)
        assert await rates.wait(key(), begun=False)
        rates.passed(key(), begun=False)
        _throttle_beginners(rates, 50)
        assert await rates.wait(key(), begun=False, queues=False)

    on_virtual_time(main)


def test_refusals_before_a_call_that_got_through_say_nothing_of_those_after_it() -> None:
    async def main() -> None:
        rates = RateLimits(1, now)
        for _ in range(10):
            rates.throttled(key(), begun=False)
        rates.passed(key(), begun=False)
        # So long that the call that got through does not count any more.
        await anyio.sleep(10)
        rates.throttled(key(), begun=False)
        assert await rates.wait(key(), begun=False, queues=False)

    on_virtual_time(main)


def test_one_who_is_cancelled_while_waiting_holds_up_nobody() -> None:
    async def main() -> None:
        rates = RateLimits(1, now)
        _throttle_beginners(rates, 50)
        rates.throttled(key(), begun=True)
        for begun in (False, True):
            with anyio.move_on_after(0.05) as scope:
                await rates.wait(key(), begun=begun)
            assert scope.cancelled_caught
        began = now()
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(lambda: rates.wait(key(), begun=False))
        assert now() - began <= 6 * LONGEST_SHARED_WAIT

    on_virtual_time(main)


def test_runs_side_by_side_share_what_is_sent_though_nothing_gets_through() -> None:
    alone, four = SharedPace(0.0, 1), SharedPace(0.0, 4)
    for pace in (alone, four):
        for _ in range(10):
            pace.sent(0.0)
    assert four.delay(0.0) == pytest.approx(4 * alone.delay(0.0))
    assert alone.delay(0.0) > 0
