"""What the error of a call tells others: its limits, the clock, the credentials, and the run's counts."""

from __future__ import annotations

import logging
import platform
from typing import TYPE_CHECKING

from poolcensus.aws.refusals.table import is_denial
from poolcensus.errors import (
    AccessDeniedError,
    CallTimeoutError,
    ClockSkewError,
    ExpiredError,
    LocalLimitError,
    NotEntitledError,
    RegionDisabledError,
    ThrottledError,
    UnreachableError,
    UnrecognizedCredentialsError,
)
from poolcensus.flow import retry
from poolcensus.flow.breaker import State

if TYPE_CHECKING:
    from poolcensus.aws.call import Call, CallCounts, CallWatch
    from poolcensus.aws.signing import Clock, Credentials
    from poolcensus.errors import CallError
    from poolcensus.flow.breaker import CircuitBreakers
    from poolcensus.flow.rate import RateLimits

_log = logging.getLogger("poolcensus")


class ErrorFeedback:
    """Passes on what the errors of calls say about later ones."""

    def __init__(
        self, *, rates: RateLimits, breakers: CircuitBreakers, clock: Clock, counts: CallCounts
    ) -> None:
        self._rates = rates
        self._breakers = breakers
        self._clock = clock
        self._counts = counts
        self._told_that_off: set[bool] = set()

    def note(
        self,
        call: Call[object],
        credentials: Credentials,
        error: CallError,
        *,
        watch: CallWatch,
        sent_at: float,
    ) -> None:
        """Pass on the error of an attempt that was sent at `sent_at`, by the breakers' clock.

        Raises RegionDisabledError where that is what the error means.
        """
        source, region = call.source, call.key.region
        if not isinstance(error, ThrottledError | LocalLimitError):
            self._rates.passed(call.key, begun=call.begun)
        match error:
            case ThrottledError():
                watch.throttles += 1
                self._counts.throttles += 1
                self._rates.throttled(call.key, begun=call.begun)
            case LocalLimitError():
                # It has not been sent.
                watch.attempts -= 1
                self._counts.requests -= 1
            case ExpiredError():
                source.expired(credentials)
            case ClockSkewError(server_time=float(moment)):
                if self._clock.correct(call.endpoint, moment):
                    self._tell_of_clock()
            case UnrecognizedCredentialsError():
                _note_doubt(error, call, credentials, watch, sent_at)
            case AccessDeniedError() | NotEntitledError() if is_denial(error.code):
                # Whether something is allowed is looked at once it is known who asks. A 403 without a code of
                # AWS may be a proxy's, and one with another code is about the signature.
                source.recognized(credentials, region, sent_at)
            case UnreachableError() | CallTimeoutError():
                self._note_silence(call, watch, sent_at, error)

    def _tell_of_clock(self) -> None:
        clock = self._clock
        # An endpoint whose own clock jumps to and fro would be told of at each call.
        if clock.is_off in self._told_that_off:
            return
        self._told_that_off.add(clock.is_off)
        # Others in the run that are on this machine have the same clock, and measure it by themselves.
        once = {"once": f"clock of {platform.node()} {'off' if clock.is_off else 'right'}"}
        if not clock.is_off:
            _log.warning(
                "this machine's clock agrees with AWS's: calls are signed with its time again", extra=once
            )
            return
        _log.warning(
            "this machine's clock is %.0f s %s AWS's: calls are signed with AWS's time, and a snapshot has"
            " this machine's",
            abs(clock.offset),
            "behind" if clock.offset > 0 else "ahead of",
            extra=once,
        )

    def _note_silence(self, call: Call[object], watch: CallWatch, sent_at: float, error: CallError) -> None:
        endpoint = call.endpoint
        self._breakers.failed(endpoint, call.place.account_id, sent_at, error.message)
        # In the last round nobody else needs the room.
        if watch.window is not None and self._breakers.state(endpoint) is not State.LAST_ROUND:
            watch.window.silent()


def _note_doubt(
    error: CallError, call: Call[object], credentials: Credentials, watch: CallWatch, sent_at: float
) -> None:
    if credentials is not watch.doubted:
        watch.doubted, watch.doubted_at = credentials, sent_at
        return
    source, since = call.source, watch.doubted_at
    # A second refusal soon after the first says no more than that: a region may not know a session yet.
    if sent_at < since + retry.KNOWN_EVERYWHERE_SECONDS:
        return
    # That they were known before says nothing: a session may be revoked at any time.
    if not source.recognized_elsewhere(credentials, call.key.region, since):
        if source.by_call:
            source.expired(credentials)
    elif watch.region_may_be_disabled:
        raise RegionDisabledError(
            error.message, code=error.code, status=error.status, request_id=error.request_id
        ) from error
