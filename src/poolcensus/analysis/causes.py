"""Sentences for people on why targets failed, and on what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.assume_role import RoleRefusal
from poolcensus.model import Outcome
from poolcensus.results.remedies import REMEDIES, ROLE_REMEDIES, remedy_of_outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from poolcensus.model import Denial, FailureGroup

_CAUSES: Final[Mapping[Outcome, str]] = {
    Outcome.ACCESS_DENIED: "Access denied",
    Outcome.SCP_DENIED: "Denied by a service control policy",
    Outcome.ASSUME_ROLE_FAILED: "Could not assume the role",
    Outcome.THROTTLED: "Still throttled after the last attempt",
    Outcome.UNREACHABLE: "Could not reach the service",
    Outcome.TIMED_OUT: "Timed out",
    Outcome.BAD_RESPONSE: "Received an invalid response",
    Outcome.EXPIRED: "Credentials expired and could not be renewed",
    Outcome.ERROR: "The service returned an error",
    Outcome.CANCELLED: "Cancelled when the run ended",
}
# The policies of the principal that makes a call. The other policies belong to the role that is assumed, or
# are set above both of them.
_OWN_POLICIES: Final = frozenset({"identity-based policy", "permissions boundary"})
_POLICIES_ABOVE: Final = frozenset({"service control policy", "resource control policy"})


def cause_of(group: FailureGroup) -> str:
    """Return what went wrong, as the beginning of a sentence, such as "Access denied"."""
    cause, denial = _CAUSES[group.outcome], group.denial
    if group.outcome is Outcome.ASSUME_ROLE_FAILED and group.role is not None:
        cause = f"Could not assume role {group.role}"
    if denial is not None and group.outcome is not Outcome.SCP_DENIED:
        why = f"explicit deny in a {denial.policy}" if denial.explicit else f"no {denial.policy} allows it"
        return f"{cause} ({why})"
    if group.unexplained:
        return f"{cause} (the service does not say why)"
    return cause


def remedy_of(group: FailureGroup) -> str:
    """Return what to do about the failures, in sentences that name settings in backticks."""
    if group.outcome is Outcome.ASSUME_ROLE_FAILED:
        refused = _role_remedy(group.denial) if group.denial is not None else None
        return refused or ROLE_REMEDIES.get(group.role_trouble) or REMEDIES[group.outcome]
    if group.outcome is not Outcome.ACCESS_DENIED:
        return remedy_of_outcome(group.outcome, group.code, opt_in=group.opt_in)
    if group.unexplained:
        return (
            f"Check that the role allows {group.operation}. If it does, the region may not offer it: leave"
            " it out with `exclude_regions`."
        )
    if group.denial is None:
        return f"Check that the role's policies allow {group.operation}."
    own = group.denial.policy in _OWN_POLICIES
    return _grant(
        group.operation, group.denial, "the role, or of the caller in its own account" if own else None
    )


def _role_remedy(denial: Denial) -> str | None:
    """Return what to do about a denial of sts:AssumeRole, or None if the trust policy does not allow it."""
    if denial.policy in _OWN_POLICIES:
        return _grant("sts:AssumeRole", denial, "the caller, or of the last role in `role_chain`")
    if denial.policy == "session policy":
        # This is the policy of the caller's own session, not the one that is sent with the call.
        return "Allow sts:AssumeRole in the session policy of the caller's credentials, or use others."
    if denial.policy in _POLICIES_ABOVE:
        return f"No change to the role helps: change the {denial.policy}."
    if denial.explicit or denial.policy == "VPC endpoint policy":
        return _grant("sts:AssumeRole", denial, None)
    return None


def _grant(action: str, denial: Denial, whose: str | None) -> str:
    policy = denial.policy if whose is None else f"{denial.policy} of {whose}"
    return (
        f"Remove the deny of {action} from the {policy}."
        if denial.explicit
        else f"Allow {action} in the {policy}."
    )


def without_remedies(message: str, remedies: Collection[str]) -> str:
    """Return a target's message without the advice at its end, if one of the remedies repeats that advice."""
    for refusal in RoleRefusal:
        if any(refusal.advice in each for each in remedies):
            message = message.removesuffix(f" {refusal.advice}")
    return message
