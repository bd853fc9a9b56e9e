"""Explains a refused sts:AssumeRole.

STS does not say whether a role is missing or its trust policy refuses the call. The replies of other accounts
narrow it down. A remedy names the remaining possibilities, the most likely first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.aws.refusals.denials import read_denial
from poolcensus.aws.refusals.table import is_denial
from poolcensus.doctor.denied import Attempt, denial_cause, explain_denial
from poolcensus.doctor.failures import explain_failure
from poolcensus.doctor.findings import Cause, CheckStatus, Diagnosis
from poolcensus.doctor.principals import caller_in_words, principal_in_words, role_of_accounts
from poolcensus.doctor.statements import EXTERNAL_ID, allow, trust
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from poolcensus.aws.refusals.denials import PolicyDenial
    from poolcensus.model import TargetResult

ACTION: Final = "sts:AssumeRole"


class RoleCall(NamedTuple):
    """A call of AssumeRole: who made it, for which ARN, and whether with an external ID.

    `assumed` is the number of other accounts in which the role could be assumed. If there are none,
    `denial_at_home` is what STS said about the role in the caller's own account.
    """

    caller_arn: str
    account_id: str
    role_arn: str
    has_external_id: bool
    assumed: int
    denial_at_home: str | None

    def who(self, user: str | None) -> str:
        """Return in words who was refused: the caller, or a hub role."""
        is_caller = user is None or user == self.caller_arn
        return caller_in_words(self.caller_arn) if is_caller else principal_in_words(str(user))

    @property
    def role(self) -> str:
        """The name of the role, with its path, in a form that is the same for all accounts."""
        return role_of_accounts(self.role_arn, self.account_id)

    def attempt(self, denial: PolicyDenial | None) -> Attempt:
        """Return the call that was denied. Its resource is the role in all accounts."""
        role = denial.resource if denial is not None and denial.resource is not None else self.role_arn
        if role == self.role_arn:
            role = role.replace(self.account_id, "*")
        who = self.who(denial.user if denial is not None else None)
        return Attempt(ACTION, who, "the caller's account", role)


def explain_role_refusal(call: RoleCall, result: TargetResult) -> Diagnosis:
    """Explain the result of a target whose role could not be assumed."""
    code, message = result.error_code or "", result.error_message or ""
    if is_denial(code):
        return _denied(call, message)
    return explain_failure(result.outcome, code, message)


def explain_hub_refusal(caller_arn: str, role_arn: str, code: str, message: str) -> Diagnosis:
    """Explain the refusal of a hub role, without which no account can be called."""
    if not is_denial(code):
        return explain_failure(Outcome.ASSUME_ROLE_FAILED, code, message)
    denial = read_denial(message)
    user = denial.user if denial is not None else caller_arn
    who = caller_in_words(user) if user == caller_arn else principal_in_words(user)
    cause = denial_cause(message)
    explicit = denial is not None and denial.explicit
    if cause is Cause.TRUST_POLICY and denial is not None and not explicit:
        remedy = (
            f"Add this statement to the trust policy of hub role {role_arn}. If it is there, check the"
            " external ID in `role_chain`."
        )
        return Diagnosis(CheckStatus.FAILED, cause, remedy, trust(user, denial.action), denial.action)
    attempt = Attempt(ACTION, who, "the caller's account", role_arn)
    if cause is not Cause.UNEXPLAINED:
        return explain_denial(message, attempt)
    remedy = (
        f"STS does not say why. Check that hub role {role_arn} exists, that its trust policy lets in {who},"
        f" the external ID in `role_chain`, and that {who} has this statement."
    )
    return Diagnosis(CheckStatus.FAILED, cause, remedy, allow(ACTION, role_arn))


def _denied(call: RoleCall, message: str) -> Diagnosis:
    denial = read_denial(message)
    cause = denial_cause(message)
    if cause is Cause.TRUST_POLICY and denial is not None and not denial.explicit:
        return _distrusted(call, denial.user, denial.action)
    if cause is Cause.UNEXPLAINED:
        attempt = call.attempt(denial)
        home = call.denial_at_home
        return _unexplained(call, attempt) if home is None else _as_at_home(home, attempt)
    return explain_denial(message, call.attempt(denial))


def _as_at_home(message: str, attempt: Attempt) -> Diagnosis:
    found = explain_denial(message, attempt)
    where = "STS does not say why, but it does of the same role in the caller's own account."
    return replace(found, remedy=f"{where} {found.remedy}")


def _distrusted(call: RoleCall, user: str, action: str) -> Diagnosis:
    statement = trust(user, action, with_external_id=call.has_external_id)
    placeholder = f", with the external ID in place of {EXTERNAL_ID}" if call.has_external_id else ""
    cause, remedy = Cause.TRUST_POLICY, f"Add this statement to the trust policy of the role{placeholder}."
    if action == ACTION and not call.has_external_id:
        remedy += " If it is there, it may ask for an external ID: set `external_id`."
    elif action == ACTION and call.assumed:
        remedy += " If it is there, it may ask for another external ID than the other accounts."
    elif action == ACTION:
        cause = Cause.EXTERNAL_ID
        remedy = (
            "The trust policy refuses the call, and no account has accepted the external ID: most likely it"
            f" is not the one that the trust policies ask for (`external_id`). Otherwise: {remedy}"
        )
    if action == ACTION and not call.assumed:
        remedy += _created_again(call.who(user))
    return Diagnosis(CheckStatus.FAILED, cause, remedy, statement, action)


def _unexplained(call: RoleCall, attempt: Attempt) -> Diagnosis:
    if call.assumed:
        remedy = (
            f"STS does not say why. Role {call.role} can be assumed in other accounts, so most likely it is"
            f" missing here: create it. If it is there, its trust policy does not let in {attempt.who}"
            f"{', or asks for another external ID' if call.has_external_id else ''}."
        )
        return Diagnosis(CheckStatus.FAILED, Cause.MISSING_ROLE, remedy)
    statement = allow(ACTION, attempt.resource)
    if call.has_external_id:
        remedy = (
            "STS does not say why, and no account has accepted the external ID: most likely it is not the one"
            f" that the trust policies ask for (`external_id`). Otherwise role {call.role} exists in none of"
            f" the accounts (`role_name`), their trust policies do not let in {attempt.who}, or it"
            f" lacks this statement.{_created_again(attempt.who)}"
        )
        return Diagnosis(CheckStatus.FAILED, Cause.EXTERNAL_ID, remedy, statement)
    remedy = (
        f"STS does not say why. Most likely no account tried has a role {call.role}: create it, or set"
        f" `role_name`. Otherwise the trust policies do not let in {attempt.who}, or ask for an external ID"
        f" (`external_id`), or it lacks this statement.{_created_again(attempt.who)}"
    )
    return Diagnosis(CheckStatus.FAILED, Cause.MISSING_ROLE, remedy, statement)


def _created_again(who: str) -> str:
    """Return the sentence about a principal that was created again, which trust policies no longer mean.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
    """
    return (
        f" If {who} was deleted and created again, the trust policies still mean the one before: save them"
        " again."
    )
