"""Times as every file of a snapshot has them: RFC 3339 in UTC, in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, and without a zone to take off the text again


def rfc3339(moment: datetime) -> str:
    """The text for a moment that is aware of its time zone."""
    return f"{moment.astimezone(UTC).isoformat(timespec='milliseconds')[:-6]}Z"


def rfc3339_of_epoch(seconds: float) -> str:
    """The text for epoch seconds, rounded to milliseconds. Raises ValueError outside the years 1 to 9999."""
    try:
        moment = _EPOCH + timedelta(milliseconds=round(seconds * 1000))
    except (OverflowError, ValueError):
        raise ValueError("it is out of range") from None
    return f"{moment.isoformat(timespec='milliseconds')}Z"
