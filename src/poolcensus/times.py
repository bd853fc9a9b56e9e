"""Times as every file of a snapshot has them: RFC 3339 in UTC, in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(moment: datetime) -> str:
    """The text for a moment that is aware of its time zone."""
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def rfc3339_of_epoch(seconds: float) -> str:
    """The text for epoch seconds, rounded to milliseconds. Raises ValueError outside the years 1 to 9999."""
    # Before it is multiplied: what overflows there is no ValueError.
    if not _EARLIEST <= seconds <= _LATEST + 1:
        raise ValueError("it is out of range")
    whole, rest = divmod(round(seconds * 1000), 1000)
    if whole > _LATEST:
        raise ValueError("it is out of range")
    days, second = divmod(whole, 86_400)
    minute, second = divmod(second, 60)
    return f"{_date(days)}T{minute // 60:02d}:{minute % 60:02d}:{second:02d}.{rest:03d}Z"


# A census formats many times of few days, and a date costs several times what its seconds do.
@lru_cache(maxsize=4096)
def _date(days: int) -> str:
    return datetime.fromtimestamp(days * 86_400, UTC).date().isoformat()


_EARLIEST = int(datetime(1, 1, 1, tzinfo=UTC).timestamp())
_LATEST = int(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
