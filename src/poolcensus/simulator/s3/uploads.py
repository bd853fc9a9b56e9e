"""The operations of multipart uploads."""

from __future__ import annotations

from hashlib import md5, sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import checksums, markup
from poolcensus.simulator.s3.attributes import read_attributes
from poolcensus.simulator.s3.conditions import check_write
from poolcensus.simulator.s3.errors import S3Error, invalid_argument
from poolcensus.simulator.s3.store import Part, StoredObject, Upload, owner, timestamp

if TYPE_CHECKING:
    from poolcensus.simulator.s3.call import S3Call
    from poolcensus.simulator.s3.checksums import Checksum
    from poolcensus.simulator.s3.markup import Node
    from poolcensus.simulator.s3.store import Store

MIN_PART = 5 * 1024 * 1024
_MAX_PARTS = 10_000


def create_upload(store: Store, call: S3Call) -> Response:
    """CreateMultipartUpload."""
    bucket = store.reach(call)
    attributes = read_attributes(call.headers)
    algorithm = checksums.named(call.headers.get(checksums.ALGORITHM))
    store.begun += 1
    upload_id = sha256(f"{bucket.name}/{call.key}#{store.begun}".encode()).hexdigest()
    bucket.uploads[upload_id] = Upload(upload_id, call.key, store.now(), attributes, algorithm)
    headers = attributes.headers()
    if algorithm is not None:
        headers += ((checksums.ALGORITHM, algorithm.upper()),)
    content = [("Bucket", bucket.name), ("Key", call.key), ("UploadId", upload_id)]
    return markup.reply("InitiateMultipartUploadResult", content, headers)


def upload_part(store: Store, call: S3Call) -> Response:
    """UploadPart."""
    upload, body = store.reach(call).upload(call), call.request.body
    checksum = checksums.verify_body(call.headers, body)
    if upload.algorithm is not None and (checksum is None or checksum.algorithm != upload.algorithm):
        actual = "null" if checksum is None else checksum.algorithm
        raise S3Error("InvalidRequest", f"Expected checksum Type: {upload.algorithm}, actual: {actual}")
    part = add_part(store, call, upload, body, checksum)
    stated = ((checksums.PREFIX + checksum.algorithm, checksum.value),) if checksum else ()
    return Response(200, headers=(("ETag", f'"{part.etag}"'), *upload.attributes.headers(), *stated))


def add_part(store: Store, call: S3Call, upload: Upload, body: bytes, checksum: Checksum | None) -> Part:
    """Add a part to an upload. It replaces a part with the same number.

    Raises S3Error if the part number is not valid.
    """
    number = _number(call.params.get("partNumber", ""))
    digest = md5(body, usedforsecurity=False).digest()
    part = Part(number, body, digest, upload.attributes.etag(digest), store.now(), checksum)
    upload.parts[number] = part
    return part


def complete_upload(store: Store, call: S3Call) -> Response:
    """CompleteMultipartUpload."""
    bucket = store.reach(call)
    upload = bucket.upload(call)
    parts = _completed_parts(upload, markup.read(call.request.body, "CompleteMultipartUpload"))
    check_write(call.headers, call.key, bucket.objects.get(call.key))
    body = b"".join(part.body for part in parts)
    checksum = None
    if upload.algorithm is not None:
        stated = [(part.checksum, len(part.body)) for part in parts if part.checksum is not None]
        checksum = checksums.of_parts(upload.algorithm, stated)
    digest = md5(b"".join(part.digest for part in parts), usedforsecurity=False).digest()
    etag = f"{upload.attributes.etag(digest)}-{len(parts)}"
    bucket.objects[call.key] = StoredObject(call.key, body, etag, store.now(), upload.attributes, checksum)
    del bucket.uploads[upload.upload_id]
    content: list[Node] = [
        ("Location", f"http://{call.headers.get('host', '')}{call.request.path}"),
        ("Bucket", bucket.name),
        ("Key", call.key),
        ("ETag", f'"{etag}"'),
    ]
    if checksum is not None:
        content += [checksum.element(), ("ChecksumType", checksum.kind)]
    return markup.reply("CompleteMultipartUploadResult", content, upload.attributes.headers())


def list_parts(store: Store, call: S3Call) -> Response:
    """ListParts."""
    upload = store.reach(call).upload(call)
    marker, limit = call.number("part-number-marker", 0), call.count("max-parts")
    left = [part for number, part in sorted(upload.parts.items()) if number > marker]
    shown = left[:limit]
    content: list[Node] = [
        ("Bucket", call.bucket),
        ("Key", call.key),
        ("UploadId", upload.upload_id),
        ("Initiator", owner(call.account_id)),
        ("Owner", owner(call.account_id)),
        ("StorageClass", "STANDARD"),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", shown[-1].number if shown else 0),
        ("MaxParts", limit),
        ("IsTruncated", len(left) > len(shown) > 0),
    ]
    for part in shown:
        fields: list[Node] = [
            ("PartNumber", part.number),
            ("LastModified", timestamp(part.modified)),
            ("ETag", f'"{part.etag}"'),
            ("Size", len(part.body)),
        ]
        if part.checksum is not None:
            fields.append(part.checksum.element())
        content.append(("Part", fields))
    return markup.reply("ListPartsResult", content)


def abort_upload(store: Store, call: S3Call) -> Response:
    """AbortMultipartUpload."""
    bucket = store.reach(call)
    del bucket.uploads[bucket.upload(call).upload_id]
    return Response(204)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= _MAX_PARTS):
        raise invalid_argument("partNumber", text, f"Part number must be between 1 and {_MAX_PARTS}")
    return int(text)


def _completed_parts(upload: Upload, named: list[tuple[str, dict[str, str]]]) -> list[Part]:
    """Return the parts that CompleteMultipartUpload names.

    Raises S3Error if a part does not exist, does not match, is out of order or is too small.
    """
    if not named or any(name != "Part" for name, _ in named):
        raise S3Error("MalformedXML")
    numbers = [_number(fields.get("PartNumber", "")) for _, fields in named]
    if any(left >= right for left, right in pairwise(numbers)):
        raise S3Error("InvalidPartOrder", UploadId=upload.upload_id)
    parts = [
        _completed_part(upload, number, fields) for number, (_, fields) in zip(numbers, named, strict=True)
    ]
    for part in parts[:-1]:
        if len(part.body) < MIN_PART:
            raise S3Error("EntityTooSmall", PartNumber=str(part.number), ETag=part.etag)
    return parts


def _completed_part(upload: Upload, number: int, fields: dict[str, str]) -> Part:
    part = upload.parts.get(number)
    given = {name: value for name, value in fields.items() if name.startswith("Checksum")}
    stated = {} if part is None or part.checksum is None else dict([part.checksum.element()])
    if upload.algorithm not in (None, "crc64nvme") and stated and not given:
        raise S3Error("InvalidRequest", f"The request must include the checksum for part {number}.")
    etag = fields.get("ETag", "").strip('"')
    if part is None or etag != part.etag or (given and given != stated):
        raise S3Error("InvalidPart", UploadId=upload.upload_id, PartNumber=str(number), ETag=etag)
    return part
