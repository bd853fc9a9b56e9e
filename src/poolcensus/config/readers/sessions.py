"""Readers for role names, and for the names, external IDs and tags of role sessions."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from poolcensus.config.readers.conversion import EntryError, plain, shown, text, written
from poolcensus.config.readers.scope import account_tags
from poolcensus.config.values import Secret

# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html and, for the characters,
# https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html: [\p{L}\p{Z}\p{N}_.:/=+\-@]
_MAX_SESSION_TAGS = 50

_ROLE_ARN = r"arn:[^:]*:iam::[^:]*:role/(.+)"

# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
RoleName = Annotated[
    str,
    written(
        r"(?:[\w+=,.@/-]{0,511}/)?[\w+=,.@-]{1,64}",
        "a role name of 1 to 64 letters, digits and +=,.@_-, after its path if it has one",
    ),
]
SessionName = Annotated[str, written(r"[\w+=,.@-]{2,64}", "2 to 64 letters, digits and +=,.@_-")]
ExternalId = Annotated[str, written(r"[\w+=,.@:/-]{2,1224}", "2 to 1224 letters, digits and +=,.@_:/-")]


def role_name(value: object) -> str:
    """Read the name of a role, with its path."""
    name = text(value)
    if (found := re.fullmatch(_ROLE_ARN, name)) is not None:
        raise EntryError(f"takes a role name, not an ARN: use {shown(found[1])}")
    read: str = plain(RoleName, name)
    return read


def external_id(value: object) -> Secret:
    """Read an external ID. Messages don't show it, since it is a secret."""
    found = value.get_secret_value() if isinstance(value, Secret) else value
    try:
        return Secret(plain(ExternalId, found))
    except ValueError as error:
        raise EntryError(str(error)) from None


def session_tags(value: object) -> tuple[tuple[str, str], ...]:
    """Read session tags from `KEY=VALUE` texts, or from a table."""
    found = account_tags(value)
    if len(found) > _MAX_SESSION_TAGS:
        raise EntryError(f"has {len(found)} tags: a session has at most {_MAX_SESSION_TAGS}")
    seen: set[str] = set()
    for key, tag in found:
        if any(_not_in_tags(each) for each in key + tag) or key.lower().startswith("aws:"):
            raise EntryError(
                f"{shown(f'{key}={tag}')} is not a session tag: letters, digits, spaces and _.:/=+-@, and a"
                " key that does not begin with aws:"
            )
        if key.lower() in seen:
            raise EntryError(f"has two tags with the key {shown(key)}: the case of letters does not count")
        seen.add(key.lower())
    return found


def _not_in_tags(character: str) -> bool:
    return character not in "_.:/=+-@" and unicodedata.category(character)[0] not in "LZN"
