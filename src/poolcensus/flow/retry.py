"""Retries: when a call is made again. No other module imports tenacity."""

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
"""How many seconds new credentials may be unknown in a region.

IAM is eventually consistent, and AWS names no upper bound for the delay. Most runs never wait for it. In a
run without region status, each target in a disabled region waits so long, dozens of them at the same time.
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
"""


class RetryPolicy(msgspec.Struct, frozen=True):
    """How many attempts a call has, and how long the waits are. Times are in seconds.

    `max_attempts` bounds all attempts, except that the first refusal of credentials is always retried.
    Attempts that end in the same way have bounds of their own:
    `max_bad_replies`, since a reply that is not the operation's result is seldom followed by a good one;
    `max_expired`, since renewed credentials that have expired too are not followed by better ones;
    `max_unrecognized`, for credentials that the service does not know; and `max_without_reply`, if it is not
    None, for attempts without a reply.

    The wait before retry n is min(longest_wait, first_wait * 2**(n-1)), less a random part. The random part
    is up to half of the wait, so that twelve attempts take most of a minute. After a throttle it is up to the
    whole wait, down to `throttle_floor`, since calls at the same time cause more throttles. After credentials
    were not recognized, the wait is long enough that they are known everywhere.
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
    """A retry that is due in `wait` seconds, after attempt number `attempt` (from 1) failed with `error`."""

    error: RetryableError
    attempt: int
    wait: float


class Retrier:
    """Makes a call again while its error is retryable and the policy and the quota allow it."""

    # `sys.modules` can't tell: it has a module while another thread is still importing it.
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
        # A generator of its own, so that a program that seeds the module's generator is not disturbed.
        self._jitter = jitter or random.Random().random  # noqa: S311 - nothing secret

    @classmethod
    def load(cls) -> None:
        """Import tenacity. Blocks. If this is not called, the first retry imports it in a thread."""
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
        """Retry a call whose first attempt failed with `first`. Return the first result.

        `deadline` returns a time on the retrier's clock; no retry is made that would start after it.
        `on_retry` is called before each wait, and the wait is made inside `pause(error)`. Raises the error of
        the last attempt.
        """
        # The import takes 10 to 30 ms, since tenacity looks for other libraries.
        if not self._tenacity_is_loaded:
            await in_thread(self.load)
        from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential  # noqa: PLC0415 - see above

        backoff = wait_exponential(multiplier=self._policy.first_wait, max=self._policy.longest_wait)
        # The first turn replays the first failure, so that tenacity counts attempts and waits as usual.
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
    """Counts the failures of one call by kind, and checks them against the policy."""

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
        # One refusal of credentials says little, so there is a second attempt even past `max_attempts`.
        in_doubt = isinstance(error, UnrecognizedCredentialsError) and self._unrecognized == 1
        return (
            (attempts >= policy.max_attempts and not in_doubt)
            or self._bad_replies >= policy.max_bad_replies
            or self._expired >= policy.max_expired
            or self._unrecognized >= policy.max_unrecognized
            or (policy.max_without_reply is not None and self._unanswered >= policy.max_without_reply)
        )


def _cost(error: RetryableError) -> int:
    # The rate limits handle throttling; the quota is for services that are down. If throttles cost quota,
    # targets of a busy service would fail that only have to wait.
    if isinstance(error, ThrottledError | ExpiredError | ClockSkewError | UnrecognizedCredentialsError):
        return 0
    return RetryQuota.TIMEOUT if isinstance(error, CallTimeoutError) else RetryQuota.RETRY


def _error(state: RetryCallState) -> RetryableError:
    outcome = state.outcome
    error = outcome.exception() if outcome is not None else None
    if not isinstance(error, RetryableError):
        raise TypeError("tenacity asked for a decision without a retryable error")
    return error
