"""ListMultipartUploads and ListParts."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import listing, markup
from poolcensus.simulator.s3.buckets import timestamp
from poolcensus.simulator.s3.store import owner_id

if TYPE_CHECKING:
    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.markup import Node
    from poolcensus.simulator.s3.store import Bucket, Part, Store, Upload

_MAX_PAGE = 1000
_LAST_NUMBER = 2**31 - 1


def list_parts(store: Store, call: Call) -> Response:
    """ListParts."""
    bucket = store.reach(call)
    upload = bucket.upload(call.key, call.params["uploadId"])
    encode = listing.encoder(call)
    limit = call.count("max-parts", _MAX_PAGE)
    marker = call.count("part-number-marker", _LAST_NUMBER) if "part-number-marker" in call.params else 0
    numbers = sorted(number for number in upload.parts if number > marker)
    page = numbers[:limit]
    content: list[Node] = [
        ("Bucket", bucket.name),
        ("Key", encode(upload.key)),
        ("UploadId", upload.upload_id),
        *_people(bucket, upload),
        ("StorageClass", upload.attributes.storage_class),
        ("PartNumberMarker", marker),
        ("NextPartNumberMarker", page[-1] if page else 0),
        ("MaxParts", limit),
        ("IsTruncated", 0 < limit < len(numbers)),
        *_algorithm(upload),
        *(("Part", _describe(upload.parts[number])) for number in page),
    ]
    return Response(200, markup.write("ListPartsResult", content), markup.TYPE)


def list_uploads(store: Store, call: Call) -> Response:
    """ListMultipartUploads: by key, and by the order of their beginnings where one key has several."""
    bucket = store.reach(call)
    encode = listing.encoder(call)
    limit = call.count("max-uploads", _MAX_PAGE)
    prefix, delimiter = call.params.get("prefix", ""), call.params.get("delimiter", "")
    uploads = sorted(bucket.uploads.values(), key=lambda upload: upload.key)
    names = [upload.key for upload in uploads]
    page = listing.walk(names, _uploads_start(call, uploads, names), prefix, delimiter, limit)
    shown = [uploads[position] for position in page.positions]
    content: list[Node] = [
        ("Bucket", bucket.name),
        ("KeyMarker", encode(call.params.get("key-marker", ""))),
        ("UploadIdMarker", call.params.get("upload-id-marker", "")),
        *listing.echo(call, encode, {"delimiter": "Delimiter", "prefix": "Prefix"}),
        ("MaxUploads", limit),
        ("IsTruncated", page.truncated),
    ]
    if page.truncated:
        content.append(("NextKeyMarker", encode(page.last)))
        if shown and page.last == shown[-1].key:
            content.append(("NextUploadIdMarker", shown[-1].upload_id))
    if call.url_encoded:
        content.append(("EncodingType", "url"))
    for upload in shown:
        fields: list[Node] = [("Key", encode(upload.key)), ("UploadId", upload.upload_id)]
        fields += [
            *_people(bucket, upload),
            ("StorageClass", upload.attributes.storage_class),
            ("Initiated", timestamp(upload.initiated)),
            *_algorithm(upload),
        ]
        content.append(("Upload", fields))
    content += listing.prefix_elements(page.prefixes, encode)
    return Response(200, markup.write("ListMultipartUploadsResult", content), markup.TYPE)


def _uploads_start(call: Call, uploads: list[Upload], names: list[str]) -> int:
    marker, upload_id = call.params.get("key-marker", ""), call.params.get("upload-id-marker", "")
    if not marker:
        return 0
    for position, upload in enumerate(uploads):
        if upload_id and upload.key == marker and upload.upload_id == upload_id:
            return position + 1
    prefix, delimiter = call.params.get("prefix", ""), call.params.get("delimiter", "")
    if upload_id:
        return bisect_right(names, marker)
    return listing.after_marker(names, marker, prefix, delimiter)


def _people(bucket: Bucket, upload: Upload) -> list[Node]:
    return [
        ("Initiator", [("ID", upload.initiator), ("DisplayName", upload.initiator.rpartition("/")[2])]),
        ("Owner", [("ID", owner_id(bucket.owner))]),
    ]


def _algorithm(upload: Upload) -> list[Node]:
    if upload.algorithm is None:
        return []
    return [("ChecksumAlgorithm", upload.algorithm.upper()), ("ChecksumType", upload.kind)]


def _describe(part: Part) -> list[Node]:
    content: list[Node] = [
        ("PartNumber", part.number),
        ("LastModified", timestamp(part.modified)),
        ("ETag", f'"{part.etag}"'),
        ("Size", len(part.body)),
    ]
    return [*content, part.checksum.element()] if part.checksum is not None else content
