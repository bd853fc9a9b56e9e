"""The conditions that a request may set on the object that is there.

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
    """Return whether the client has the object already, as the conditions of a read say.

    Where ETags are given, dates count for nothing.

    Raises S3Error: a condition does not hold.
    """
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None:
        check_match(match, stored.key, stored)
    elif (since := _date(headers.get("if-unmodified-since"))) is not None and stored.modified > since:
        raise S3Error("PreconditionFailed", Condition="If-Unmodified-Since")
    if none_match is not None:
        return _names(none_match, stored)
    since = _date(headers.get("if-modified-since"))
    return since is not None and stored.modified <= since


def check_write(headers: Mapping[str, str], key: str, existing: StoredObject | None) -> None:
    """Check the conditions on what a write replaces.

    Raises S3Error: a condition does not hold, or is one that S3 does not know for writes.
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
    """Check an If-Match header, if there is one.

    Raises S3Error: there is no object, or it has another ETag.
    """
    if match is None:
        return
    if existing is None:
        raise S3Error("NoSuchKey", Key=key)
    if not _names(match, existing):
        raise S3Error("PreconditionFailed", Condition="If-Match")


def _names(header: str, stored: StoredObject) -> bool:
    """Whether the header, a list of ETags or `*`, names the object's."""
    etags = {each.strip().removeprefix("W/").strip('"') for each in header.split(",")}
    return not etags.isdisjoint({"*", stored.etag})


def _date(header: str | None) -> float | None:
    """Return the seconds that a date stands for; None where it is none, which then counts for nothing."""
    if header is None:
        return None
    try:
        found = parsedate_to_datetime(header)
        # A date of HTTP is in UTC, also where it has no zone or -0000.
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
