"""The operations of multipart uploads."""

from __future__ import annotations

from hashlib import md5
from itertools import pairwise
from typing import TYPE_CHECKING

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import checksums, conditions, markup
from poolcensus.simulator.s3.attributes import read_attributes
from poolcensus.simulator.s3.buckets import timestamp
from poolcensus.simulator.s3.errors import S3Error, invalid_argument
from poolcensus.simulator.s3.objects import CHECKSUM_ALGORITHM, copy_source
from poolcensus.simulator.s3.store import Part, StoredObject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.checksums import Checksum
    from poolcensus.simulator.s3.markup import Element, Node
    from poolcensus.simulator.s3.store import Bucket, Store, Upload

CHECKSUM_TYPE = "x-amz-checksum-type"
COPY_RANGE = "x-amz-copy-source-range"
OBJECT_SIZE = "x-amz-mp-object-size"
MIN_PART = 5 * 1024 * 1024
_MAX_PARTS = 10_000
_PART_ELEMENTS = frozenset({"PartNumber", "ETag"}) | checksums.ELEMENTS


def create_upload(store: Store, call: Call) -> Response:
    """CreateMultipartUpload."""
    bucket = store.reach(call)
    attributes = read_attributes(call, bucket)
    algorithm = checksums.named(call.headers.get(CHECKSUM_ALGORITHM))
    asked = call.headers.get(CHECKSUM_TYPE)
    if algorithm is None and asked is not None:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
        )
    kind = checksums.kind_for(algorithm, asked) if algorithm is not None else "FULL_OBJECT"
    upload = store.begin(bucket, call, attributes, algorithm, kind)
    headers = (*markup.TYPE, *attributes.encryption.headers())
    if algorithm is not None:
        headers += ((CHECKSUM_ALGORITHM, algorithm.upper()), (CHECKSUM_TYPE, kind))
    content: list[Node] = [("Bucket", bucket.name), ("Key", call.key), ("UploadId", upload.upload_id)]
    return Response(200, markup.write("InitiateMultipartUploadResult", content), headers)


def upload_part(store: Store, call: Call) -> Response:
    """UploadPart."""
    upload = _upload(store.reach(call), call)
    part = _store_part(
        store, call, upload, call.request.body, checksums.verify_body(call.headers, call.request.body)
    )
    return Response(
        200,
        headers=(
            ("ETag", f'"{part.etag}"'),
            *upload.attributes.encryption.headers(),
            *(((checksums.PREFIX + part.checksum.algorithm, part.checksum.value),) if part.checksum else ()),
        ),
    )


def upload_part_copy(store: Store, call: Call) -> Response:
    """UploadPartCopy."""
    upload = _upload(store.reach(call), call)
    _, source = copy_source(store, call)
    body = source.body
    asked = call.headers.get(COPY_RANGE)
    if asked is not None:
        span = conditions.byte_range(asked, len(body))
        if span is None or asked != f"bytes={span[0]}-{span[1] - 1}":
            raise invalid_argument(
                COPY_RANGE, asked, f"Range specified is not valid for source object of size: {len(body)}"
            )
        body = body[slice(*span)]
    checksum = checksums.of(upload.algorithm, body) if upload.algorithm is not None else None
    part = _store_part(store, call, upload, body, checksum)
    content: list[Node] = [("LastModified", timestamp(part.modified)), ("ETag", f'"{part.etag}"')]
    if checksum is not None:
        content.append(checksum.element())
    headers = (*markup.TYPE, *upload.attributes.encryption.headers())
    return Response(200, markup.write("CopyPartResult", content), headers)


def complete_upload(store: Store, call: Call) -> Response:
    """CompleteMultipartUpload."""
    bucket = store.reach(call)
    upload = _upload(bucket, call)
    parts = _chosen(upload, markup.read(call.request.body, "CompleteMultipartUpload"))
    conditions.check_write(call.headers, call.key, bucket.objects.get(call.key))
    body = b"".join(part.body for part in parts)
    size = call.headers.get(OBJECT_SIZE)
    if size is not None and size != str(len(body)):
        raise S3Error(
            "InvalidRequest",
            f"The provided 'x-amz-mp-object-size' header value {size} does not match what was "
            f"computed: {len(body)}",
        )
    checksum = _combined(upload, parts, body)
    _verify_object(call.headers, checksum, upload)
    digest = md5(b"".join(part.digest for part in parts), usedforsecurity=False).digest()
    encryption = upload.attributes.encryption
    stored = StoredObject(
        call.key, body, f"{encryption.etag(digest)}-{len(parts)}", store.now(), upload.attributes, checksum
    )
    store.complete(bucket, upload, stored)
    content: list[Node] = [
        ("Location", f"http://{call.headers.get('host', '')}{call.request.path}"),
        ("Bucket", bucket.name),
        ("Key", call.key),
        ("ETag", f'"{stored.etag}"'),
    ]
    if checksum is not None:
        content += [checksum.element(), ("ChecksumType", checksum.kind)]
    body = markup.write("CompleteMultipartUploadResult", content)
    return Response(200, body, (*markup.TYPE, *encryption.headers()))


