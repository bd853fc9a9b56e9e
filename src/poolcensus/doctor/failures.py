"""What a failure that is no denial comes down to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.table import BAD_SIGNATURES, error_class_of
from poolcensus.doctor.findings import Cause, CheckStatus, Diagnosis
from poolcensus.errors import (
    ClockSkewError,
    ExpiredError,
    ThrottledError,
    UnrecognizedCredentialsError,
)
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.errors import CallError

_CAUSES: Final[Mapping[Outcome, Cause]] = {
    Outcome.THROTTLED: Cause.THROTTLED,
    Outcome.UNREACHABLE: Cause.UNREACHABLE,
    Outcome.TIMED_OUT: Cause.TIMEOUT,
    Outcome.BAD_RESPONSE: Cause.BAD_RESPONSE,
    Outcome.EXPIRED: Cause.EXPIRED,
    Outcome.CANCELLED: Cause.TIMEOUT,
}
_KINDS: Final[Mapping[type[CallError], Cause]] = {
    ThrottledError: Cause.THROTTLED,
    ExpiredError: Cause.EXPIRED,
    ClockSkewError: Cause.CLOCK,
    UnrecognizedCredentialsError: Cause.CREDENTIALS,
}
_REMEDIES: Final[Mapping[Cause, str]] = {
    Cause.THROTTLED: "Run it again in a minute. If it stays, lower `concurrency`.",
    Cause.UNREACHABLE: "Check DNS, proxy and firewall for the endpoint that the message names.",
    Cause.TIMEOUT: "Run it again, with a longer `deadline` if it has one.",
    Cause.BAD_RESPONSE: "Check for a proxy that changes responses.",
    Cause.EXPIRED: "Use credentials that last as long as a run.",
    Cause.CLOCK: "Set this machine's clock.",
    Cause.CREDENTIALS: "Check which credentials are used, with 'aws sts get-caller-identity'.",
    Cause.SERVICE_ERROR: "Run it again. If it stays, ask AWS Support.",
}
_WRONG_KEYS: Final = "Check the access key, its secret and the session token."


def explain_failure(outcome: Outcome, code: str | None, message: str) -> Diagnosis:
    """Return what a call that failed with an outcome, a code and a message comes down to."""
    cause = _CAUSES.get(outcome)
    if cause is None and code is not None:
        # Whoever wraps an error keeps its code. The status counts only where no code is known.
        cause = _KINDS.get(error_class_of(code, 400, message))
        if cause is None and code in BAD_SIGNATURES:
            return Diagnosis(CheckStatus.FAILED, Cause.CREDENTIALS, _WRONG_KEYS)
    cause = cause or Cause.SERVICE_ERROR
    return Diagnosis(CheckStatus.FAILED, cause, _REMEDIES[cause])
