"""Conditional requests.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.simulator.s3.store import StoredObject

WRITE = frozenset({"if-match", "if-none-match"})
READ = WRITE | {"if-modified-since", "if-unmodified-since"}


def check_read(headers: Mapping[str, str], stored: StoredObject) -> bool:
    """Return whether the client has the object already, by the conditions of a read.

    An ETag takes precedence over a date.

    Raises S3Error if a condition is not met.
    """
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None:
        check_match(match, stored.key, stored)
    elif (since := _date(headers.get("if-unmodified-since"))) is not None and stored.modified > since:
        raise S3Error("PreconditionFailed", Condition="If-Unmodified-Since")
    if none_match is not None:
        return _has_etag(none_match, stored)
    since = _date(headers.get("if-modified-since"))
    return since is not None and stored.modified <= since


def check_write(headers: Mapping[str, str], key: str, existing: StoredObject | None) -> None:
    """Check the conditions of a write on the existing object.

    Raises S3Error if a condition is not met, or if S3 does not support it for writes.
    """
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if none_match is not None and (match is not None or none_match.strip() != "*"):
        raise S3Error("NotImplemented", Header="If-None-Match")
    if match is not None and match.strip() == "*":
        raise S3Error("NotImplemented", Header="If-Match")
    if none_match is not None and existing is not None:
        raise S3Error("PreconditionFailed", Condition="If-None-Match")
    check_match(match, key, existing)


def check_match(match: str | None, key: str, existing: StoredObject | None) -> None:
    """Check the If-Match header, if there is one.

    Raises S3Error if there is no object, or if it has another ETag.
    """
    if match is None:
        return
    if existing is None:
        raise S3Error("NoSuchKey", Key=key)
    if not _has_etag(match, existing):
        raise S3Error("PreconditionFailed", Condition="If-Match")


def _has_etag(header: str, stored: StoredObject) -> bool:
    """Return whether the header is `*` or a list of ETags with that of the object."""
    etags = {each.strip().removeprefix("W/").strip('"') for each in header.split(",")}
    return not etags.isdisjoint({"*", stored.etag})


def _date(header: str | None) -> float | None:
    """Return a date of HTTP as epoch seconds, or None if it is not a date. The header is then ignored."""
    if header is None:
        return None
    try:
        found = parsedate_to_datetime(header)
        # Dates of HTTP are in UTC, also without a time zone or with -0000.
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
