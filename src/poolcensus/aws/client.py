"""One call's way: retry(limit(send)), where the transport signs what it sends.

A call waits for its turn and its place, takes the credentials it will be signed with only then, and
holds nothing while it waits for a retry.
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

_NOTHING = nullcontext()
# A call that waits after one of these says nothing of how fast its region is: others may be opened there.
_MAKES_ROOM = (ThrottledError, UnrecognizedCredentialsError, BadResponseError)
# After one of these a service may be away, for all who call it.
_MAY_BE_AWAY = (ServerError, UnreachableError, CallTimeoutError)
# What one account's role or status fails with, while others are answered. Throttles are for all accounts, and
# so is what STS says of the credentials that it is asked with.
_MAY_SPARE_OTHERS = (*_MAY_BE_AWAY, BadResponseError)


class Client:
    """Makes calls for everyone in a run, within the run's limits."""

    # What the SDKs give one client, and four retries of 5 for each call in flight.
    _SMALLEST_QUOTA = 500
    _QUOTA_PER_PLACE = 20
    # A single connection may break for reasons of its own, and so may the one that is opened after it.
    _LAST_ATTEMPTS = 3
    # From the second on a call goes before those that have had no place: should that not do, those that have
    # one keep it for longer than sessions last. The rest is for what others are told of the same session.
    # The error is tried again as one of the service's is, each time with one more session.
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
        # What is being done, less what only waits for an answer that does not come.
        self.work = breakers.work
        self._attempt_timeout = attempt_timeout
        # The SDKs' quota of 500 is meant for one client with a few calls in flight: with many, a share
        # of failing calls that is harmless would empty it.
        self._quota_size = max(self._SMALLEST_QUOTA, limiter.total * self._QUOTA_PER_PLACE)
        self._quotas: dict[Endpoint, RetryQuota] = {}
        self.counts = CallCounts()
        # Calls in flight of this client. Others that share the limiter count theirs.
        self.in_flight = 0
        # Where a call can be made that tells whether its credentials are good, once that is known.
        self.confirmation: Confirmation | None = None
        self._feedback = ErrorFeedback(rates=rates, breakers=breakers, clock=clock, counts=self.counts)

    def forget(self, account_id: str) -> None:
        """Drop what is known of an account's rates: it has no call left to make."""
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
        with _NOTHING if call.idle else self.work:
            try:
                try:
                    answer = await self._attempt(call, watch)
                except UnrecognizedCredentialsError:
                    await self._settle_doubt(call, watch)
                    raise
                result = await self._anew(call, watch) if answer is None else answer[0]
            except RetryableError as error:
                return await (retrier or self._retrier).again(
                    partial(self._anew, call, watch),
                    error,
                    quota=quota,
                    deadline=lambda: watch.deadline,
                    on_retry=lambda retry: self._note_retry(call, retry),
                    pause=lambda error: self._pause_after(call, error),
                )
        quota.succeeded(0)
        return result

    async def _anew(self, call: Call[T], watch: CallWatch) -> T:
        """Return the result of the first attempt that gets its turn, whether its endpoint answers or not."""
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
        """Find out whether the credentials are good that a region did not know.

        If they are, and the region does not know them later either, the account has not enabled it.
        """
        source, doubted = call.source, watch.doubted
        if self.confirmation is None or not watch.region_may_be_disabled:
            return
        if doubted is None or doubted is not source.current():
            return
        if source.recognized_elsewhere(doubted, call.key.region, watch.doubted_at):
            return
        # That call is work instead of this one. Were both, no silence that it waits for would end.
        with nullcontext() if call.idle else self.work.resting:
            await self.confirmation.seek(call)

    async def _attempt_in_silence(self, call: Call[T], watch: CallWatch) -> tuple[T] | None:
        """Send the call to what does not answer, whenever it may be sent. None: it answers again."""
        endpoint = call.endpoint
        failures = 0
        # Nobody waits for the end of a probe, and its time is not the target's.
        with (
            nullcontext() if call.idle else self.work.resting,
            nullcontext() if call.optional else self.breakers.need(endpoint),
            watch.waiting(self.breakers.now),
        ):
            while True:
                with self._away(call):
                    await self.breakers.admit(endpoint, optional=call.optional)
                state = self.breakers.state(endpoint)
                if state is State.CLOSED:
                    return None
                try:
                    return await self._attempt(call, watch, in_silence=True)
                except (UnreachableError, CallTimeoutError) as error:
                    failures += state is State.LAST_ROUND
                    # A probe that takes long to fail would be followed by the next at once.
                    gives_up = call.optional or failures == self._LAST_ATTEMPTS
                    if gives_up or self.breakers.is_over(endpoint):
                        raise self._silence(endpoint, error) from error

    def _silence(self, endpoint: Endpoint, error: UnreachableError | CallTimeoutError) -> CensusError:
        if isinstance(error, NoRouteError) and self.breakers.is_the_network(endpoint):
            return FatalError(f"AWS can't be reached from this machine: {error.message}")
        return SilentError(error.message, code=error.code, status=error.status, request_id=error.request_id)

    async def _attempt(self, call: Call[T], watch: CallWatch, *, in_silence: bool = False) -> tuple[T] | None:
        """Send the call once it has its place. None: its endpoint does not answer, or not any more."""
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
            # In the last round everybody has a call, and nobody else needs the places.
            doubtful = (in_silence or watch.failing) and breakers.state(endpoint) is not State.LAST_ROUND
            with self._in_doubt(call, watch) if doubtful else _NOTHING:
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
            # The credentials ended while the call waited for its place. They are renewed without one,
            # and the call goes before those that have not had a place yet: otherwise sessions that are
            # shorter than the queue would be renewed for ever.
            ahead = True

    @contextmanager
    def _in_doubt(self, call: Call[object], watch: CallWatch) -> Iterator[None]:
        """Wait for one of the few places of those who call what may be away: others take their time there."""
        with self._away(call), watch.waiting(self.breakers.now):
            yield

    def _note_unused(self, watch: CallWatch) -> None:
        """Note that credentials ended while a call waited for its place. Raises ExpiredError for too many."""
        watch.unused += 1
        if watch.unused >= self._MOST_UNUSED:
            raise ExpiredError(
                f"sessions end before a call can be sent with them: {watch.unused} have, one after the other",
                code=SESSIONS_TOO_SHORT,
            )

    async def _wait_for_turn(self, call: Call[object], watch: CallWatch, *, rests: bool) -> None:
        # Credentials first: a call whose role is refused is never sent, and would take the turn of another.
        if call.source.current() is None:
            await self._renew(call, watch, rests=rests)
        if not self._rates.admits(call.key, begun=call.begun):
            # What targets wait for may wait for its turn as well: its time is for what it does then.
            waiting = watch.waiting(self.breakers.now) if call.awaited else _NOTHING
            with self._pause(call, in_region=True), waiting:
                sent = await self._rates.wait(call.key, begun=call.begun, queues=call.queues)
            if not sent:
                what = f"{call.key.service} in {call.key.region}"
                again = " again" if watch.attempts > watch.before_call else ""
                raise HeldBackError(f"not called{again}: {what} throttles all calls", code="Throttled")

    async def _renew(self, call: Call[object], watch: CallWatch, *, rests: bool) -> None:
        """Wait for credentials. `rests` says that the call was work: the one that brings them is instead."""
        resting = self.work.resting if rests and call.source.by_call else _NOTHING
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
                # One that is cut off or not HTTP is an answer, as one is whose body can't be parsed.
                self.breakers.replied(endpoint)
                if watch.window is not None:
                    watch.window.replied()
            watch.failing = isinstance(error, _MAY_BE_AWAY)
            (call.redact or redact)(error, *keys_of(credentials))
            if not isinstance(error, RetryableError):
                # A service that refuses is not down.
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
            return self._away(call)
        return self._pause(call, in_region=isinstance(error, _MAKES_ROOM))

    def _away(self, call: Call[object]) -> AbstractContextManager[None]:
        """Count the target of a call as waiting for what may be away.

        Those are as many as the windows of their regions let in: they hold up no target elsewhere.
        """
        return nullcontext() if call.awaited else self.pauses.silence(call.place.account_id)

    def _note_retry(self, call: Call[object], retry: Retry) -> None:
        self.counts.retries += 1
        if self._observer is not None:
            self._observer.retry(call, retry)
