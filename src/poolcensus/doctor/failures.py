"""Explains a failure that is not a denial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.assume_role import RoleRefusal
from poolcensus.aws.refusals.table import BAD_SIGNATURES, error_class_of
from poolcensus.doctor.findings import Cause, CheckStatus, Diagnosis
from poolcensus.errors import ClockSkewError, UnrecognizedCredentialsError
from poolcensus.model import Outcome
from poolcensus.results.remedies import ROLE_REMEDIES, remedy_of_outcome
from poolcensus.results.role_trouble import RoleTrouble, role_trouble_of

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
    ClockSkewError: Cause.CLOCK,
    UnrecognizedCredentialsError: Cause.CREDENTIALS,
}
_ROLE_TROUBLES: Final[Mapping[str | None, Cause]] = {
    RoleTrouble.NO_REPLY: Cause.UNREACHABLE,
    RoleTrouble.BAD_REPLY: Cause.BAD_RESPONSE,
    RoleTrouble.LOCAL_LIMIT: Cause.UNREACHABLE,
    RoleTrouble.DOWN: Cause.SERVICE_ERROR,
    RoleTrouble.THROTTLED: Cause.THROTTLED,
    RoleTrouble.NOT_ACCEPTED: Cause.CREDENTIALS,
    RoleRefusal.DURATION: Cause.DURATION,
    RoleRefusal.POLICY_AND_TAGS: Cause.SESSION_POLICY,
    RoleRefusal.POLICY: Cause.SESSION_POLICY,
    RoleRefusal.VALUE: Cause.SERVICE_ERROR,
}
# Remedies that results/remedies.py lacks, or has only for a run with a ledger and many regions.
_REMEDIES: Final[Mapping[Cause, str]] = {
    Cause.UNREACHABLE: "Check DNS, proxy and firewall for the endpoint that the message names.",
    Cause.CLOCK: "Set this machine's clock.",
    Cause.CREDENTIALS: "Check which credentials are used, with 'aws sts get-caller-identity'.",
    Cause.SERVICE_ERROR: "Run it again. If it stays, ask AWS Support.",
}
_WRONG_KEYS: Final = "Check the access key, its secret and the session token."


def explain_failure(outcome: Outcome, code: str | None, message: str) -> Diagnosis:
    """Explain a call that failed with this outcome, error code and message."""
    if outcome is Outcome.ASSUME_ROLE_FAILED:
        trouble = role_trouble_of(code, message)
        if (cause := _ROLE_TROUBLES.get(trouble)) is not None:
            return Diagnosis(CheckStatus.FAILED, cause, ROLE_REMEDIES[trouble])
    cause = _CAUSES.get(outcome)
    if cause is None and code is not None:
        # Classify the error by its code. The HTTP status, not known here, counts only for unknown codes.
        kind = error_class_of(code, 400, message)
        outcome = kind.outcome
        cause = _KINDS.get(kind) or _CAUSES.get(outcome)
        if cause is None and code in BAD_SIGNATURES:
            return Diagnosis(CheckStatus.FAILED, Cause.CREDENTIALS, _WRONG_KEYS)
    cause = cause or Cause.SERVICE_ERROR
    return Diagnosis(CheckStatus.FAILED, cause, _REMEDIES.get(cause) or remedy_of_outcome(outcome, code))
