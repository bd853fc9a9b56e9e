"""Explains a denial: which policy has to change, and which statement would allow the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.aws.refusals.denials import read_denial
from poolcensus.doctor.findings import Cause, CheckStatus, Diagnosis
from poolcensus.doctor.statements import allow, allow_anybody, allow_principal

if TYPE_CHECKING:
    from collections.abc import Mapping

_CAUSES: Final[Mapping[str, Cause]] = {
    "identity-based policy": Cause.IDENTITY_POLICY,
    "resource-based policy": Cause.RESOURCE_POLICY,
    "role trust policy": Cause.TRUST_POLICY,
    "session policy": Cause.SESSION_POLICY,
    "permissions boundary": Cause.PERMISSIONS_BOUNDARY,
    "service control policy": Cause.SCP,
    "resource control policy": Cause.RCP,
    "VPC endpoint policy": Cause.VPC_ENDPOINT_POLICY,
}


THE_ACCOUNT: Final = "the account"
"""The value of `Attempt.above` for calls in an account that a census could leave out."""


class Attempt(NamedTuple):
    """A call that was denied.

    `who` made the call, in words, and `above` is the account that a service control policy would apply to.
    `resource` is the resource for an IAM statement. It does not name an account.
    """

    action: str
    who: str
    above: str
    resource: str = "*"


def denial_cause(message: str) -> Cause:
    """Return the kind of policy that a denial names, or UNEXPLAINED if it names none."""
    denial = read_denial(message)
    if denial is None or denial.policy is None:
        return Cause.UNEXPLAINED
    cause = _CAUSES[denial.policy]
    # For a call of STS, the resource-based policy is the role's trust policy.
    is_trust = cause is Cause.RESOURCE_POLICY and denial.action.startswith("sts:")
    return Cause.TRUST_POLICY if is_trust else cause


def explain_denial(message: str, attempt: Attempt) -> Diagnosis:
    """Explain a denial. If its message names the action, that counts instead of the attempt's."""
    denial = read_denial(message)
    cause = denial_cause(message)
    action = denial.action if denial is not None else attempt.action
    named = f" ({denial.policy_arn})" if denial is not None and denial.policy_arn is not None else ""
    explicit = denial is not None and denial.explicit
    where = {
        Cause.IDENTITY_POLICY: f"the identity-based policies of {attempt.who}",
        Cause.PERMISSIONS_BOUNDARY: f"the permissions boundary of {attempt.who}",
        Cause.SESSION_POLICY: f"the session policy of {attempt.who}",
        Cause.RESOURCE_POLICY: "the policy of the resource",
        Cause.TRUST_POLICY: "the trust policy of the role",
        Cause.VPC_ENDPOINT_POLICY: f"the policy of the VPC endpoint for {action.partition(':')[0]}",
    }.get(cause)
    if where is None and cause is not Cause.UNEXPLAINED:
        return _from_above(cause, action, attempt, named)
    if explicit and where is not None:
        remedy = f"Remove the Deny of {action} from {where}{named}: no Allow outweighs it."
        return Diagnosis(CheckStatus.NOT_MENDABLE, cause, remedy, action=action)
    statement = allow(action, attempt.resource)
    match cause:
        case Cause.VPC_ENDPOINT_POLICY:
            statement = allow_anybody(action)
        case Cause.RESOURCE_POLICY if denial is not None:
            # Prefer the attempt's resource: the denial names one object, and a run writes many.
            resource = attempt.resource if attempt.resource != "*" else denial.resource or "*"
            statement = allow_principal(action, denial.user, resource)
    if where is None:
        remedy = (
            f"AWS does not say which policy refused. Most likely {attempt.who} lacks this statement; if it"
            " has it, look for a permissions boundary, a service control policy or a VPC endpoint policy."
        )
    elif cause is Cause.IDENTITY_POLICY:
        remedy = f"Attach this statement to {attempt.who}{named}."
    else:
        remedy = f"Add this statement to {where}{named}."
    return Diagnosis(CheckStatus.FAILED, cause, remedy, statement, action)


def _from_above(cause: Cause, action: str, attempt: Attempt, named: str) -> Diagnosis:
    if cause is Cause.SCP:
        policy = f"a service control policy above {attempt.above}"
    else:
        policy = "a resource control policy above the account of the resource"
    remedy = f"No grant helps: {policy}{named} refuses {action}. Have it changed"
    if attempt.above == THE_ACCOUNT:
        remedy += ", or leave out what it refuses (`exclude_accounts`, `exclude_regions`, `known_gaps`)"
    remedy += "."
    return Diagnosis(CheckStatus.NOT_MENDABLE, cause, remedy, action=action)
