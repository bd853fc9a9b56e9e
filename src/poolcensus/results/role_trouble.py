"""What kept a role from being assumed, in one word for all that mean the same to whoever has to mend it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from poolcensus.aws.refusals.assume_role import refusal_of
from poolcensus.aws.refusals.table import BAD_SIGNATURES, error_class_of
from poolcensus.errors import (
    BadReply,
    ClockSkewError,
    LocalLimit,
    NoReply,
    ServerError,
    ThrottledError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.errors import CallError


class RoleTrouble(StrEnum):
    """The words that `FailureGroup.role_trouble` has for several codes each: programs compare with them."""

    NO_REPLY = "NoReply"
    BAD_REPLY = "BadReply"
    LOCAL_LIMIT = "LocalLimit"
    DOWN = "ServerError"
    THROTTLED = "ThrottledError"
    NOT_ACCEPTED = "CredentialsNotAccepted"


_OF_CODES: Final[Mapping[str, RoleTrouble]] = {
    **dict.fromkeys(NoReply, RoleTrouble.NO_REPLY),
    **dict.fromkeys(BadReply, RoleTrouble.BAD_REPLY),
    **dict.fromkeys(LocalLimit, RoleTrouble.LOCAL_LIMIT),
    # Of the codes that mean so, STS has these for nothing else: others say that a region is not activated.
    "InvalidClientTokenId": RoleTrouble.NOT_ACCEPTED,
    "UnrecognizedClientException": RoleTrouble.NOT_ACCEPTED,
}
_OF_KINDS: Final[Mapping[type[CallError], RoleTrouble]] = {
    ServerError: RoleTrouble.DOWN,
    ThrottledError: RoleTrouble.THROTTLED,
}


def role_trouble_of(code: str | None, message: str) -> str | None:
    """Return what kept a role from being assumed, by the code and the message of a target's result.

    It is a RoleTrouble, a RoleRefusal or the code, as plain text.
    """
    if code is None:
        return None
    if (trouble := _OF_CODES.get(code)) is not None:
        return trouble.value
    if (refusal := refusal_of(code, message)) is not None:
        return refusal.value
    # Of a reply without a code, the code is its status.
    kind = error_class_of(code, int(code) if code.isdecimal() else 400, message)
    if code in BAD_SIGNATURES and kind is not ClockSkewError:
        return RoleTrouble.NOT_ACCEPTED.value
    trouble = _OF_KINDS.get(kind)
    return code if trouble is None else trouble.value
