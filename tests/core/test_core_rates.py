"""How fast calls follow each other: the vectors of the rate, and keys that are throttled."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from poolcensus.limits import CallKey
from poolcensus.rates import CubicRate, RateLimits


def key(account: str = "a", region: str = "r", service: str = "s") -> CallKey:
    return CallKey(account, region, service)


def test_the_rate_after_a_throttle_follows_the_vectors() -> None:
    cubic = CubicRate(w_max=10.0, throttled_at=5.0)
    expected = [
        7.0,
        9.64893600966,
        10.000030849917364,
        10.453284520772092,
        13.408697022224185,
        21.26626835427364,
        36.425998516920465,
    ]
    assert [cubic.rate(now) for now in range(5, 12)] == pytest.approx(expected, rel=1e-9)


class _Sleeps:
    """A clock that moves by what is slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await checkpoint()


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> _Sleeps:
    clock = _Sleeps()
    monkeypatch.setattr(anyio, "sleep", clock.sleep)
    return clock


async def test_a_key_that_was_never_throttled_has_no_limiter_and_never_waits(sleeps: _Sleeps) -> None:
    rates = RateLimits(sleeps)
    for number in range(1000):
        await rates.wait(key(str(number)))
        rates.succeeded(key(str(number)))
    assert len(rates) == 0
    assert not sleeps.slept


async def test_a_throttle_slows_its_own_key_only(sleeps: _Sleeps) -> None:
    rates = RateLimits(sleeps)
    rates.throttled(key("a"))
    assert len(rates) == 1
    for other in (key("b"), key("a", "r2"), key("a", "r", "s2")):
        for _ in range(5):
            await rates.wait(other)
    assert not sleeps.slept
    for _ in range(5):
        await rates.wait(key("a"))
    assert len(sleeps.slept) >= 4
    assert sleeps.now > 0


def test_keys_that_do_not_look_for_the_limit_find_their_way_up_too(sleeps: _Sleeps) -> None:
    rates = RateLimits(sleeps)
    keys = [key(str(number)) for number in range(5)]
    for each in keys:
        rates.throttled(each)
    for _ in range(200):
        sleeps.now += 1.0
        for each in keys:
            rates.succeeded(each)
    for each in keys:
        limiter = rates.turns(each)
        assert limiter is not None
        assert limiter.rate > 100


def test_an_account_that_is_done_leaves_no_limiter(sleeps: _Sleeps) -> None:
    rates = RateLimits(sleeps)
    for region in ("r1", "r2"):
        rates.throttled(key("a", region))
    rates.throttled(key("b"))
    rates.forget("a")
    assert len(rates) == 1
    rates.forget("b")
    rates.forget("c")
    assert len(rates) == 0


async def test_one_who_is_cancelled_while_waiting_for_a_turn_holds_up_nobody(sleeps: _Sleeps) -> None:
    rates = RateLimits(sleeps)
    rates.throttled(key())
    with anyio.CancelScope() as scope:
        scope.cancel()
        for _ in range(10):
            await rates.wait(key())
    assert scope.cancelled_caught
    passed = 0

    async def call() -> None:
        nonlocal passed
        await rates.wait(key())
        passed += 1

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(call)
    assert passed == 5
