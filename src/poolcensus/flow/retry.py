"""When a call is made again. tenacity lives here and nowhere else."""

from __future__ import annotations

import random
import time
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, TypeVar

import anyio
import msgspec

from poolcensus.errors import (
    BadResponseError,
    CallTimeoutError,
    ClockSkewError,
    ExpiredError,
    RetryableError,
    ThrottledError,
    UnreachableError,
    UnrecognizedCredentialsError,
)
from poolcensus.flow.retry_quota import RetryQuota
from poolcensus.loops import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from tenacity import RetryCallState

T = TypeVar("T")

KNOWN_EVERYWHERE_SECONDS: Final = 5.0
"""How long new credentials may be unknown in a region, in seconds.

What IAM knows spreads with a delay, for which AWS names no bound. In most runs no credentials are refused.
In one that does not learn which regions are disabled, each target there waits so long, dozens at a time.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How often and how long. Times are seconds.

    A reply that is not the operation's result seldom heals, and new credentials that have expired too are
    not followed by better ones: both are worth fewer attempts. So are credentials that the service does not
    know, with which a call is not made again before they are known everywhere. `max_without_reply` is how
    often a call is made that finds nobody there, where that is less than `max_attempts`.

    The wait before retry n is min(longest_wait, first_wait * 2**(n-1)), and a random part less: up to half of
    it, so that twelve attempts take the best part of a minute; or up to all of it, but not below
    `throttle_floor`, where the service throttled, which calls that come at the same time make worse.
    """

    max_attempts: int = 12
    max_bad_replies: int = 6
    max_expired: int = 4
    max_unrecognized: int = 5
    max_without_reply: int | None = None
    first_wait: float = 0.25
    longest_wait: float = 20.0
    throttle_floor: float = 0.2


class Retry(NamedTuple):
    """A retry that is about to be waited for, in seconds: which attempt has failed, from 1, and with what."""

    error: RetryableError
    attempt: int
    wait: float


class Retrier:
    """Makes a call again while its error says that it may help and its limits last."""

    # `sys.modules` does not tell: a module is in it while another thread still imports it.
    _tenacity_is_loaded: ClassVar[bool] = False

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._sleep = sleep
        # Of its own: a service that has seeded the module's generator finds it where it left it.
        self._jitter = jitter or random.Random().random  # noqa: S311 - nothing secret

    @classmethod
    def load(cls) -> None:
        """Load what retries take. Blocks; otherwise the first one loads it in a thread."""
        import_module("tenacity")
        cls._tenacity_is_loaded = True

    async def again(
        self,
        attempt: Callable[[], Awaitable[T]],
        first: RetryableError,
        *,
        quota: RetryQuota,
        deadline: Callable[[], float],
        on_retry: Callable[[Retry], None],
        pause: Callable[[RetryableError], AbstractContextManager[None]],
    ) -> T:
        """Return the result of the first attempt that succeeds, after one that has failed with `first`.

        `deadline` returns a time on the retrier's clock: a retry that would start past it is not waited
        for. Each wait is made inside `pause(error)`.
        Raises the last error of the last attempt.
        """
        # It takes 10 to 30 ms to import, with what it knows of other libraries that are installed.
        if not self._tenacity_is_loaded:
            await in_thread(self.load)
        from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential  # noqa: PLC0415 - see above

        backoff = wait_exponential(multiplier=self._policy.first_wait, max=self._policy.longest_wait)
        # Its first turn replays the failure, so that tenacity counts attempts and waits as it always does.
        replay: list[RetryableError] = [first]
        last_cost = 0
        last_error = first
        failures = _Failures(self._policy)

        async def turn() -> T:
            if replay:
                raise replay.pop()
            return await attempt()

        def stop(state: RetryCallState) -> bool:
            nonlocal last_cost, last_error
            error = last_error = _error(state)
            if failures.enough(error, state.attempt_number):
                return True
            if isinstance(error, ThrottledError) and quota.is_enough_throttling(state.attempt_number):
                return True
            if self._clock() + state.upcoming_sleep >= deadline():
                return True
            cost = _cost(error)
            if not quota.spend(cost):
                return True
            last_cost = cost
            on_retry(Retry(error, state.attempt_number, state.upcoming_sleep))
            return False

        async def sleep(seconds: float) -> None:
            with pause(last_error):
                await self._sleep(seconds)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(RetryableError),
            wait=lambda state: self._wait(state, backoff(state)),
            stop=stop,
            sleep=sleep,
            reraise=True,
        )
        result: T = await retrying(turn)
        quota.succeeded(last_cost)
        return result

    def _wait(self, state: RetryCallState, backoff: float) -> float:
        error = _error(state)
        if isinstance(error, ExpiredError | ClockSkewError) and state.attempt_number == 1:
            return 0.0
        share = self._jitter()
        match error:
            case ThrottledError():
                delay = max(backoff * share, self._policy.throttle_floor)
            case UnrecognizedCredentialsError():
                delay = KNOWN_EVERYWHERE_SECONDS + backoff * share
            case _:
                delay = backoff * (1 + share) / 2
        return max(delay, min(error.retry_after or 0.0, self._policy.longest_wait))


class _Failures:
    """How often one call has failed in which way, and whether that is enough."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._bad_replies = 0
        self._expired = 0
        self._unrecognized = 0
        self._unanswered = 0

    def enough(self, error: RetryableError, attempts: int) -> bool:
        self._bad_replies += isinstance(error, BadResponseError)
        self._expired += isinstance(error, ExpiredError)
        self._unrecognized += isinstance(error, UnrecognizedCredentialsError)
        self._unanswered += isinstance(error, UnreachableError | CallTimeoutError)
        policy = self._policy
        # A region that does not know credentials is asked once more, whatever the bound: once says little.
        in_doubt = isinstance(error, UnrecognizedCredentialsError) and self._unrecognized == 1
        return (
            (attempts >= policy.max_attempts and not in_doubt)
            or self._bad_replies >= policy.max_bad_replies
            or self._expired >= policy.max_expired
            or self._unrecognized >= policy.max_unrecognized
            or (policy.max_without_reply is not None and self._unanswered >= policy.max_without_reply)
        )


def _cost(error: RetryableError) -> int:
    # The rate limiter answers throttling; the quota is for services that are down. Were throttles to
    # spend it, a busy service would lose targets that only have to wait their turn.
    if isinstance(error, ThrottledError | ExpiredError | ClockSkewError | UnrecognizedCredentialsError):
        return 0
    return RetryQuota.TIMEOUT if isinstance(error, CallTimeoutError) else RetryQuota.RETRY


def _error(state: RetryCallState) -> RetryableError:
    outcome = state.outcome
    error = outcome.exception() if outcome is not None else None
    if not isinstance(error, RetryableError):
        raise TypeError("tenacity asked for a decision without a retryable error")
    return error
