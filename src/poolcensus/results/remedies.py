"""Advice on failures that no policy explains, as sentences that name settings in backticks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.assume_role import RoleRefusal
from poolcensus.aws.refusals.table import error_class_of
from poolcensus.errors import (
    DEADLINE,
    SESSIONS_TOO_SHORT,
    LocalLimit,
    ProfileTrouble,
    UnrecognizedCredentialsError,
)
from poolcensus.model import Outcome
from poolcensus.results.role_trouble import RoleTrouble

if TYPE_CHECKING:
    from collections.abc import Mapping

REMEDIES: Final[Mapping[Outcome, str]] = {
    Outcome.SCP_DENIED: (
        "No change to the role helps: change the policy, leave the accounts or the regions out with"
        " `exclude_accounts` or `exclude_regions`, or expect it with `known_gaps`."
    ),
    Outcome.ASSUME_ROLE_FAILED: (
        "If this is every account, check `role_name`, `external_id` and the role's trust policy."
    ),
    Outcome.THROTTLED: "Run it again, with a lower `per_region` if it stays.",
    Outcome.UNREACHABLE: "Check DNS, proxy and firewall for the endpoints of these regions.",
    Outcome.TIMED_OUT: "Run it again, with a longer `attempt_timeout` if it stays.",
    Outcome.BAD_RESPONSE: "Check for a proxy that changes responses.",
    Outcome.EXPIRED: "Run it again with new credentials that last as long as a run.",
    Outcome.ERROR: "Run it again. If it stays, AWS Support can look up the request IDs in the ledger.",
    Outcome.CANCELLED: "Run it again, with a longer `deadline` if it has one.",
}
"""Advice by outcome, except for `access_denied`, where it depends on the policy that denies."""

_OF_TIMEOUTS: Final[Mapping[str | None, str]] = {
    DEADLINE: "Run it again, with a longer `deadline`.",
    # The target's own time limit was exceeded.
    None: "Run it again, with a longer `target_timeout` if it stays.",
}
_LOCAL_LIMITS: Final[frozenset[str | None]] = frozenset(LocalLimit)
_SESSIONS_TOO_SHORT: Final = "Run it again with a lower `concurrency` or a longer `session_duration`."
_UNRECOGNIZED: Final = (
    "AWS no longer knows the credentials of these accounts: the role's session was revoked, or the account is"
    " being closed. Run it again."
)
# If other regions know the credentials, the target is `region_disabled` instead.
_UNRECOGNIZED_IN_OPT_IN: Final = (
    "The region may not be enabled, which nothing could confirm: allow account:ListRegions or"
    " ec2:DescribeRegions, leave it out with `exclude_regions`, or run it again."
)

ROLE_REMEDIES: Final[Mapping[str | None, str]] = {
    RoleTrouble.NO_REPLY: (
        "STS did not answer: check DNS, proxy and firewall for its endpoint, or set another `sts_region`."
    ),
    RoleTrouble.BAD_REPLY: REMEDIES[Outcome.BAD_RESPONSE],
    RoleTrouble.LOCAL_LIMIT: (
        "Run it again with a lower `concurrency`, or raise the limit that the messages name."
    ),
    RoleTrouble.DOWN: "Run it again: STS was down.",
    RoleTrouble.THROTTLED: "Run it again: STS asked for fewer calls.",
    RoleTrouble.NOT_ACCEPTED: (
        "STS no longer accepts the credentials that the role is assumed with: renew them and run it again."
    ),
    ProfileTrouble.NO_CREDENTIALS: (
        "Sign in with the profiles that the file names for these accounts, or correct your AWS config."
    ),
    ProfileTrouble.WRONG_ACCOUNT: (
        "Correct the profiles in the file that names these accounts, or name roles there."
    ),
    **{each.value: each.advice for each in RoleRefusal},
}
"""Advice by `role_trouble`, for the reasons that have advice of their own."""


def remedy_of_outcome(outcome: Outcome, code: str | None, *, opt_in: bool = False) -> str:
    """Return advice on an outcome other than `access_denied`, given the error code of its targets.

    `opt_in` is true if in most of the accounts only opt-in regions failed.
    """
    if outcome is Outcome.TIMED_OUT:
        return _OF_TIMEOUTS.get(code) or REMEDIES[outcome]
    if outcome is Outcome.UNREACHABLE and code in _LOCAL_LIMITS:
        return ROLE_REMEDIES[RoleTrouble.LOCAL_LIMIT]
    if outcome is Outcome.EXPIRED and code == SESSIONS_TOO_SHORT:
        return _SESSIONS_TOO_SHORT
    if (
        outcome is Outcome.ERROR
        and code is not None
        and error_class_of(code, 400, "") is UnrecognizedCredentialsError
    ):
        return _UNRECOGNIZED_IN_OPT_IN if opt_in else _UNRECOGNIZED
    return REMEDIES[outcome]
