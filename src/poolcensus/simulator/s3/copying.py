"""CopyObject."""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING
from urllib.parse import unquote

from poolcensus.simulator.s3 import checksums, markup
from poolcensus.simulator.s3.attributes import read_attributes
from poolcensus.simulator.s3.errors import S3Error, invalid_argument
from poolcensus.simulator.s3.store import StoredObject, timestamp

if TYPE_CHECKING:
    from poolcensus.simulator.http import Response
    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.checksums import Checksum
    from poolcensus.simulator.s3.markup import Node
    from poolcensus.simulator.s3.store import Attributes, Store

SOURCE = "x-amz-copy-source"
_DIRECTIVE = "x-amz-metadata-directive"
HEADERS = frozenset({SOURCE, _DIRECTIVE, checksums.ALGORITHM})


def copy_object(store: Store, call: Call) -> Response:
    """CopyObject, from a bucket of the same account."""
    bucket = store.reach(call)
    source_bucket, source_key = _source(call.headers[SOURCE])
    call.authorize("s3:GetObject", source_bucket, source_key)
    source = store.bucket(source_bucket, call.account_id).find(source_key)
    attributes = _attributes(call, source)
    itself = (source_bucket, source_key) == (bucket.name, call.key)
    if itself and attributes == source.attributes and call.headers.get(_DIRECTIVE) != "REPLACE":
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


def _source(header: str) -> tuple[str, str]:
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


def _attributes(call: Call, source: StoredObject) -> Attributes:
    """Return what goes with the copy: encryption is the request's own, whatever the directive says."""
    directive = call.headers.get(_DIRECTIVE, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise invalid_argument(_DIRECTIVE, directive, "Unknown metadata directive.")
    asked = read_attributes(call.headers)
    return asked if directive == "REPLACE" else source.attributes.encrypted_as(asked)


def _checksum(call: Call, source: StoredObject) -> Checksum | None:
    had = source.checksum
    algorithm = checksums.named(call.headers.get(checksums.ALGORITHM)) or (had and had.algorithm)
    if had is not None and had.algorithm == algorithm and had.kind == "FULL_OBJECT":
        return had
    return checksums.of(algorithm, source.body) if algorithm else None
