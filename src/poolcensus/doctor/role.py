"""Checks that the role of each account can be assumed, and explains why not."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio

from poolcensus.aws.credentials.role_credentials import RoleCredentials
from poolcensus.aws.refusals.denials import read_denial
from poolcensus.aws.refusals.table import is_denial
from poolcensus.doctor.denied import denial_cause
from poolcensus.doctor.findings import Cause, Check, CheckStatus, Diagnosis, Finding
from poolcensus.doctor.operation import KNOWN_GAP
from poolcensus.doctor.profile import explain_profile_failure, is_of_profile
from poolcensus.doctor.role_refusal import ACTION, RoleCall, explain_hub_refusal, explain_role_refusal
from poolcensus.doctor.statements import trust
from poolcensus.doctor.variations import denial_at_home, vary
from poolcensus.errors import CallError, CredentialsError, first_reason_raised
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcensus.aws.session import Aws
    from poolcensus.doctor.observation import Observed
    from poolcensus.errors import HubRoleError
    from poolcensus.model import Account, TargetResult

# Outcomes of targets that may never have had credentials.
_WITHOUT_CREDENTIALS: Final = frozenset({Outcome.ASSUME_ROLE_FAILED, Outcome.CANCELLED, Outcome.EXPIRED})
# Two, because one of the other accounts may lack the role as well.
_MOST_OTHERS: Final = 2
# Seconds to wait for STS, which has just answered with a denial. Without a reply, that denial has to suffice.
_LONGEST_LOOK: Final = 10.0
# With these causes, a single parameter of the call may be what is refused, such as the session policy.
_UNTOLD: Final = frozenset({Cause.UNEXPLAINED, Cause.TRUST_POLICY, Cause.SESSION_POLICY})


async def role_findings(
    aws: Aws, observed: Sequence[Observed], others: Sequence[Account] = ()
) -> tuple[Finding, ...]:
    """Return a finding for each account, in order. Makes calls if a refusal does not say why.

    If the role could be assumed in none of the accounts, it is tried in `others`. If it can be assumed there,
    it is missing only in the accounts observed.
    """
    failures = {each.account.id: result for each in observed if (result := _failure(each)) is not None}
    assumed = sum(_has_credentials(each) and needs_role(aws, each.account.id) for each in observed)
    if not assumed and any(is_denial(each.error_code or "") for each in failures.values()):
        assumed += await _is_assumed_elsewhere(aws, others)
    refused = {
        account_id: result
        for account_id, result in failures.items()
        if needs_role(aws, account_id) and not is_of_profile(result)
    }
    varied = await vary(aws.broker, [each for each, result in refused.items() if _is_untold(result)])
    untold = [each for each in refused.values() if _cause(each) is Cause.UNEXPLAINED]
    home = next((_account_of_user(each) for each in untold), None)
    at_home = await denial_at_home(aws.broker, home) if home is not None and not assumed else None
    findings = []
    for each in observed:
        account_id = each.account.id
        failure = failures.get(account_id)
        if failure is None:
            findings.append(_not_failed(aws, each))
            continue
        if all(result.region in each.known_gaps for result in each.results):
            found = KNOWN_GAP
        elif account_id not in refused:
            found = explain_profile_failure(failure)
        else:
            call = RoleCall(
                caller_arn=aws.caller.arn,
                account_id=account_id,
                role_arn=aws.broker.role_arn(account_id),
                has_external_id=aws.broker.has_external_id(account_id),
                assumed=assumed,
                # Only if the same principal called: accounts with a profile are called by another.
                denial_at_home=at_home if _user(failure.error_message) == _user(at_home) else None,
            )
            told = varied.get(account_id)
            found = (
                explain_role_refusal(call, failure)
                if told is None
                else _with_statement(told, aws.caller.arn, failure)
            )
        action = ACTION if account_id in refused else None
        findings.append(_failed(account_id, failure, found, action))
    return tuple(findings)


def hub_finding(aws: Aws, error: HubRoleError) -> Finding:
    """Return the finding for a hub role that can't be assumed. Without it, no account can be called."""
    found = explain_hub_refusal(aws.caller.arn, error.role_arn, error.code, error.reason)
    return Finding(
        check=Check.ROLE,
        status=found.status,
        account_id=error.role_arn.split(":")[4],
        action=found.action or ACTION,
        code=error.code,
        cause=found.cause,
        message=str(error),
        remedy=found.remedy,
        policy=found.policy,
    )


