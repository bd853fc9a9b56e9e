"""Checks that it is known which opt-in regions an account has enabled. A census can do without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.region_status.management import TRUSTED_ACCESS
from poolcensus.doctor.denied import THE_ACCOUNT, Attempt, denial_cause, explain_denial
from poolcensus.doctor.failures import explain_failure
from poolcensus.doctor.findings import Check, CheckStatus, Diagnosis, Finding
from poolcensus.doctor.statements import allow
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.aws.region_status.status import StatusRefusal
    from poolcensus.doctor.observation import Observed

_DENIED: Final = frozenset({Outcome.ACCESS_DENIED, Outcome.SCP_DENIED})
_BY_MANAGEMENT: Final = (
    "To have the caller's account asked about the others, attach this statement to the caller."
    f" {TRUSTED_ACCESS}"
)
_IN_ANOTHER_WAY: Final = "A collect does without: {other} answers in its place."
_NOT_AT_ALL: Final = "A collect does without: disabled opt-in regions are called, and say so themselves."


def region_status_findings(observed: Observed, who: str, opt_in: frozenset[str]) -> Iterator[Finding]:
    """Yield findings about an account's region status. A refusal is `ok`, with the remedy for it."""
    account_id = observed.account.id
    reason = None
    if not opt_in:
        reason = "Not tried: no region is asked that an account has to enable."
    elif all(each.outcome is Outcome.ASSUME_ROLE_FAILED for each in observed.results):
        reason = "Not tried: there are no credentials of the account."
    elif all(each.outcome is Outcome.CANCELLED for each in observed.results):
        reason = "Not tried: the deadline had passed."
    if reason is not None:
        yield Finding(
            check=Check.REGION_STATUS, status=CheckStatus.SKIPPED, account_id=account_id, message=reason
        )
        return
    report = observed.status
    for refusal in report.refusals:
        found = _diagnosis(refusal, who)
        without = _NOT_AT_ALL if report.action is None else _IN_ANOTHER_WAY.format(other=report.action)
        yield Finding(
            check=Check.REGION_STATUS,
            status=CheckStatus.OK,
            account_id=account_id,
            action=refusal.action,
            code=refusal.code,
            cause=found.cause,
            message=refusal.message,
            remedy=f"{without} {found.remedy}",
            policy=found.policy,
        )
    if report.action is not None:
        yield Finding(
            check=Check.REGION_STATUS,
            status=CheckStatus.OK,
            account_id=account_id,
            action=report.action,
            message="It is known which regions the account has enabled.",
        )
    elif not report.refusals:
        yield Finding(
            check=Check.REGION_STATUS,
            status=CheckStatus.SKIPPED,
            account_id=account_id,
            message="Not tried: the account was not asked.",
        )


def _diagnosis(refusal: StatusRefusal, who: str) -> Diagnosis:
    if refusal.by_management and refusal.outcome in _DENIED:
        cause = denial_cause(refusal.message)
        return Diagnosis(CheckStatus.OK, cause, _BY_MANAGEMENT, allow(refusal.action), refusal.action)
    if refusal.outcome not in _DENIED:
        return explain_failure(refusal.outcome, refusal.code, refusal.message)
    return explain_denial(refusal.message, Attempt(refusal.action, who, THE_ACCOUNT))
