"""The operations on single objects, and DeleteObjects."""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING
from urllib.parse import unquote

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import checksums, conditions, markup
from poolcensus.simulator.s3.attributes import (
    KMS_CONTEXT,
    object_headers,
    override,
    read_attributes,
)
from poolcensus.simulator.s3.buckets import timestamp
from poolcensus.simulator.s3.errors import S3Error, invalid_argument
from poolcensus.simulator.s3.store import Attributes, StoredObject

if TYPE_CHECKING:
    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.checksums import Checksum
    from poolcensus.simulator.s3.markup import Element, Node
    from poolcensus.simulator.s3.store import Bucket, Store

COPY_SOURCE = "x-amz-copy-source"
SOURCE_OWNER = "x-amz-source-expected-bucket-owner"
METADATA_DIRECTIVE = "x-amz-metadata-directive"
TAGGING_DIRECTIVE = "x-amz-tagging-directive"
CHECKSUM_MODE = "x-amz-checksum-mode"
CHECKSUM_ALGORITHM = "x-amz-checksum-algorithm"
_DIRECTIVES = ("COPY", "REPLACE")
_MAX_DELETED = 1000


def get_object(store: Store, call: Call) -> Response:
    """GetObject and HeadObject: the body of the latter states its length and is not sent."""
    stored = store.reach(call).find(call.key)
    headers = override(object_headers(stored), call)
    if not conditions.check_read(call.headers, stored):
        return Response(304, headers=headers)
    span = conditions.byte_range(call.headers.get("range"), len(stored.body))
    if span is not None:
        start, stop = span
        covered = ("Content-Range", f"bytes {start}-{stop - 1}/{len(stored.body)}")
        return Response(206, stored.body[start:stop], (*headers, covered))
    # A client checks what it got against this, so that it must not come with a part of the object.
    if stored.checksum is not None and call.headers.get(CHECKSUM_MODE, "").upper() == "ENABLED":
        headers += stored.checksum.headers()
    return Response(200, stored.body, headers)


def put_object(store: Store, call: Call) -> Response:
    """PutObject."""
    bucket = store.reach(call)
    attributes = read_attributes(call, bucket)
    checksum = checksums.verify_body(call.headers, call.request.body)
    conditions.check_write(call.headers, call.key, bucket.objects.get(call.key))
    stored = _build(store, call.key, call.request.body, attributes, checksum)
    store.put(bucket, stored)
    context = attributes.encryption.context
    return Response(
        200,
        headers=(
            ("ETag", f'"{stored.etag}"'),
            *attributes.encryption.headers(),
            *(((KMS_CONTEXT, context),) if context is not None else ()),
            *(checksum.headers() if checksum is not None else ()),
            ("x-amz-object-size", str(len(stored.body))),
        ),
    )


def copy_object(store: Store, call: Call) -> Response:
    """CopyObject."""
    bucket = store.reach(call)
    source_bucket, source = copy_source(store, call)
    directive = call.headers.get(METADATA_DIRECTIVE, "COPY")
    if directive not in _DIRECTIVES:
        raise invalid_argument(METADATA_DIRECTIVE, directive, "Unknown metadata directive.")
    if call.headers.get(TAGGING_DIRECTIVE, "COPY") not in _DIRECTIVES:
        raise invalid_argument(
            TAGGING_DIRECTIVE, call.headers[TAGGING_DIRECTIVE], "Unknown tagging directive."
        )
    attributes = read_attributes(call, bucket)
    if directive == "COPY":
        attributes = Attributes(source.attributes.headers, attributes.encryption, attributes.storage_class)
        if source_bucket is bucket and source.key == call.key and attributes == source.attributes:
            raise S3Error(
                "InvalidRequest",
                "This copy request is illegal because it is trying to copy an object to itself without "
                "changing the object's metadata, storage class, website redirect location or encryption "
                "attributes.",
            )
    conditions.check_write(call.headers, call.key, bucket.objects.get(call.key))
    algorithm = checksums.named(call.headers.get(CHECKSUM_ALGORITHM))
    if algorithm is None and source.checksum is not None:
        algorithm = source.checksum.algorithm
    checksum = None if algorithm is None else checksums.of(algorithm, source.body)
    stored = _build(store, call.key, source.body, attributes, checksum)
    store.put(bucket, stored)
    content: list[Node] = [("ETag", f'"{stored.etag}"'), ("LastModified", timestamp(stored.modified))]
    if checksum is not None:
        content += [checksum.element(), ("ChecksumType", checksum.kind)]
    body = markup.write("CopyObjectResult", content)
    return Response(200, body, (*markup.TYPE, *attributes.encryption.headers()))


def copy_source(store: Store, call: Call) -> tuple[Bucket, StoredObject]:
    """Return the object that a copy starts from.

    Raises:
        S3Error: there is none, it is another's, or a condition on it does not hold.
    """
    path, _, version = call.headers[COPY_SOURCE].partition("?")
    if version:
        raise S3Error("NotImplemented", Header=COPY_SOURCE)
    name, _, key = unquote(path).removeprefix("/").partition("/")
    if not name or not key:
        raise invalid_argument(
            COPY_SOURCE, path, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        )
    bucket = store.bucket(call, name, call.headers.get(SOURCE_OWNER))
    source = bucket.find(key)
    conditions.check_copy(call.headers, source)
    return bucket, source


def delete_object(store: Store, call: Call) -> Response:
    """DeleteObject. That there is no such object is a success."""
    bucket = store.reach(call)
    conditions.check_match(call.headers.get("if-match"), call.key, bucket.objects.get(call.key))
    store.remove(bucket, call.key)
    return Response(204)


def delete_objects(store: Store, call: Call) -> Response:
    """DeleteObjects."""
    bucket = store.reach(call)
    if checksums.verify_body(call.headers, call.request.body) is None and "content-md5" not in call.headers:
        raise S3Error(
            "InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*"
        )
    root = markup.read(call.request.body, "Delete")
    root.only(frozenset({"Object", "Quiet"}))
    wanted = root.all("Object")
    if not 1 <= len(wanted) <= _MAX_DELETED:
        raise S3Error("MalformedXML")
    quiet = (root.value("Quiet") or "").lower() == "true"
    outcomes = [_delete_one(store, bucket, element) for element in wanted]
    content = [node for node in outcomes if not (quiet and node[0] == "Deleted")]
    return Response(200, markup.write("DeleteResult", content), markup.TYPE)


def get_object_tagging(store: Store, call: Call) -> Response:
    """GetObjectTagging: always none, since no operation that sets tags is simulated."""
    store.reach(call).find(call.key)
    return Response(200, markup.write("Tagging", [("TagSet", ())]), markup.TYPE)


def _delete_one(store: Store, bucket: Bucket, element: Element) -> Node:
    element.only(frozenset({"Key", "ETag"}))
    keys = element.all("Key")
    if len(keys) != 1 or not keys[0].text:
        raise S3Error("MalformedXML")
    key = keys[0].text
    try:
        conditions.check_match(element.value("ETag"), key, bucket.objects.get(key))
    except S3Error as error:
        return "Error", [("Key", key), ("Code", error.code), ("Message", error.message)]
    store.remove(bucket, key)
    return "Deleted", [("Key", key)]


def _build(
    store: Store, key: str, body: bytes, attributes: Attributes, checksum: Checksum | None
) -> StoredObject:
    etag = attributes.encryption.etag(md5(body, usedforsecurity=False).digest())
    return StoredObject(key, body, etag, store.now(), attributes, checksum)
