"""One call's way: retry(limit(sign(send))).

A call waits for its turn and its place, takes the credentials it will be signed with only then, and
holds nothing while it waits for a retry.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from poolcensus.aws.faults import error_of
from poolcensus.aws.signing import sign
from poolcensus.errors import (
    CallTimeoutError,
    ClockSkewError,
    ExpiredError,
    RegionGivenUpError,
    RegionUnsupportedError,
    RetryableError,
    ThrottledError,
    UnreachableError,
)
from poolcensus.health import Endpoint
from poolcensus.limits import RetryQuota

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from poolcensus.aws.signing import Clock, Credentials, RequestTemplate
    from poolcensus.aws.transport import Reply, Transport
    from poolcensus.errors import CallError
    from poolcensus.health import RegionHealth
    from poolcensus.limits import CallKey, Gate, Pauses, Share
    from poolcensus.rates import RateLimits
    from poolcensus.retry import Retrier

_log = logging.getLogger("poolcensus")

T = TypeVar("T")


class CredentialSource(Protocol):
    """Where a call's credentials come from, at the moment it is signed."""

    def current(self) -> Credentials | None:
        """The credentials if they can be used now, without waiting."""

    async def get(self) -> Credentials:
        """The credentials, new ones where the present ones have ended. Raises CallError."""

    def expired(self, credentials: Credentials) -> None:
        """The service says that these have expired."""


class CallCounts(msgspec.Struct):
    """What has been sent, in a target or in the whole run."""

    requests: int = 0
    retries: int = 0
    throttles: int = 0
    assume_role_calls: int = 0


class CallWatch(msgspec.Struct):
    """One target's calls: what was sent and since when, and when its time is over.

    Both times are on the monotonic clock, in seconds. `share` is told whether calls are answered.
    """

    deadline: float = float("inf")
    started: float = msgspec.field(default_factory=time.monotonic)
    attempts: int = 0
    throttles: int = 0
    share: Share | None = None


class Call(msgspec.Struct, frozen=True):
    """One call to make: the operation's template in its region, the body, and whose limits it uses.

    `about` is the account that the call is made for, where that is not the one whose limits it uses: the
    caller assumes roles for others. `awaited` says that targets wait for the call which are counted as
    waiting already, `begun` that its target has been read in part: it goes before those that have not.
    """

    template: RequestTemplate
    body: bytes
    body_digest: str
    key: CallKey
    about: str | None = None
    awaited: bool = False
    begun: bool = False

    @property
    def place(self) -> CallKey:
        """Whose places the call takes: those of the account that it is about."""
        return self.key if self.about is None else self.key._replace(account_id=self.about)


