"""CopyObject and UploadPartCopy."""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING
from urllib.parse import unquote

from poolcensus.simulator.s3 import checksums, conditions, markup
from poolcensus.simulator.s3.attributes import read_attributes
from poolcensus.simulator.s3.errors import S3Error, invalid_argument
from poolcensus.simulator.s3.objects import byte_range
from poolcensus.simulator.s3.store import StoredObject, timestamp
from poolcensus.simulator.s3.uploads import add_part

if TYPE_CHECKING:
    from poolcensus.simulator.http import Response
    from poolcensus.simulator.s3.call import S3Call
    from poolcensus.simulator.s3.checksums import Checksum
    from poolcensus.simulator.s3.markup import Node
    from poolcensus.simulator.s3.store import Attributes, Store

SOURCE = "x-amz-copy-source"
_RANGE = f"{SOURCE}-range"
_DIRECTIVE = "x-amz-metadata-directive"
_CONDITION = f"{SOURCE}-"
_CONDITIONS = frozenset(_CONDITION + name for name in conditions.READ)
HEADERS = _CONDITIONS | {SOURCE, _DIRECTIVE, checksums.ALGORITHM}
PART_HEADERS = _CONDITIONS | {SOURCE, _RANGE}


def copy_object(store: Store, call: S3Call) -> Response:
    """CopyObject, from a bucket of the same account."""
    bucket = store.reach(call)
    source = _source(store, call)
    attributes = _attributes(call, source)
    if (
        source is bucket.objects.get(call.key)
        and attributes == source.attributes
        and call.headers.get(_DIRECTIVE) != "REPLACE"
    ):
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing "
            "the object's metadata, storage class, website redirect location or encryption attributes.",
        )
    etag = attributes.etag(md5(source.body, usedforsecurity=False).digest())
    checksum = _checksum(call, source)
    stored = StoredObject(call.key, source.body, etag, store.now(), attributes, checksum)
    bucket.objects[call.key] = stored
    content: list[Node] = [("LastModified", timestamp(stored.modified)), ("ETag", f'"{etag}"')]
    if checksum is not None:
        content += [checksum.element(), ("ChecksumType", checksum.kind)]
    return markup.reply("CopyObjectResult", content, attributes.headers())


def copy_part(store: Store, call: S3Call) -> Response:
    """UploadPartCopy."""
    upload = store.reach(call).upload(call)
    source = _source(store, call)
    asked = call.headers.get(_RANGE)
    span = byte_range(asked, len(source.body)) if asked is not None else (0, len(source.body))
    if span is None:
        raise invalid_argument(_RANGE, f"{asked}", f"The {_RANGE} value must be of the form bytes=first-last")
    body = source.body[slice(*span)]
    checksum = checksums.of(upload.algorithm, body) if upload.algorithm is not None else None
    part = add_part(store, call, upload, body, checksum)
    content: list[Node] = [("LastModified", timestamp(part.modified)), ("ETag", f'"{part.etag}"')]
    if checksum is not None:
        content.append(checksum.element())
    return markup.reply("CopyPartResult", content, upload.attributes.headers())


def _source(store: Store, call: S3Call) -> StoredObject:
    """Return the object to copy.

    Raises RefusalError if the caller may not read it, or if a condition on it is not met.
    """
    bucket, key = _source_name(call.headers[SOURCE])
    call.authorize("s3:GetObject", bucket, key)
    source = store.bucket(bucket, call.account_id).find(key)
    asked = {name.removeprefix(_CONDITION): call.headers[name] for name in _CONDITIONS & call.headers.keys()}
    if conditions.check_read(asked, source):
        raise S3Error("PreconditionFailed", Condition=SOURCE)
    return source


def _source_name(header: str) -> tuple[str, str]:
    path, _, version = header.partition("?")
    if version:
        raise S3Error("NotImplemented", "Versions are not implemented", Header=SOURCE)
    try:
        bucket, _, key = unquote(path, errors="strict").removeprefix("/").partition("/")
    except UnicodeDecodeError:
        bucket = key = ""
    if not bucket or not key:
        raise invalid_argument(SOURCE, header, "Invalid copy source object key")
    return bucket, key


def _attributes(call: S3Call, source: StoredObject) -> Attributes:
    """Return the attributes of the copy. Its encryption is that of the request, whatever the directive."""
    directive = call.headers.get(_DIRECTIVE, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise invalid_argument(_DIRECTIVE, directive, "Unknown metadata directive.")
    asked = read_attributes(call.headers)
    return asked if directive == "REPLACE" else source.attributes.encrypted_as(asked)


def _checksum(call: S3Call, source: StoredObject) -> Checksum | None:
    had = source.checksum
    algorithm = checksums.named(call.headers.get(checksums.ALGORITHM)) or (had and had.algorithm)
    if had is not None and had.algorithm == algorithm and had.kind == "FULL_OBJECT":
        return had
    return checksums.of(algorithm, source.body) if algorithm else None
