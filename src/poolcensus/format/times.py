"""The times in a snapshot's files: RFC 3339 in UTC, with milliseconds.

Every pool has a time, so formatting has to be fast: the texts of days, minutes, seconds and milliseconds are
kept and concatenated.
"""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from functools import lru_cache

_EPOCH = date(1970, 1, 1).toordinal()
_MINUTES = [f"{hour:02d}:{minute:02d}:" for hour in range(24) for minute in range(60)]
_SECONDS = [f"{second:02d}." for second in range(60)]
_MILLISECONDS = [f"{millisecond:03d}Z" for millisecond in range(1000)]


def rfc3339(moment: datetime) -> str:
    """Return the text of a datetime, which must have a time zone."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    minute, millisecond = utc.hour * 60 + utc.minute, utc.microsecond // 1000
    return f"{_day(utc.toordinal())}{_MINUTES[minute]}{_SECONDS[utc.second]}{_MILLISECONDS[millisecond]}"


def utc_now() -> datetime:
    """Return the present time in UTC, in whole milliseconds, as files have it."""
    # As a float, whole milliseconds of this century are exact enough to be rounded to the same microseconds.
    return datetime.fromtimestamp(time.time_ns() // 1_000_000 / 1000, UTC)


def parse_rfc3339(text: str) -> datetime:
    """Return the time of a text as a datetime in UTC. A text without a time zone is taken to be UTC.

    Raises ValueError if the text is not a time.
    """
    found = datetime.fromisoformat(text)
    try:
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"it is out of range: {text!r}") from None


def rfc3339_of_epoch(seconds: float) -> str:
    """Return the text of a time in epoch seconds, rounded to milliseconds.

    Raises ValueError if the year is not from 1 to 9999.
    """
    try:
        milliseconds = round(seconds * 1000)
        day = _day(_EPOCH + milliseconds // 86_400_000)
    except (OverflowError, ValueError):
        raise ValueError("it is out of range") from None
    minute, rest = milliseconds // 60_000 % 1440, milliseconds % 60_000
    return f"{day}{_MINUTES[minute]}{_SECONDS[rest // 1000]}{_MILLISECONDS[rest % 1000]}"


# Enough days for eleven years, in which nearly all items were created.
@lru_cache(4096)
def _day(ordinal: int) -> str:
    return f"{date.fromordinal(ordinal)}T"
