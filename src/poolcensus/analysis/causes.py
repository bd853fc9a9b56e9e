"""Why targets failed, and what would mend it, in sentences for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.credentials.roles import DURATION_ADVICE, SESSION_POLICY_ADVICE, advice_in
from poolcensus.errors import BadReply, LocalLimit, NoReply, ServerError
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
_REMEDIES: Final[Mapping[Outcome, str]] = {
    Outcome.SCP_DENIED: (
        "No change to the role helps: change the policy, leave the accounts or the regions out with"
        " `exclude_accounts` or `exclude_regions`, or expect it with `known_gaps`."
    ),
    Outcome.ASSUME_ROLE_FAILED: (
        "If this is every account, check `role_name`, `external_id` and the role's trust policy."
    ),
    Outcome.THROTTLED: "Run it again, with a lower `per_region` if it stays.",
    Outcome.UNREACHABLE: "Check DNS, proxy and firewall for the endpoints of these regions.",
    Outcome.TIMED_OUT: "Run it again, with a longer `deadline` if it has one.",
    Outcome.BAD_RESPONSE: "Check for a proxy that changes responses.",
    Outcome.EXPIRED: "Use credentials that last as long as a run.",
    Outcome.ERROR: "Run it again. If it stays, AWS Support can look up the request IDs in the ledger.",
    Outcome.CANCELLED: "Run it again, with a longer `deadline` if it has one.",
}

_NO_ANSWER: Final = (
    "STS did not answer: check DNS, proxy and firewall for its endpoint, or set another `sts_region`."
)
_SHORTAGE: Final = "Run it again with a lower `concurrency`, or raise the limit that the messages name."
# By what kept the role from being assumed, where more is known than that it can't be:
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors
_ROLE_REMEDIES: Final[Mapping[str | None, str]] = {
    NoReply.__name__: _NO_ANSWER,
    BadReply.__name__: _REMEDIES[Outcome.BAD_RESPONSE],
    LocalLimit.__name__: _SHORTAGE,
    ServerError.__name__: "Run it again: STS was down.",
    "MalformedPolicyDocument": SESSION_POLICY_ADVICE,
    "PackedPolicyTooLarge": f"Set fewer `session_tags`. {SESSION_POLICY_ADVICE}",
    "Throttling": "Run it again: STS asked for fewer calls.",
    "ValidationError": DURATION_ADVICE,
    "NoCredentials": (
        "Sign in with the profiles that the file names for these accounts, or correct your AWS config."
    ),
    "WrongAccount": "Correct the profiles in the file that names these accounts, or name roles there.",
}
# The policies of whoever makes a call. Others belong to the role that is assumed, or lie above both.
_OWN_POLICIES: Final = frozenset({"identity-based policy", "permissions boundary"})
_POLICIES_ABOVE: Final = frozenset({"service control policy", "resource control policy"})


def cause_of(group: FailureGroup) -> str:
    """Return what went wrong, as the beginning of a sentence: "Access denied"."""
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
    """Return what would mend it, as sentences that name settings in backticks."""
    if group.outcome is Outcome.ASSUME_ROLE_FAILED:
        refused = _role_remedy(group.denial) if group.denial is not None else None
        return refused or _ROLE_REMEDIES.get(group.role_trouble) or _REMEDIES[group.outcome]
    if group.outcome is not Outcome.ACCESS_DENIED:
        return _REMEDIES[group.outcome]
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
    """Return what would mend a denial of sts:AssumeRole, None where the trust policy allows nothing."""
    if denial.policy in _OWN_POLICIES:
        return _grant("sts:AssumeRole", denial, "the caller, or of the last role in `role_chain`")
    if denial.policy == "session policy":
        # That of the session that assumes the role, and not the one that is sent with the call.
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


def without_remedies(message: str, remedies: Iterable[str]) -> str:
    """Return the message of a target without the advice at its end that one of the remedies gives."""
    advice = advice_in(message)
    if advice is None or not any(advice in each for each in remedies):
        return message
    return message.removesuffix(f" {advice}")
