"""Times as every file of a snapshot has them: RFC 3339 in UTC, in milliseconds.

Every pool has one. Days, minutes, seconds and milliseconds are texts that come again: they are kept, and put
together.
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
    """Return the text for a moment that is aware of its time zone."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    minute, millisecond = utc.hour * 60 + utc.minute, utc.microsecond // 1000
    return f"{_day(utc.toordinal())}{_MINUTES[minute]}{_SECONDS[utc.second]}{_MILLISECONDS[millisecond]}"


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
        milliseconds = round(seconds * 1000)
        day = _day(_EPOCH + milliseconds // 86_400_000)
    except (OverflowError, ValueError):
        raise ValueError("it is out of range") from None
    minute, rest = milliseconds // 60_000 % 1440, milliseconds % 60_000
    return f"{day}{_MINUTES[minute]}{_SECONDS[rest // 1000]}{_MILLISECONDS[rest % 1000]}"


# Items have been made in some years, of which this is more than ten.
@lru_cache(4096)
def _day(ordinal: int) -> str:
    return f"{date.fromordinal(ordinal)}T"
