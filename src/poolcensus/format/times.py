"""Times as every file of a snapshot has them: RFC 3339 in UTC, in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - in UTC, and without a zone to take off the text again


def rfc3339(moment: datetime) -> str:
    """Return the text for a moment that is aware of its time zone."""
    return f"{moment.astimezone(UTC).isoformat('T', 'milliseconds')[:-6]}Z"


def utc_now() -> datetime:
    """Return the time in UTC, in the milliseconds that files have."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


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
        moment = _EPOCH + round(seconds * 1000) * _MILLISECOND
    except (OverflowError, ValueError):
        raise ValueError("it is out of range") from None
    return moment.isoformat("T", "milliseconds") + "Z"
