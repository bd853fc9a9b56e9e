"""The reason why a role could not be assumed: one word for all errors that call for the same remedy."""

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
    """The words of `FailureGroup.role_trouble` that stand for several error codes. Programs rely on them."""

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
    # STS uses these two codes for nothing else. Other codes of that kind say that a region is not activated.
    "InvalidClientTokenId": RoleTrouble.NOT_ACCEPTED,
    "UnrecognizedClientException": RoleTrouble.NOT_ACCEPTED,
}
_OF_KINDS: Final[Mapping[type[CallError], RoleTrouble]] = {
    ServerError: RoleTrouble.DOWN,
    ThrottledError: RoleTrouble.THROTTLED,
}


def role_trouble_of(code: str | None, message: str) -> str | None:
    """Return why a role could not be assumed, given the error code and message of a target's result.

    The result is the text of a RoleTrouble or a RoleRefusal, or else the code. It is None without a code.
    """
    if code is None:
        return None
    if (trouble := _OF_CODES.get(code)) is not None:
        return trouble.value
    if (refusal := refusal_of(code, message)) is not None:
        return refusal.value
    # If a reply had no code, its HTTP status is the code.
    kind = error_class_of(code, int(code) if code.isdecimal() else 400, message)
    if code in BAD_SIGNATURES and kind is not ClockSkewError:
        return RoleTrouble.NOT_ACCEPTED.value
    trouble = _OF_KINDS.get(kind)
    return code if trouble is None else trouble.value
