"""Times as every file of a snapshot has them: RFC 3339 in UTC, in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, and without a zone to take off the text again


def rfc3339(moment: datetime) -> str:
    """Return the text for a moment that is aware of its time zone."""
    return f"{moment.astimezone(UTC).isoformat('T', 'milliseconds')[:-6]}Z"


def rfc3339_of_epoch(seconds: float) -> str:
    """Return the text for epoch seconds, rounded to milliseconds.

    Raises ValueError outside the years 1 to 9999.
    """
    try:
        moment = _EPOCH + round(seconds * 1000) * _MILLISECOND
    except (OverflowError, ValueError):
        raise ValueError("it is out of range") from None
    return moment.isoformat("T", "milliseconds") + "Z"
