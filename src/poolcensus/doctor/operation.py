"""Checks that the operation answers in each region of an account."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.table import is_unexplained
from poolcensus.aws.region_status.calls import IAM_ACTIONS
from poolcensus.doctor.denied import THE_ACCOUNT, Attempt, explain_denial
from poolcensus.doctor.failures import explain_failure
from poolcensus.doctor.findings import UNADVISED, Cause, Check, CheckStatus, Diagnosis, Finding
from poolcensus.doctor.statements import allow
from poolcensus.errors import CredentialsError
from poolcensus.format.text import counted
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.doctor.observation import Observed
    from poolcensus.errors import FatalError
    from poolcensus.model import TargetResult
    from poolcensus.operations import Operation

_ALLOWED: Final = frozenset({Outcome.OK, Outcome.EMPTY})
_NOT_ENTITLED: Final = (
    "Nothing to do: AWS has closed the service to this account, which is no customer of it. A collect covers"
    " it as not_entitled."
)
_NOT_OFFERED: Final = (
    "Nothing to do: the region does not offer the operation. A collect covers it as region_unsupported."
)
KNOWN_GAP: Final = Diagnosis(CheckStatus.SKIPPED, Cause.KNOWN_GAP, "Nothing to do: `known_gaps` names it.")
"""The explanation of a failure that `known_gaps` expects."""
_ROLE_FAILED: Final = "Not tried: there are no credentials of the account."


def operation_findings(
    observed: Observed, who: str, operation: Operation, opt_in: frozenset[str]
) -> Iterator[Finding]:
    """Yield a finding for each region of an account. `who` describes who makes the calls there."""
    account_id = observed.account.id
    if all(each.outcome is Outcome.ASSUME_ROLE_FAILED for each in observed.results):
        yield Finding(
            check=Check.OPERATION,
            status=CheckStatus.SKIPPED,
            account_id=account_id,
            action=operation.iam_action,
            message=_ROLE_FAILED,
        )
        return
    for result in observed.results:
        is_covered = result.outcome in {Outcome.OK, Outcome.EMPTY, Outcome.REGION_DISABLED}
        found = None if is_covered else _diagnosis(result, observed, who, operation, opt_in)
        yield Finding(
            check=Check.OPERATION,
            status=found.status if found is not None else CheckStatus.OK,
            account_id=account_id,
            region=result.region,
            action=found.action if found is not None and found.action else operation.iam_action,
            code=result.error_code,
            cause=found.cause if found is not None else _cause(result),
            message=result.error_message or _answer(result, operation),
            remedy=found.remedy if found is not None else None,
            policy=found.policy if found is not None else None,
        )


def census_ended(error: FatalError, operation: Operation) -> Finding:
    """Return the finding for an error that would end a census, whatever the accounts allow."""
    return Finding(
        check=Check.OPERATION,
        status=CheckStatus.FAILED,
        action=operation.iam_action,
        cause=Cause.CREDENTIALS if isinstance(error, CredentialsError) else Cause.UNREACHABLE,
        # The message without its advice, which is the remedy.
        message=error.problem,
        remedy=error.advice or UNADVISED,
    )


def _cause(result: TargetResult) -> Cause | None:
    return Cause.REGION_DISABLED if result.outcome is Outcome.REGION_DISABLED else None


def _answer(result: TargetResult, operation: Operation) -> str:
    if result.outcome is Outcome.REGION_DISABLED:
        return "The account has not enabled the region."
    return f"Answered with {counted(result.pools, operation.item)}."


def _diagnosis(
    result: TargetResult, observed: Observed, who: str, operation: Operation, opt_in: frozenset[str]
) -> Diagnosis:
    if result.region in observed.known_gaps:
        return KNOWN_GAP
    match result.outcome:
        case Outcome.NOT_ENTITLED:
            found = Diagnosis(CheckStatus.NOT_MENDABLE, Cause.NOT_ENTITLED, _NOT_ENTITLED)
        case Outcome.REGION_UNSUPPORTED:
            found = Diagnosis(CheckStatus.NOT_MENDABLE, Cause.NOT_OFFERED, _NOT_OFFERED)
        case Outcome.SCP_DENIED | Outcome.ACCESS_DENIED:
            found = _denied(result, observed, who, operation)
        case _:
            found = explain_failure(result.outcome, result.error_code, result.error_message or "")
    if found.cause is Cause.CREDENTIALS and result.region in opt_in and observed.status.action is None:
        # A region that is disabled gives the same error as one that does not know the credentials.
        remedy = (
            "The region may not be enabled for the account, which only its region status tells. Attach this"
            f" statement to {who}, or leave the region out with `exclude_regions`."
        )
        return Diagnosis(CheckStatus.FAILED, Cause.REGION_DISABLED, remedy, allow(IAM_ACTIONS[0]))
    return found


def _denied(result: TargetResult, observed: Observed, who: str, operation: Operation) -> Diagnosis:
    message = result.error_message or ""
    found = explain_denial(message, Attempt(operation.iam_action, who, THE_ACCOUNT))
    if found.cause is not Cause.UNEXPLAINED:
        return found
    if result.outcome is Outcome.SCP_DENIED:
        remedy = "No grant helps: a service control policy above the account has to be changed."
        return Diagnosis(CheckStatus.NOT_MENDABLE, Cause.SCP, remedy)
    if is_unexplained(message, operation) and any(each.outcome in _ALLOWED for each in observed.results):
        remedy = (
            f"The service does not say why. {who[:1].upper()}{who[1:]} may call it in other regions, so most"
            " likely this region does not offer it to the account: leave it out with `exclude_regions`, or"
            " name it in `known_gaps`."
        )
        return replace(found, remedy=remedy, policy=None)
    if is_unexplained(message, operation):
        remedy = (
            f"The service does not say why. Most likely {who} lacks this statement; if it has it, the region"
            " may not offer the operation: leave it out with `exclude_regions`."
        )
        return replace(found, remedy=remedy)
    return found