class Channel:
    """Makes calls for everyone in a run, within the run's limits."""

    _SMALLEST_QUOTA = 500
    _QUOTA_PER_PLACE = 20

    def __init__(
        self,
        *,
        transport: Transport,
        clock: Clock,
        retrier: Retrier,
        gate: Gate,
        rates: RateLimits,
        pauses: Pauses,
        health: RegionHealth,
        attempt_timeout: float,
        concurrency: int,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._retrier = retrier
        self._gate = gate
        self._rates = rates
        self.pauses = pauses
        self._health = health
        self._attempt_timeout = attempt_timeout
        # The SDKs' quota of 500 is meant for one client with a few calls in flight: with many, a share
        # of failing calls that is harmless would empty it.
        self._quota_size = max(self._SMALLEST_QUOTA, concurrency * self._QUOTA_PER_PLACE)
        self._quotas: dict[Endpoint, RetryQuota] = {}
        self.counts = CallCounts()

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return self._gate.in_flight

    def forget(self, account_id: str) -> None:
        """Drop what is known of an account's rates: it has no call left to make."""
        self._rates.forget(account_id)

    async def call(
        self,
        call: Call,
        source: CredentialSource,
        parse: Callable[[Reply], T],
        *,
        watch: CallWatch,
        retrier: Retrier | None = None,
    ) -> T:
        """What `parse` makes of the reply. A BadResponseError of `parse` is retried like a lost reply.

        Raises the CallError of the last attempt.
        """

        async def attempt() -> T:
            return await self._attempt(call, source, parse, watch)

        where = Endpoint(call.key.region, call.key.service)
        quota = self._quotas.get(where)
        if quota is None:
            quota = self._quotas[where] = RetryQuota(self._quota_size)
        return await (retrier or self._retrier).call(
            attempt,
            quota=quota,
            deadline=watch.deadline,
            on_retry=lambda error: self._note_retry(call, error),
            # A region that does not answer gets no more targets for those that wait there.
            pause=lambda error: self._pause(call, in_region=isinstance(error, ThrottledError)),
        )

    async def _attempt(
        self, call: Call, source: CredentialSource, parse: Callable[[Reply], T], watch: CallWatch
    ) -> T:
        key = call.key
        if not self._rates.admits(key, begun=call.begun):
            with self._pause(call, in_region=True):
                await self._rates.wait(key, begun=call.begun)
        ahead = call.begun
        self._refuse_if_pointless(key)
        while True:
            if source.current() is None:
                with self._pause(call, in_region=False):
                    await source.get()
            await self._gate.acquire(call.place, ahead=ahead)
            try:
                self._refuse_if_pointless(key)
                credentials = source.current()
                if credentials is not None:
                    return await self._send(call, source, credentials, parse, watch)
            finally:
                self._gate.release(call.place)
            # The credentials ended while the call waited for its place. They are renewed without one,
            # and the call goes before those that have not had a place yet: otherwise sessions that are
            # shorter than the queue would be renewed for ever.
            ahead = True

    async def _send(
        self,
        call: Call,
        source: CredentialSource,
        credentials: Credentials,
        parse: Callable[[Reply], T],
        watch: CallWatch,
    ) -> T:
        template, key = call.template, call.key
        endpoint = Endpoint(key.region, key.service)
        watch.attempts += 1
        self.counts.requests += 1
        try:
            reply = await self._transport.send(
                template.method,
                template.url,
                sign(template, call.body_digest, credentials, self._clock.stamp()),
                call.body,
                timeout=self._attempt_timeout,
                proxy=template.proxy,
            )
            self._note_reply(endpoint, watch)
            error = error_of(reply) if reply.status != 200 else None
            if not isinstance(error, ThrottledError):
                self._rates.passed(key, begun=call.begun)
            if error is not None:
                raise error
            result = parse(reply)
        except ThrottledError:
            watch.throttles += 1
            self.counts.throttles += 1
            self._rates.throttled(key, begun=call.begun)
            raise
        except ExpiredError:
            source.expired(credentials)
            raise
        except ClockSkewError as error:
            if error.server_time is not None:
                self._clock.correct(error.server_time)
            raise
        except RegionUnsupportedError as error:
            self._health.lacks_operation(endpoint, call.place.account_id, error.message)
            raise
        except (UnreachableError, CallTimeoutError) as error:
            self._rates.passed(key, begun=call.begun)
            self._note_silence(endpoint, call, watch, error)
            raise
        self._health.served(endpoint)
        return result

    def _note_reply(self, endpoint: Endpoint, watch: CallWatch) -> None:
        self._health.replied(endpoint)
        if watch.share is not None:
            watch.share.replied()

    def _note_silence(self, endpoint: Endpoint, call: Call, watch: CallWatch, error: CallError) -> None:
        self._health.failed(endpoint, call.place.account_id, error.message)
        if watch.share is not None:
            watch.share.silent()

    def _pause(self, call: Call, *, in_region: bool) -> AbstractContextManager[None]:
        if call.awaited:
            return nullcontext()
        return self.pauses.pause(call.key.region if in_region else None)

    def _refuse_if_pointless(self, key: CallKey) -> None:
        endpoint = Endpoint(key.region, key.service)
        if (why := self._health.given_up(endpoint)) is not None:
            raise RegionGivenUpError(
                f"{key.region} was given up after several accounts could not reach it: {why}",
                code="RegionGivenUp",
            )
        if (why := self._health.unsupported(endpoint)) is not None:
            raise RegionUnsupportedError(why, code="RegionUnsupported")

    def _note_retry(self, call: Call, error: RetryableError) -> None:
        self.counts.retries += 1
        _log.debug(
            "%s in %s for %s is tried again: %s (%s)",
            call.key.service,
            call.key.region,
            call.place.account_id,
            error.message,
            error.code,
        )
