"""When a call is made again. tenacity lives here and nowhere else."""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from poolcensus.errors import (
    CallTimeoutError,
    ClockSkewError,
    ExpiredError,
    RetryableError,
    ThrottledError,
)
from poolcensus.limits import RetryQuota

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long. Times are seconds.

    The wait before retry n is a random part of min(longest_wait, first_wait * 2**(n-1)), and at least
    `throttle_floor` where the service throttled: full jitter alone can spend all attempts near zero.
    """

    max_attempts: int = 12
    first_wait: float = 0.25
    longest_wait: float = 20.0
    throttle_floor: float = 0.2


class Retrier:
    """Makes a call again while its error says that it may help and its limits last."""

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter
        self._backoff = wait_exponential(multiplier=policy.first_wait, max=policy.longest_wait)

    async def call(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        quota: RetryQuota,
        deadline: float | None = None,
        on_retry: Callable[[RetryableError], None] | None = None,
        pause: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> T:
        """The result of the first attempt that succeeds.

        `deadline` is on the retrier's clock: a retry that would start past it is not waited for. Each wait
        is made inside `pause()`.
        Raises the last error of the last attempt.
        """
        try:
            result = await attempt()
        except RetryableError as error:
            return await self._again(attempt, error, quota, deadline=deadline, on_retry=on_retry, pause=pause)
        quota.succeeded(0)
        return result

    async def _again(
        self,
        attempt: Callable[[], Awaitable[T]],
        first: RetryableError,
        quota: RetryQuota,
        *,
        deadline: float | None,
        on_retry: Callable[[RetryableError], None] | None,
        pause: Callable[[], AbstractContextManager[None]],
    ) -> T:
        # The loop is only built once a call has failed: most calls never need it. Its first turn
        # replays that failure, so that tenacity counts attempts and waits as it always does.
        replay: list[RetryableError] = [first]
        last_cost = 0

        async def turn() -> T:
            if replay:
                raise replay.pop()
            return await attempt()

        def stop(state: RetryCallState) -> bool:
            nonlocal last_cost
            if state.attempt_number >= self._policy.max_attempts:
                return True
            if deadline is not None and self._clock() + state.upcoming_sleep >= deadline:
                return True
            error = _error(state)
            cost = _cost(error)
            if not quota.spend(cost):
                return True
            last_cost = cost
            if on_retry is not None:
                on_retry(error)
            return False

        async def sleep(seconds: float) -> None:
            with pause():
                await self._sleep(seconds)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError),
            wait=self._wait,
            stop=stop,
            sleep=sleep,
            reraise=True,
        )
        result: T = await retrying(turn)
        quota.succeeded(last_cost)
        return result

    def _wait(self, state: RetryCallState) -> float:
        error = _error(state)
        if isinstance(error, ExpiredError | ClockSkewError) and state.attempt_number == 1:
            return 0.0
        delay = self._backoff(state) * self._jitter()
        if isinstance(error, ThrottledError):
            delay = max(delay, self._policy.throttle_floor)
        return max(delay, min(error.retry_after or 0.0, self._policy.longest_wait))


def _cost(error: RetryableError) -> int:
    # The rate limiter answers throttling; the quota is for services that are down. Were throttles to
    # spend it, a busy service would lose targets that only have to wait their turn.
    if isinstance(error, ThrottledError | ExpiredError | ClockSkewError):
        return 0
    return RetryQuota.TIMEOUT if isinstance(error, CallTimeoutError) else RetryQuota.RETRY


def _error(state: RetryCallState) -> RetryableError:
    outcome = state.outcome
    error = outcome.exception() if outcome is not None else None
    if not isinstance(error, RetryableError):
        raise TypeError("tenacity asked for a decision without a retryable error")
    return error
