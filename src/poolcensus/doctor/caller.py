"""Checks that there are credentials, and whose they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.table import is_denial
from poolcensus.doctor.denied import Attempt, explain_denial
from poolcensus.doctor.failures import explain_failure
from poolcensus.doctor.findings import UNADVISED, Cause, Check, CheckStatus, Finding
from poolcensus.errors import CallError

if TYPE_CHECKING:
    from poolcensus.errors import FatalError
    from poolcensus.model import Caller

_ACTION: Final = "sts:GetCallerIdentity"


def caller_known(caller: Caller) -> Finding:
    """Return the finding for a caller that STS has identified."""
    return Finding(
        check=Check.CALLER,
        status=CheckStatus.OK,
        account_id=caller.account_id,
        action=_ACTION,
        message=f"The caller is {caller.arn}.",
    )


def caller_unknown(error: FatalError) -> Finding:
    """Return the finding for credentials that are missing, or that STS does not accept."""
    remedy = error.advice or UNADVISED
    cause, policy, code = Cause.CREDENTIALS, None, None
    reply = error.__cause__
    if isinstance(reply, CallError):
        code = reply.code
        if is_denial(code):
            # The call needs no permission, but the policy of a VPC endpoint may deny it:
            # https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
            found = explain_denial(reply.message, Attempt(_ACTION, "the caller", "the caller's account"))
        else:
            found = explain_failure(reply.outcome, code, reply.message)
        cause, remedy, policy = found.cause, found.remedy, found.policy
    return Finding(
        check=Check.CALLER,
        status=CheckStatus.FAILED,
        action=_ACTION if code is not None else None,
        code=code,
        cause=cause,
        message=error.problem if remedy == error.advice else str(error),
        remedy=remedy,
        policy=policy,
    )
