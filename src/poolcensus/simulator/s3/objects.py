"""The operations on single objects, except CopyObject."""

from __future__ import annotations

import re
from email.utils import formatdate
from hashlib import md5
from typing import TYPE_CHECKING

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import checksums, markup
from poolcensus.simulator.s3.attributes import read_attributes
from poolcensus.simulator.s3.conditions import check_match, check_read, check_write
from poolcensus.simulator.s3.errors import S3Error
from poolcensus.simulator.s3.store import StoredObject

if TYPE_CHECKING:
    from poolcensus.simulator.s3.call import S3Call
    from poolcensus.simulator.s3.store import Store

CHECKSUM_MODE = "x-amz-checksum-mode"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def get_object(store: Store, call: S3Call) -> Response:
    """GetObject and HeadObject. The body of a reply to HeadObject is not sent, but its length is stated."""
    stored = store.reach(call).find(call.key)
    state = (
        ("ETag", f'"{stored.etag}"'),
        ("Last-Modified", formatdate(stored.modified, usegmt=True)),
    )
    if check_read(call.headers, stored):
        return Response(304, headers=state)
    headers = (
        *state,
        ("Accept-Ranges", "bytes"),
        ("Content-Type", stored.attributes.content_type),
        *stored.attributes.kept,
        *stored.attributes.headers(),
    )
    span = byte_range(call.headers.get("range"), len(stored.body))
    if span is not None:
        start, stop = span
        covered = ("Content-Range", f"bytes {start}-{stop - 1}/{len(stored.body)}")
        return Response(206, stored.body[start:stop], (*headers, covered))
    # Clients check the body against this checksum, so a reply with a range of the object must not have it.
    if stored.checksum is not None and call.headers.get(CHECKSUM_MODE, "").upper() == "ENABLED":
        headers += stored.checksum.headers()
    return Response(200, stored.body, headers)


def put_object(store: Store, call: S3Call) -> Response:
    """PutObject."""
    bucket, body = store.reach(call), call.request.body
    attributes = read_attributes(call.headers)
    checksum = checksums.verify_body(call.headers, body)
    check_write(call.headers, call.key, bucket.objects.get(call.key))
    etag = attributes.etag(md5(body, usedforsecurity=False).digest())
    bucket.objects[call.key] = StoredObject(call.key, body, etag, store.now(), attributes, checksum)
    stated = checksum.headers() if checksum is not None else ()
    return Response(200, headers=(("ETag", f'"{etag}"'), *attributes.headers(), *stated))


def delete_object(store: Store, call: S3Call) -> Response:
    """DeleteObject. Deleting a missing object succeeds."""
    bucket = store.reach(call)
    check_match(call.headers.get("if-match"), call.key, bucket.objects.get(call.key))
    bucket.objects.pop(call.key, None)
    return Response(204)


def get_tagging(store: Store, call: S3Call) -> Response:
    """GetObjectTagging. No object has tags."""
    store.reach(call).find(call.key)
    return markup.reply("Tagging", [("TagSet", ())])


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the start and the stop of a range, or None for the whole object.

    As in HTTP, an invalid header is ignored. A header with several ranges is ignored, too.

    Raises S3Error if the object has no byte in the range.
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
