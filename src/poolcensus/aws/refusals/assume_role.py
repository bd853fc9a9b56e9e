"""Refusals of sts:AssumeRole that a setting can avoid, and advice on the setting."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_roles.html has the messages. In the last one,
# STS names the parameter. Messages also hold the role's name, which can't have a space.
_OF_THE_DURATION: Final = re.compile(
    r"exceeds the (?:MaxSessionDuration|1 hour session limit)|at 'durationSeconds'"
)


class RoleRefusal(StrEnum):
    """A refusal of a session's parameters: the code of STS, or a word of ours for one meaning of a code.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors
    """

    DURATION = "SessionDuration"
    # Before POLICY, since its advice ends with that of POLICY: the first match counts.
    POLICY_AND_TAGS = "PackedPolicyTooLarge"
    POLICY = "MalformedPolicyDocument"
    VALUE = "ValidationError"

    @property
    def advice(self) -> str:
        """Advice, as sentences that name settings in backticks."""
        return _ADVICE[self]


_NO_POLICY: Final = "If the role takes no session policy, set `session_policy` to false."
_ADVICE: Final[Mapping[RoleRefusal, str]] = {
    RoleRefusal.DURATION: (
        "Check that `session_duration` is at most the maximum session duration of the role."
    ),
    RoleRefusal.POLICY_AND_TAGS: f"Set fewer `session_tags`. {_NO_POLICY}",
    RoleRefusal.POLICY: _NO_POLICY,
    RoleRefusal.VALUE: (
        "Check `role_name`, `external_id`, `session_name`, `source_identity` and `session_tags` for the value"
        " that the message names."
    ),
}


def refusal_of(code: str, message: str) -> RoleRefusal | None:
    """Return the refusal that an error of sts:AssumeRole stands for, or None for other errors."""
    if code == RoleRefusal.VALUE and _OF_THE_DURATION.search(message):
        return RoleRefusal.DURATION
    return next((each for each in RoleRefusal if each == code), None)
