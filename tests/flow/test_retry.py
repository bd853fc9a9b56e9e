"""Retries, on a clock that only moves while something sleeps."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from copy import copy
from math import inf
from typing import TYPE_CHECKING, TypeVar

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.errors import (
    AccessDeniedError,
    BadResponseError,
    CallError,
    CallTimeoutError,
    ClockSkewError,
    ExpiredError,
    RetryableError,
    ServerError,
    ThrottledError,
    UnreachableError,
    UnrecognizedCredentialsError,
)
from poolcensus.flow.retry import KNOWN_EVERYWHERE_SECONDS, Retrier, Retry, RetryPolicy
from poolcensus.flow.retry_quota import RetryQuota

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

T = TypeVar("T")


async def with_retries(
    retrier: Retrier,
    attempt: Callable[[], Awaitable[T]],
    *,
    quota: RetryQuota,
    deadline: float = inf,
    on_retry: Callable[[Retry], None] = lambda _: None,
) -> T:
    """Call as the client does: the retrier is only used after the first attempt has failed."""
    try:
        result = await attempt()
    except RetryableError as error:
        return await retrier.again(
            attempt,
            error,
            quota=quota,
            deadline=lambda: deadline,
            on_retry=on_retry,
            pause=lambda _: nullcontext(),
        )
    quota.succeeded(0)
    return result


def left_in(quota: RetryQuota) -> int:
    """Return what is left of a quota, without changing it."""
    spent = copy(quota)
    spent._patience = 0.0
    return sum(1 for _ in iter(lambda: spent.spend(1), False))


class Run:
    """A call whose attempts are scripted, and the result of retrying it."""

    def __init__(
        self,
        script: Iterable[CallError | BaseException | None],
        *,
        quota: int = 500,
        patience: float = 0.0,
        jitter: float = 1.0,
        deadline: float = inf,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.script = list(script)
        self.quota = RetryQuota(quota, patience=patience, clock=lambda: self.now)
        self.delays: list[float] = []
        self.left: list[int] = []
        self.attempts = 0
        self.retries: list[Retry] = []
        self.now = 0.0
        self._deadline = deadline
        self._retrier = Retrier(
            policy or RetryPolicy(first_wait=1.0),
            clock=lambda: self.now,
            sleep=self._sleep,
            jitter=lambda: jitter,
        )

    async def _sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.left.append(left_in(self.quota))
        self.now += seconds

    async def _attempt(self) -> int:
        self.attempts += 1
        error = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if error is not None:
            raise error
        return self.attempts

    async def call(self) -> int:
        result = await with_retries(
            self._retrier,
            self._attempt,
            quota=self.quota,
            deadline=self._deadline,
            on_retry=self.retries.append,
        )
        self.left.append(left_in(self.quota))
        return result


def server_error(retry_after: float | None = None) -> ServerError:
    return ServerError("it failed", code="500", status=500, retry_after=retry_after)


def throttled(retry_after: float | None = None) -> ThrottledError:
    return ThrottledError("slow down", code="Throttling", status=400, retry_after=retry_after)


async def test_quota_and_delays_of_two_server_errors() -> None:
    run = Run([server_error(), server_error(), None])
    assert await run.call() == 3
    assert run.left == [495, 490, 495]
    assert run.delays == [1, 2]
    assert [(each.attempt, each.wait, each.error.code) for each in run.retries] == [
        (1, 1, "500"),
        (2, 2, "500"),
    ]


async def test_a_cap_of_three_seconds() -> None:
    run = Run(
        [*[server_error()] * 4, None], policy=RetryPolicy(first_wait=1.0, longest_wait=3.0, max_attempts=5)
    )
    await run.call()
    assert run.delays == [1, 2, 3, 3]


async def test_a_quota_of_five_is_worth_one_retry() -> None:
    run = Run([server_error()], quota=5)
    with pytest.raises(ServerError):
        await run.call()
    assert run.attempts == 2
    assert left_in(run.quota) == 0
    assert len(run.retries) == 1


async def test_without_a_quota_a_service_is_tried_until_it_has_answered_errors_alone_for_a_while() -> None:
    back = Run([*[server_error()] * 4, None], quota=5, patience=60.0)
    assert await back.call() == 5
    gone = Run([server_error()], quota=5, patience=60.0)
    with pytest.raises(ServerError):
        await gone.call()
    # 1, 2, 4, 8, 16, 20 and 20 s: the first retry was paid for, and the minute ended in the last wait.
    assert gone.attempts == 8
    assert gone.now == 71.0


async def test_one_success_says_that_a_service_is_back() -> None:
    run = Run([*[server_error()] * 3, None], quota=0, patience=6.0)
    assert await run.call() == 4
    run.script = [*[server_error()] * 3, None]
    assert await run.call() == 8


async def test_a_call_without_a_retry_gives_one_back() -> None:
    run = Run([None], quota=500)
    assert run.quota.spend(10)
    await run.call()
    assert left_in(run.quota) == 491


async def test_a_timeout_costs_ten() -> None:
    run = Run([CallTimeoutError("slow", code="Timeout"), None])
    await run.call()
    assert run.left == [490, 500]


async def test_what_does_not_say_that_a_service_is_down_costs_nothing() -> None:
    errors = [throttled(), ExpiredError("old", code="ExpiredToken"), ClockSkewError("when?", code="Skew")]
    run = Run([*errors, None], quota=4)
    await run.call()
    assert run.left[:3] == [4, 4, 4]


async def test_delays_end_at_twenty_seconds() -> None:
    run = Run([server_error()])
    with pytest.raises(ServerError):
        await run.call()
    assert run.delays == [1, 2, 4, 8, 16, *[20] * 6]


async def test_the_policy_that_is_used_waits_no_longer_than_twenty_seconds() -> None:
    run = Run([server_error(1e9)], policy=RetryPolicy())
    with pytest.raises(ServerError):
        await run.call()
    assert max(run.delays) == 20


async def test_throttling_has_a_floor_under_its_jitter() -> None:
    run = Run([throttled(), throttled(), None], jitter=0.0)
    await run.call()
    assert run.delays == [0.2, 0.2]


async def test_where_none_gets_through_for_a_while_each_call_has_three_attempts() -> None:
    run = Run([throttled()], patience=60.0)
    for attempts in (8, 3, 3):
        run.attempts = 0
        with pytest.raises(ThrottledError):
            await run.call()
        # 1, 2, 4, 8, 16, 20 and 20 s: the minute ended in the last wait of the first.
        assert run.attempts == attempts
    run.script = [None, throttled()]
    await run.call()
    run.attempts = 0
    with pytest.raises(ThrottledError):
        await run.call()
    assert run.attempts == 8


async def test_other_errors_after_throttles_have_their_own_minute() -> None:
    run = Run([*[throttled()] * 7, server_error()], quota=0, patience=60.0)
    with pytest.raises(ServerError):
        await run.call()
    assert run.now > 60
    assert run.attempts > 8


async def test_a_service_that_is_down_for_half_a_minute_does_not_use_up_all_attempts() -> None:
    run = Run([server_error()], jitter=0.0, policy=RetryPolicy())
    with pytest.raises(ServerError):
        await run.call()
    assert run.delays == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0, 10.0]


@pytest.mark.parametrize("jitter", [0.0, 1.0])
async def test_credentials_that_are_not_known_have_time_to_become_so(jitter: float) -> None:
    unknown = UnrecognizedCredentialsError("unknown", code="UnrecognizedClientException")
    run = Run([unknown], jitter=jitter, policy=RetryPolicy())
    with pytest.raises(UnrecognizedCredentialsError):
        await run.call()
    assert len(run.delays) == 4
    assert all(KNOWN_EVERYWHERE_SECONDS <= each <= KNOWN_EVERYWHERE_SECONDS + 2 for each in run.delays)


@pytest.mark.parametrize(
    ("asked", "jitter", "waited"), [(7.0, 0.0, 7.0), (3.0, 1.0, 3.0), (0.5, 1.0, 1.0), (3600.0, 0.0, 20.0)]
)
@pytest.mark.parametrize("make", [server_error, throttled])
async def test_what_the_service_asks_for_is_waited_but_not_for_ever(
    make: Callable[[float], RetryableError], asked: float, jitter: float, waited: float
) -> None:
    run = Run([make(asked), None], jitter=jitter)
    await run.call()
    assert run.delays == [waited]


@pytest.mark.parametrize("kind", [ExpiredError, ClockSkewError])
async def test_the_first_retry_with_new_credentials_or_the_right_time_is_immediate(
    kind: type[RetryableError],
) -> None:
    run = Run([kind("once more", code="x"), kind("once more", code="x"), None])
    await run.call()
    assert run.delays == [0, 2]


async def test_a_retry_that_would_start_past_the_deadline_is_not_waited_for() -> None:
    run = Run([server_error()], deadline=6.5)
    with pytest.raises(ServerError):
        await run.call()
    assert run.delays == [1, 2]
    assert left_in(run.quota) == 490  # what was not tried was not paid for


async def test_a_retry_on_the_deadline_is_too_late() -> None:
    run = Run([server_error()], deadline=3.0)
    with pytest.raises(ServerError):
        await run.call()
    assert run.delays == [1]


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_max_attempts_counts_calls(attempts: int) -> None:
    run = Run([server_error()], policy=RetryPolicy(max_attempts=attempts))
    with pytest.raises(ServerError):
        await run.call()
    assert run.attempts == attempts
    assert len(run.retries) == len(run.delays) == attempts - 1


async def test_the_last_error_is_raised_as_it_is() -> None:
    last = UnreachableError("gone", code="Closed")
    run = Run([server_error(), throttled(), last], policy=RetryPolicy(max_attempts=3))
    with pytest.raises(UnreachableError) as raised:
        await run.call()
    assert raised.value is last


@pytest.mark.parametrize("before", [(), (server_error(),)])
async def test_an_error_to_record_is_never_tried_again(before: tuple[CallError, ...]) -> None:
    refusal = AccessDeniedError("no", code="AccessDenied", status=400)
    run = Run([*before, refusal])
    with pytest.raises(AccessDeniedError):
        await run.call()
    assert run.attempts == len(before) + 1


@pytest.mark.parametrize("before", [(), (server_error(),)])
@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
async def test_what_is_no_error_of_a_call_is_never_tried_again(
    before: tuple[CallError, ...], error: BaseException
) -> None:
    run = Run([*before, error])
    with pytest.raises(type(error)):
        await run.call()
    assert run.attempts == len(before) + 1


@pytest.mark.parametrize("failures", [0, 1, 3])
async def test_cancellation_passes_through_an_attempt(failures: int) -> None:
    attempts = 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        if attempts <= failures:
            raise server_error()
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await with_retries(
            Retrier(RetryPolicy(first_wait=0.0)), attempt, quota=RetryQuota(500, patience=0.0, clock=float)
        )
    assert scope.cancelled_caught
    assert attempts == failures + 1


async def test_cancellation_passes_through_a_wait() -> None:
    attempts = 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        raise server_error()

    async def sleep(_: float) -> None:
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await with_retries(
            Retrier(RetryPolicy(), sleep=sleep), attempt, quota=RetryQuota(500, patience=0.0, clock=float)
        )
    assert scope.cancelled_caught
    assert attempts == 1


_KINDS = [ThrottledError, ServerError, UnreachableError, CallTimeoutError, BadResponseError, ExpiredError]


@settings(max_examples=60)
@given(
    errors=st.lists(st.sampled_from(_KINDS), max_size=15),
    jitter=st.floats(0, 1),
    capacity=st.integers(0, 60),
    max_attempts=st.integers(1, 12),
)
async def test_whatever_happens_the_limits_hold(
    errors: list[type[RetryableError]], jitter: float, capacity: int, max_attempts: int
) -> None:
    run = Run(
        [*(kind("x", code="x") for kind in errors), None],
        quota=capacity,
        jitter=jitter,
        policy=RetryPolicy(max_attempts=max_attempts),
    )
    ended: RetryableError | None = None
    try:
        await run.call()
    except RetryableError as error:
        ended = error
    assert type(ended) is (errors[run.attempts - 1] if run.attempts <= len(errors) else type(None))
    assert run.attempts <= max_attempts
    assert len(run.delays) == run.attempts - 1
    assert all(0 <= delay <= 20 for delay in run.delays)
    assert 0 <= left_in(run.quota) <= capacity


def test_the_first_retries_wait_for_what_they_take_in_a_thread() -> None:
    program = """
import asyncio, sys
from blockbuster import blockbuster_ctx
from poolcensus.errors import ThrottledError
from poolcensus.flow.retry_quota import RetryQuota
from poolcensus.flow.retry import Retrier, RetryPolicy
from contextlib import nullcontext
from math import inf

async def call(retrier):
    async def attempt():
        return 1
    error = ThrottledError("slow", code="Throttling", status=400)
    return await retrier.again(
        attempt,
        error,
        quota=RetryQuota(500, patience=0.0, clock=float),
        deadline=lambda: inf,
        on_retry=lambda retry: None,
        pause=lambda error: nullcontext(),
    )

async def main():
    retrier = Retrier(RetryPolicy(first_wait=0.001, throttle_floor=0.0))
    print("tenacity" in sys.modules)
    calls = []
    # Another one starts in each turn of the loop, until the first is done.
    while not calls or not calls[0].done():
        calls.append(asyncio.create_task(call(retrier)))
        await asyncio.sleep(0)
    print(sum(await asyncio.gather(*calls)) == len(calls))

with blockbuster_ctx("poolcensus"):
    asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\nTrue\n", "")
