"""Applies the errors of calls to what later calls share: rates, breakers, clock, credentials and counts."""

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
    """Updates what calls share after the error of an attempt."""

    def __init__(
        self, *, rates: RateLimits, breakers: CircuitBreakers, clock: Clock, counts: CallCounts
    ) -> None:
        self._rates = rates
        self._breakers = breakers
        self._clock = clock
        self._counts = counts
        # The states of the clock (off or not) that were warned of.
        self._warned: set[bool] = set()

    def note(
        self,
        call: Call[object],
        credentials: Credentials,
        error: CallError,
        *,
        watch: CallWatch,
        sent_at: float,
    ) -> None:
        """Handle the error of an attempt. `sent_at` is on the breakers' clock.

        Raises RegionDisabledError in its place if that is what the error means.
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
                # The request was not sent.
                watch.attempts -= 1
                self._counts.requests -= 1
            case ExpiredError():
                source.expired(credentials)
            case ClockSkewError(server_time=float(moment)):
                if self._clock.correct(call.endpoint, moment):
                    self._warn_of_clock()
            case UnrecognizedCredentialsError():
                _note_doubt(error, call, credentials, watch, sent_at)
            case AccessDeniedError() | NotEntitledError() if is_denial(error.code):
                # A service checks permissions after it has recognized the credentials. A 403 without a code
                # may be a proxy's, and a 403 with another code is about the signature.
                source.recognized(credentials, region, sent_at)
            case UnreachableError() | CallTimeoutError():
                self._note_silence(call, watch, sent_at, error)

    def _warn_of_clock(self) -> None:
        clock = self._clock
        # At most once for each state: an endpoint's own clock may jump back and forth.
        if clock.is_off in self._warned:
            return
        self._warned.add(clock.is_off)
        # Other processes of the run on this machine find the same; only one warning is shown.
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
        # In the last round the window stays open, since no other region needs the places.
        if watch.window is not None and self._breakers.state(endpoint) is not State.LAST_ROUND:
            watch.window.silent()


def _note_doubt(
    error: CallError, call: Call[object], credentials: Credentials, watch: CallWatch, sent_at: float
) -> None:
    if credentials is not watch.doubted:
        watch.doubted, watch.doubted_at = credentials, sent_at
        return
    source, since = call.source, watch.doubted_at
    # Soon after the first refusal, the region may just not know a new session yet.
    if sent_at < since + retry.KNOWN_EVERYWHERE_SECONDS:
        return
    # Only recognition after the first refusal counts, since a session may be revoked at any time.
    if not source.recognized_elsewhere(credentials, call.key.region, since):
        if source.by_call:
            source.expired(credentials)
    elif watch.region_may_be_disabled:
        raise RegionDisabledError(
            error.message, code=error.code, status=error.status, request_id=error.request_id
        ) from error
