"""Explains failures of accounts that are called with a profile of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.denials import read_denial
from poolcensus.aws.refusals.table import is_denial
from poolcensus.doctor.denied import Attempt, explain_denial
from poolcensus.doctor.failures import explain_failure
from poolcensus.doctor.findings import Cause, CheckStatus, Diagnosis
from poolcensus.errors import ProfileTrouble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.model import TargetResult

# Called before the credentials of a profile are used, to learn which account they belong to.
_ACTION: Final = "sts:GetCallerIdentity"
_REMEDIES: Final[Mapping[str, str]] = {
    ProfileTrouble.NO_CREDENTIALS: (
        "Sign in with the profile, or correct it in the AWS config of the user that runs this."
    ),
    ProfileTrouble.WRONG_ACCOUNT: (
        "Correct the profile in the file that names the account, or name a role there."
    ),
}


def is_of_profile(result: TargetResult) -> bool:
    """Return whether a target has no credentials because its profile has no usable ones."""
    denial = read_denial(result.error_message or "")
    return result.error_code in _REMEDIES or (denial is not None and denial.action == _ACTION)


def explain_profile_failure(result: TargetResult) -> Diagnosis:
    """Explain the result of a target whose profile can't be used."""
    code, message = result.error_code or "", result.error_message or ""
    if code in _REMEDIES:
        return Diagnosis(CheckStatus.FAILED, Cause.CREDENTIALS, _REMEDIES[code])
    if is_denial(code):
        return explain_denial(
            message, Attempt(_ACTION, "whoever the profile's credentials belong to", "them")
        )
    return explain_failure(result.outcome, code, message)