async def _is_assumed_elsewhere(aws: Aws, others: Sequence[Account]) -> bool:
    assumed: list[str] = []

    async def assume(account_id: str) -> None:
        # Any failure on the way, also of a hub role, means that this role is not known to work.
        with suppress(CallError, CredentialsError):
            await aws.broker.source(account_id).get()
            assumed.append(account_id)
            tasks.cancel_scope.cancel()

    with first_reason_raised(), anyio.move_on_after(_LONGEST_LOOK):
        async with anyio.create_task_group() as tasks:
            for each in [each for each in others if needs_role(aws, each.id)][:_MOST_OTHERS]:
                tasks.start_soon(assume, each.id)
    return bool(assumed)


def needs_role(aws: Aws, account_id: str) -> bool:
    """Return whether a role is assumed for the calls in an account."""
    return isinstance(aws.broker.source(account_id), RoleCredentials)


def _failure(observed: Observed) -> TargetResult | None:
    """Return the result of a target whose role failed, or None if any target had credentials."""
    if _has_credentials(observed):
        return None
    return next((each for each in observed.results if each.outcome is Outcome.ASSUME_ROLE_FAILED), None)


def _has_credentials(observed: Observed) -> bool:
    return any(each.outcome not in _WITHOUT_CREDENTIALS for each in observed.results)


def _cause(result: TargetResult) -> Cause | None:
    return denial_cause(result.error_message or "") if is_denial(result.error_code or "") else None


def _is_untold(result: TargetResult) -> bool:
    denial = read_denial(result.error_message or "")
    return _cause(result) in _UNTOLD and not (denial is not None and denial.explicit)


def _user(message: str | None) -> str | None:
    """Return the ARN of the principal that was refused: the caller, or the session of a hub role."""
    denial = read_denial(message or "")
    return denial.user if denial is not None else None


def _account_of_user(result: TargetResult) -> str | None:
    found = (_user(result.error_message) or "").split(":")[4:5]
    return next((each for each in found if each), None)


def _with_statement(told: Diagnosis, caller_arn: str, result: TargetResult) -> Diagnosis:
    """Return what a variation has found. If the trust policy lacks a statement, add that."""
    if told.cause is not Cause.TRUST_POLICY or told.action is None:
        return told
    denial = read_denial(result.error_message or "")
    user = denial.user if denial is not None else caller_arn
    return replace(told, policy=trust(user, told.action))


def _not_failed(aws: Aws, observed: Observed) -> Finding:
    account_id = observed.account.id
    if not needs_role(aws, account_id):
        whose = "The caller's own account" if account_id == aws.caller.account_id else "The account"
        status, message = CheckStatus.SKIPPED, f"{whose} needs no role."
    elif _has_credentials(observed):
        status, message = CheckStatus.OK, f"Assumed {aws.broker.role_arn(account_id)}."
    elif any(each.outcome is Outcome.EXPIRED for each in observed.results):
        status, message = CheckStatus.SKIPPED, "Not tried to its end: credentials have expired."
    else:
        status, message = CheckStatus.SKIPPED, "Not tried: the deadline had passed."
    action = ACTION if status is CheckStatus.OK else None
    return Finding(check=Check.ROLE, status=status, account_id=account_id, action=action, message=message)


def _failed(account_id: str, failure: TargetResult, found: Diagnosis, action: str | None) -> Finding:
    message = failure.error_message
    return Finding(
        check=Check.ROLE,
        status=found.status,
        account_id=account_id,
        action=found.action or action,
        code=failure.error_code,
        cause=found.cause,
        # The message may end with the remedy.
        message=message.removesuffix(f" {found.remedy}") if message is not None else None,
        remedy=found.remedy,
        policy=found.policy,
    )
