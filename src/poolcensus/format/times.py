"""Times as every file of a snapshot has them: RFC 3339 in UTC, in milliseconds.

Every pool has one. Days, minutes, seconds and milliseconds are texts that come again: they are kept, in
little over a megabyte, and put together.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from functools import lru_cache

_EPOCH = date(1970, 1, 1).toordinal()


def rfc3339(moment: datetime) -> str:
    """Return the text for a moment that is aware of its time zone."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    minute, millisecond = utc.hour * 60 + utc.minute, utc.microsecond // 1000
    return f"{_day(utc.toordinal())}{_minute(minute)}{_second(utc.second)}{_millisecond(millisecond)}"


def utc_now() -> datetime:
    """Return the time in UTC, in the milliseconds that files have."""
    # In binary, whole milliseconds of this century are near enough to be those microseconds again.
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)


def parse_rfc3339(text: str) -> datetime:
    """Return the moment of a text, in UTC, which is also taken for the zone of a text that names none.

    Raises ValueError for what is not a time.
    """
    found = datetime.fromisoformat(text)
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"it is out of range: {text!r}") from None


def rfc3339_of_epoch(seconds: float) -> str:
    """Return the text for epoch seconds, rounded to milliseconds.

    Raises ValueError outside the years 1 to 9999.
    """
    try:
        day, rest = divmod(round(seconds * 1000), 86_400_000)
        minute, rest = divmod(rest, 60_000)
        second, millisecond = divmod(rest, 1000)
        return f"{_day(_EPOCH + day)}{_minute(minute)}{_second(second)}{_millisecond(millisecond)}"
    except (OverflowError, ValueError):
        raise ValueError("it is out of range") from None


# Items have been made in some years, of which this is more than ten.
@lru_cache(4096)
def _day(ordinal: int) -> str:
    return f"{date.fromordinal(ordinal)}T"


@lru_cache(24 * 60)
def _minute(number: int) -> str:
    hour, minute = divmod(number, 60)
    return f"{hour:02d}:{minute:02d}:"


@lru_cache(60)
def _second(number: int) -> str:
    return f"{number:02d}."


@lru_cache(1000)
def _millisecond(number: int) -> str:
    return f"{number:03d}Z"