def abort_upload(store: Store, call: Call) -> Response:
    """AbortMultipartUpload."""
    bucket = store.reach(call)
    store.abort(bucket, _upload(bucket, call))
    return Response(204)


def _upload(bucket: Bucket, call: Call) -> Upload:
    return bucket.upload(call.key, call.params["uploadId"])


def _number(text: str | None) -> int:
    if text is None or not (
        text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= _MAX_PARTS
    ):
        raise invalid_argument(
            "partNumber", text or "", "Part number must be an integer between 1 and 10000, inclusive"
        )
    return int(text)


def _store_part(store: Store, call: Call, upload: Upload, body: bytes, checksum: Checksum | None) -> Part:
    number = _number(call.params.get("partNumber"))
    if upload.algorithm is not None and (checksum is None or checksum.algorithm != upload.algorithm):
        actual = "null" if checksum is None else checksum.algorithm
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {upload.algorithm}, "
            f"actual checksum Type: {actual}",
        )
    digest = md5(body, usedforsecurity=False).digest()
    etag = upload.attributes.encryption.etag(digest)
    part = Part(number, body, digest, etag, store.now(), checksum)
    store.put_part(upload, part)
    return part


def _chosen(upload: Upload, root: Element) -> list[Part]:
    """Return the parts that a completion names, once they are all as it says."""
    root.only(frozenset({"Part"}))
    if not root.children:
        raise S3Error("MalformedXML")
    numbers: list[int] = []
    for element in root.children:
        element.only(_PART_ELEMENTS)
        numbers.append(_number(element.value("PartNumber")))
    if any(left >= right for left, right in pairwise(numbers)):
        raise S3Error("InvalidPartOrder", UploadId=upload.upload_id)
    parts = [
        _chosen_part(upload, number, element) for number, element in zip(numbers, root.children, strict=True)
    ]
    for part in parts[:-1]:
        if len(part.body) < MIN_PART:
            raise S3Error(
                "EntityTooSmall",
                ProposedSize=str(len(part.body)),
                MinSizeAllowed=str(MIN_PART),
                PartNumber=str(part.number),
                ETag=part.etag,
            )
    return parts


def _chosen_part(upload: Upload, number: int, element: Element) -> Part:
    part = upload.parts.get(number)
    etag = element.value("ETag")
    if etag is None:
        raise S3Error("MalformedXML")
    checksum = None if part is None else part.checksum
    given = {name: element.value(name) for name in checksums.ELEMENTS if element.all(name)}
    if upload.kind == "COMPOSITE" and checksum is not None and not given:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using a {checksum.algorithm} checksum. The complete request must "
            f"include the checksum for each part. It was missing for part {number} in the request.",
        )
    agreed = not given or (checksum is not None and given == dict([checksum.element()]))
    if part is None or not conditions.same_etag(etag, part.etag) or not agreed:
        raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=str(number), ETag=etag.strip('"'))
    return part


def _combined(upload: Upload, parts: list[Part], body: bytes) -> Checksum | None:
    if upload.algorithm is None:
        return None
    if upload.kind == "FULL_OBJECT":
        return checksums.of(upload.algorithm, body)
    return checksums.composite(
        upload.algorithm, [part.checksum for part in parts if part.checksum is not None]
    )


def _verify_object(headers: Mapping[str, str], checksum: Checksum | None, upload: Upload) -> None:
    """Check the checksum that the completion states: here it is the object's, not the body's."""
    kind = headers.get(CHECKSUM_TYPE, upload.kind)
    found = checksums.stated(headers)
    if upload.algorithm is not None and kind != upload.kind:
        raise S3Error("InvalidRequest", f"The upload was created using the {upload.kind} checksum mode.")
    if found is None or checksum is None:
        return
    algorithm, value = found
    if algorithm != checksum.algorithm or value not in (checksum.value, checksum.value.partition("-")[0]):
        raise S3Error("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")
