"""The client: makes one call as retry(limit(send)). The transport signs what it sends.

A call waits for its turn and its place, and only then takes the credentials that it is signed with. It holds
nothing while it waits for a retry.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from poolcensus.aws.call import CallCounts, FailedAttempt
from poolcensus.aws.faults import ERROR_HEADER, error_of
from poolcensus.aws.feedback import ErrorFeedback
from poolcensus.aws.refusals.redaction import keys_of, redact
from poolcensus.aws.shortage import Shortage
from poolcensus.errors import (
    SESSIONS_TOO_SHORT,
    BadResponseError,
    CallError,
    CallTimeoutError,
    ExpiredError,
    FatalError,
    HeldBackError,
    LocalLimitError,
    NoRouteError,
    RetryableError,
    ServerError,
    SilentError,
    ThrottledError,
    UnreachableError,
    UnrecognizedCredentialsError,
)
from poolcensus.flow.breaker import PATIENCE, State
from poolcensus.flow.retry_quota import RetryQuota

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from poolcensus.aws.call import Call, CallObserver, CallWatch, Confirmation
    from poolcensus.aws.signing import Clock, Credentials
    from poolcensus.aws.transport.protocol import Transport
    from poolcensus.errors import CensusError
    from poolcensus.flow.breaker import CircuitBreakers, Endpoint
    from poolcensus.flow.concurrency import ConcurrencyLimiter
    from poolcensus.flow.rate import RateLimits
    from poolcensus.flow.retry import Retrier, Retry
    from poolcensus.flow.windows import Pauses

T = TypeVar("T")

_NO_CONTEXT = nullcontext()
# While a call waits for a retry after one of these errors, another target may be opened in its region: the
# errors don't mean that the region is slow.
_MAKES_ROOM = (ThrottledError, UnrecognizedCredentialsError, BadResponseError)
# After one of these errors the service may be down, for all calls.
_MAY_BE_AWAY = (ServerError, UnreachableError, CallTimeoutError)
# Errors that one account's role or region status may fail with while those of other accounts succeed.
# Throttles concern all accounts, and so do refusals of the credentials that STS is called with.
_MAY_SPARE_OTHERS = (*_MAY_BE_AWAY, BadResponseError)


class Client:
    """Makes all calls of a run, within the run's limits."""

    # The SDKs' retry quota for one client, and four retries at 5 for each call in flight.
    _SMALLEST_QUOTA = 500
    _QUOTA_PER_PLACE = 20
    # How many attempts a call has in the last round. A connection may break for reasons of its own, and so
    # may the next one.
    _LAST_ATTEMPTS = 3
    # How many times in a row credentials may end before a call can be sent. From the second time on, the call
    # goes before calls that have not had a place yet. If that does not help, calls in flight take longer than
    # sessions last. The limit leaves room for sessions that end because other calls report them as expired.
    # The error is retried like one of the service, with a new session each time.
    _MOST_UNUSED = 6

    def __init__(
        self,
        *,
        transport: Transport,
        clock: Clock,
        retrier: Retrier,
        limiter: ConcurrencyLimiter,
        rates: RateLimits,
        pauses: Pauses,
        breakers: CircuitBreakers,
        attempt_timeout: float,
        observer: CallObserver | None = None,
    ) -> None:
        self._observer = observer
        self._transport = transport
        self._clock = clock
        self._retrier = retrier
        self.limiter = limiter
        self._rates = rates
        self.pauses = pauses
        self.breakers = breakers
        # The work in hand, without calls that only wait for silent endpoints.
        self.work = breakers.work
        self._attempt_timeout = attempt_timeout
        # The SDKs' quota of 500 is meant for a client with few calls in flight. With many calls, a harmless
        # part of them that fails would use it up.
        self._quota_size = max(self._SMALLEST_QUOTA, limiter.total * self._QUOTA_PER_PLACE)
        self._quotas: dict[Endpoint, RetryQuota] = {}
        self.counts = CallCounts()
        # This client's calls in flight. Other clients may share the limiter.
        self.in_flight = 0
        # Set once it is known in which region a confirmation can be requested.
        self.confirmation: Confirmation | None = None
        self._feedback = ErrorFeedback(rates=rates, breakers=breakers, clock=clock, counts=self.counts)

    def forget(self, account_id: str) -> None:
        """Drop the rates of an account that has no more calls to make."""
        self._rates.forget(account_id)

    async def call(
        self,
        call: Call[T],
        *,
        watch: CallWatch,
        retrier: Retrier | None = None,
    ) -> T:
        """Return the result of a call. Raises the CallError of its last attempt."""
        endpoint = call.endpoint
        watch.before_call, watch.failing, watch.failed, watch.unused = watch.attempts, False, None, 0
        quota = self._quotas.get(endpoint)
        if quota is None:
            quota = self._quotas[endpoint] = RetryQuota(
                self._quota_size, patience=PATIENCE, clock=self.breakers.now
            )
        with _NO_CONTEXT if call.idle else self.work:
            try:
                try:
                    answer = await self._attempt(call, watch)
                except UnrecognizedCredentialsError:
                    await self._settle_doubt(call, watch)
                    raise
                result = await self._attempt_even_in_silence(call, watch) if answer is None else answer[0]
            except RetryableError as error:
                return await (retrier or self._retrier).again(
                    partial(self._attempt_even_in_silence, call, watch),
                    error,
                    quota=quota,
                    deadline=lambda: watch.deadline,
                    on_retry=lambda retry: self._note_retry(call, retry),
                    pause=lambda error: self._pause_after(call, error),
                )
        quota.succeeded(0)
        return result

    async def _attempt_even_in_silence(self, call: Call[T], watch: CallWatch) -> T:
        """Make one attempt, after waiting for its turn or for a silent endpoint. Return its result."""
        try:
            while True:
                answer = await self._attempt(call, watch)
                if answer is None:
                    answer = await self._attempt_in_silence(call, watch)
                if answer is not None:
                    return answer[0]
        except UnrecognizedCredentialsError:
            await self._settle_doubt(call, watch)
            raise

    async def _settle_doubt(self, call: Call[object], watch: CallWatch) -> None:
        """Find out whether the credentials are good that a region did not recognize.

        If they are, and the region refuses them again later, the account has not enabled the region.
        """
        source, doubted = call.source, watch.doubted
        if self.confirmation is None or not watch.region_may_be_disabled:
            return
        if doubted is None or doubted is not source.current():
            return
        if source.recognized_elsewhere(doubted, call.key.region, watch.doubted_at):
            return
        # The other call counts as work in place of this one. If both counted, and the other call waited for a
        # silent endpoint, the wait would never end.
        with nullcontext() if call.idle else self.work.resting:
            await self.confirmation.seek(call)

    async def _attempt_in_silence(self, call: Call[T], watch: CallWatch) -> tuple[T] | None:
        """Send the call to a silent endpoint when the circuit breaker allows it.

        Return None if the endpoint answers again.
        """
        endpoint = call.endpoint
        failures = 0
        # A wait for a silent endpoint does not count as work, and its time is not the target's.
        with (
            nullcontext() if call.idle else self.work.resting,
            nullcontext() if call.optional else self.breakers.need(endpoint),
            watch.waiting(self.breakers.now),
        ):
            while True:
                with self._silence_wait(call):
                    await self.breakers.admit(endpoint, optional=call.optional)
                state = self.breakers.state(endpoint)
                if state is State.CLOSED:
                    return None
                try:
                    return await self._attempt(call, watch, in_silence=True)
                except (UnreachableError, CallTimeoutError) as error:
                    failures += state is State.LAST_ROUND
                    gives_up = call.optional or failures == self._LAST_ATTEMPTS
                    if gives_up or self.breakers.is_over(endpoint):
                        raise self._silent_error(endpoint, error) from error

    def _silent_error(self, endpoint: Endpoint, error: UnreachableError | CallTimeoutError) -> CensusError:
        if isinstance(error, NoRouteError) and self.breakers.is_the_network(endpoint):
            return FatalError(f"AWS can't be reached from this machine: {error.message}")
        return SilentError(error.message, code=error.code, status=error.status, request_id=error.request_id)

    async def _attempt(self, call: Call[T], watch: CallWatch, *, in_silence: bool = False) -> tuple[T] | None:
        """Send the call when it has its place. Return None if its endpoint is silent by then."""
        breakers, key, endpoint, source = self.breakers, call.key, call.endpoint, call.source
        if not in_silence and breakers.state(endpoint) is not State.CLOSED:
            return None
        rests = not (in_silence or call.idle)
        if source.current() is None or not self._rates.admits(key, begun=call.begun):
            await self._wait_for_turn(call, watch, rests=rests)
        place = key if call.about is None else call.place
        ahead = call.begun
        shortage: Shortage | None = None
        while True:
            present_shortage: Shortage | None = None
            if source.current() is None:
                await self._renew(call, watch, rests=rests)
            # In the last round all calls may use all places, since nothing else needs them.
            doubtful = (in_silence or watch.failing) and breakers.state(endpoint) is not State.LAST_ROUND
            with self._doubtful_wait(call, watch) if doubtful else _NO_CONTEXT:
                await self.limiter.acquire(place, ahead=ahead, doubtful=doubtful)
            self.in_flight += 1
            try:
                if breakers.state(endpoint) is not State.CLOSED:
                    if not in_silence:
                        return None
                    breakers.refuse_after_last_round(endpoint)
                credentials = source.current()
                if credentials is not None:
                    observer = self._observer
                    send = self._send if observer is None else partial(self._observed, observer)
                    return (await send(call, credentials, watch),)
            except LocalLimitError as error:
                shortage = present_shortage = shortage or Shortage(breakers)
                shortage.note(error)
            finally:
                self.in_flight -= 1
                self.limiter.release(place, doubtful=doubtful)
            if present_shortage is None:
                self._note_unused(watch)
            else:
                with self._pause(call, in_region=False):
                    await present_shortage.pause()
            # The credentials ended while the call waited for its place. They are renewed while it holds none,
            # and then it goes before calls that have not had a place yet. Otherwise sessions that are shorter
            # than the wait for a place would be renewed forever.
            ahead = True

    @contextmanager
    def _doubtful_wait(self, call: Call[object], watch: CallWatch) -> Iterator[None]:
        """Count the wait for one of the few places of doubtful calls as a wait for a silent endpoint."""
        with self._silence_wait(call), watch.waiting(self.breakers.now):
            yield

    def _note_unused(self, watch: CallWatch) -> None:
        """Count credentials that ended before the call could be sent. Raises ExpiredError at the limit."""
        watch.unused += 1
        if watch.unused >= self._MOST_UNUSED:
            raise ExpiredError(
                f"sessions end before a call can be sent with them: {watch.unused} have, one after the other",
                code=SESSIONS_TOO_SHORT,
            )

    async def _wait_for_turn(self, call: Call[object], watch: CallWatch, *, rests: bool) -> None:
        # Credentials first: if the role is refused, the call is never sent and must not use up a turn.
        if call.source.current() is None:
            await self._renew(call, watch, rests=rests)
        if not self._rates.admits(call.key, begun=call.begun):
            # A call that targets depend on has a deadline for its attempts, not for the wait for its turn.
            waiting = watch.waiting(self.breakers.now) if call.awaited else _NO_CONTEXT
            with self._pause(call, in_region=True), waiting:
                sent = await self._rates.wait(call.key, begun=call.begun, queues=call.queues)
            if not sent:
                what = f"{call.key.service} in {call.key.region}"
                again = " again" if watch.attempts > watch.before_call else ""
                raise HeldBackError(f"not called{again}: {what} throttles all calls", code="Throttled")

    async def _renew(self, call: Call[object], watch: CallWatch, *, rests: bool) -> None:
        """Wait for credentials.

        `rests` is whether the call counted as work. The call that fetches the credentials counts in its
        place.
        """
        resting = self.work.resting if rests and call.source.by_call else _NO_CONTEXT
        with self._pause(call, in_region=False), resting, watch.waiting(self.breakers.now):
            await call.source.get()

    async def _observed(
        self, observer: CallObserver, call: Call[T], credentials: Credentials, watch: CallWatch
    ) -> T:
        send = partial(self._send, credentials=credentials, watch=watch)
        number = watch.attempts - watch.before_call + 1
        return await observer.attempt(call, number, send, keys_of(credentials))

    async def _send(self, call: Call[T], credentials: Credentials, watch: CallWatch) -> T:
        endpoint = call.endpoint
        watch.attempts += 1
        watch.unused = 0
        self.counts.requests += 1
        sent_at = self.breakers.now()
        reply = None
        try:
            reply = await self._transport.send(
                call.template,
                call.body,
                credentials,
                self._clock.stamp(endpoint),
                timeout=self._attempt_timeout
                if call.longest_attempt is None
                else min(call.longest_attempt, self._attempt_timeout),
            )
            self.breakers.replied(endpoint)
            if watch.window is not None:
                watch.window.replied()
            if reply.status != 200 or ERROR_HEADER in reply.headers:
                raise error_of(reply, endpoint.region, call.operation)
            result = call.parse(reply)
        except CallError as error:
            if reply is None and isinstance(error, BadResponseError):
                # A reply that is truncated or not HTTP still shows that the endpoint answers.
                self.breakers.replied(endpoint)
                if watch.window is not None:
                    watch.window.replied()
            watch.failing = isinstance(error, _MAY_BE_AWAY)
            (call.redact or redact)(error, *keys_of(credentials))
            if not isinstance(error, RetryableError):
                # A service that refuses a call is not down.
                self._quotas[endpoint].succeeded(0)
            self._feedback.note(call, credentials, error, watch=watch, sent_at=sent_at)
            if isinstance(error, RetryableError):
                watch.failed = FailedAttempt.of(error, watch.attempts)
            raise
        watch.doubted, watch.failing = None, False
        call.source.recognized(credentials, endpoint.region, sent_at)
        self._rates.passed(call.key, begun=call.begun)
        return result

    def _pause(self, call: Call[object], *, in_region: bool) -> AbstractContextManager[None]:
        if call.awaited:
            return nullcontext()
        return self.pauses.pause(call.key.region if in_region else None)

    def _pause_after(self, call: Call[object], error: RetryableError) -> AbstractContextManager[None]:
        if call.awaited and isinstance(error, _MAY_SPARE_OTHERS):
            return self.pauses.rest(call.place.account_id)
        if isinstance(error, _MAY_BE_AWAY):
            return self._silence_wait(call)
        return self._pause(call, in_region=isinstance(error, _MAKES_ROOM))

    def _silence_wait(self, call: Call[object]) -> AbstractContextManager[None]:
        """Count the target of a call as waiting for an endpoint that may be down.

        The windows of regions limit these targets, so that they don't hold up other regions.
        """
        return nullcontext() if call.awaited else self.pauses.silence(call.place.account_id)

    def _note_retry(self, call: Call[object], retry: Retry) -> None:
        self.counts.retries += 1
        if self._observer is not None:
            self._observer.retry(call, retry)
