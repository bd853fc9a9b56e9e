"""The conditions a request may set on the object it reads, writes or deletes, and byte ranges."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.simulator.s3.store import StoredObject

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def same_etag(left: str, right: str) -> bool:
    """Tell whether two ETags are the same, with quotes or without."""
    return left.strip().strip('"') == right.strip().strip('"')


def check_read(headers: Mapping[str, str], stored: StoredObject) -> bool:
    """Check the conditions of a read. False: the client's copy is still good.

    Raises:
        S3Error: a condition does not hold.
    """
    failed = _failing(headers, stored, "")
    if failed in ("If-None-Match", "If-Modified-Since"):
        return False
    if failed is not None:
        raise S3Error("PreconditionFailed", Condition=failed)
    return True


def check_copy(headers: Mapping[str, str], stored: StoredObject) -> None:
    """Check the conditions on the source of a copy.

    Raises:
        S3Error: a condition does not hold.
    """
    failed = _failing(headers, stored, "x-amz-copy-source-")
    if failed is not None:
        raise S3Error("PreconditionFailed", Condition=f"x-amz-copy-source-{failed}")


def check_write(headers: Mapping[str, str], key: str, existing: StoredObject | None) -> None:
    """Check the conditions on what a write replaces.

    Raises:
        S3Error: a condition does not hold, or is one that S3 does not know for writes.
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
    """Check the `If-Match` of a write or of a delete.

    Raises:
        S3Error: the object is another, or is gone.
    """
    if match is None:
        return
    if existing is None:
        raise S3Error("NoSuchKey", Key=key)
    if match.strip() != "*" and not same_etag(match, existing.etag):
        raise S3Error("PreconditionFailed", Condition="If-Match")


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return where a range starts and ends; None where the whole object is meant.

    As HTTP has it, a header that can't be read counts for nothing; so does one with several ranges.

    Raises:
        S3Error: the object has no byte of the range.
    """
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if header is None or found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise S3Error("InvalidRange", RangeRequested=header, ActualObjectSize=str(size))
    return start, stop


def _failing(headers: Mapping[str, str], stored: StoredObject, prefix: str) -> str | None:
    """Return the condition that fails. An ETag that decides leaves the date beside it without a say."""
    match = headers.get(f"{prefix}if-match")
    if match is not None:
        if not _any_etag(match, stored.etag):
            return "If-Match"
    elif (
        since := _time(headers.get(f"{prefix}if-unmodified-since"))
    ) is not None and stored.modified > since:
        return "If-Unmodified-Since"
    none_match = headers.get(f"{prefix}if-none-match")
    if none_match is not None:
        return "If-None-Match" if _any_etag(none_match, stored.etag) else None
    since = _time(headers.get(f"{prefix}if-modified-since"))
    return "If-Modified-Since" if since is not None and stored.modified <= since else None


def _any_etag(header: str, etag: str) -> bool:
    return header.strip() == "*" or any(
        same_etag(text.strip().removeprefix("W/"), etag) for text in header.split(",")
    )


def _time(header: str | None) -> float | None:
    if header is None:
        return None
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
