"""The IDs of snapshots and accounts.

A snapshot ID is the UTC start of the run and six hex digits, `20261123T020000Z-3f9a1c`. Snapshot IDs sort by
time. An account ID has 12 digits:
https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-identifiers.html
"""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Final, TypeGuard

_TIME: Final = "%Y%m%dT%H%M%SZ"
_ID: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-[0-9a-f]{6}", re.ASCII)
_ACCOUNT_ID: Final = re.compile(r"[0-9]{12}")
_LIKE_ANY_ID: Final = "00000000T000000Z-000000"


def new_snapshot_id(started_at: datetime) -> str:
    """Return a new snapshot ID for a run that started at `started_at`, which must have a time zone."""
    if started_at.tzinfo is None:
        raise ValueError("the start of a run needs a time zone")
    return f"{started_at.astimezone(UTC).strftime(_TIME)}-{secrets.token_hex(3)}"


def parse_snapshot_id(text: str) -> datetime:
    """Return the start of the run in a snapshot ID, in UTC. Raises `ValueError` if it is not a snapshot ID.

    IDs are names of folders and keys of objects, so spaces and letter case are not forgiven.
    """
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError(f"not a snapshot id: {text!r}")
    try:
        # strptime loads tables of the locale, and takes ten times as long.
        year, month, day, hour, minute, second = map(int, match.groups())
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise ValueError(f"not a snapshot id, its time does not exist: {text!r}") from None


def is_snapshot_id(text: str) -> bool:
    """Return whether a text is a snapshot ID."""
    try:
        parse_snapshot_id(text)
    except ValueError:
        return False
    return True


def may_begin_id(text: str) -> bool:
    """Return whether a text is the beginning of a snapshot ID: not empty, and not a whole ID."""
    return 0 < len(text) < len(_LIKE_ANY_ID) and _ID.fullmatch(text + _LIKE_ANY_ID[len(text) :]) is not None


def is_account_id(value: object) -> TypeGuard[str]:
    """Return whether a value is an account ID."""
    return isinstance(value, str) and _ACCOUNT_ID.fullmatch(value) is not None
