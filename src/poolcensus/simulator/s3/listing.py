"""The listings of objects and multipart uploads. Both walk over sorted names."""

from __future__ import annotations

import base64
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from poolcensus.simulator.s3 import markup
from poolcensus.simulator.s3.errors import invalid_argument
from poolcensus.simulator.s3.store import Store, owner, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from poolcensus.simulator.http import Response
    from poolcensus.simulator.s3.call import S3Call
    from poolcensus.simulator.s3.markup import Node
    from poolcensus.simulator.s3.store import Bucket, Upload


@dataclass(frozen=True, slots=True)
class _Page:
    """One page: positions of names, and common prefixes. `last` is the last name or prefix."""

    positions: list[int]
    prefixes: list[str]
    last: str
    truncated: bool


def list_objects(store: Store, call: S3Call) -> Response:
    """ListObjectsV2."""
    bucket = store.reach(call)
    if call.params["list-type"] != "2":
        raise invalid_argument("list-type", call.params["list-type"], "Invalid List Type")
    encode, keys, limit = _encoder(call), bucket.keys, call.count("max-keys")
    page = _walk(keys, _objects_start(call, keys), call, limit)
    content: list[Node] = [
        ("Name", bucket.name),
        *_repeated_parameters(call, encode),
        ("KeyCount", len(page.positions) + len(page.prefixes)),
        ("MaxKeys", limit),
        ("IsTruncated", page.truncated),
    ]
    if page.truncated:
        # The token has the name of the last entry, so that it stays valid while objects come and go.
        kind = "prefix" if page.last in page.prefixes[-1:] else "key"
        token = base64.urlsafe_b64encode(f"{kind}:{page.last}".encode()).decode()
        content.append(("NextContinuationToken", token))
    owned = call.params.get("fetch-owner", "").lower() == "true"
    content += _contents(bucket, [keys[position] for position in page.positions], encode, owned=owned)
    content += _prefixes(page, encode)
    return markup.reply("ListBucketResult", content)


def list_objects_v1(store: Store, call: S3Call) -> Response:
    """ListObjects, the older version. It returns NextMarker only if the request has a delimiter."""
    bucket = store.reach(call)
    encode, keys, limit = _encoder(call), bucket.keys, call.count("max-keys")
    marker = call.params.get("marker", "")
    page = _walk(keys, _position_after_marker(call, marker, keys), call, limit)
    content: list[Node] = [
        ("Name", bucket.name),
        ("Marker", encode(marker)),
        *_repeated_parameters(call, encode),
        ("MaxKeys", limit),
        ("IsTruncated", page.truncated),
    ]
    if page.truncated and call.params.get("delimiter"):
        content.append(("NextMarker", encode(page.last)))
    content += _contents(bucket, [keys[position] for position in page.positions], encode, owned=True)
    content += _prefixes(page, encode)
    return markup.reply("ListBucketResult", content)


def list_uploads(store: Store, call: S3Call) -> Response:
    """ListMultipartUploads, ordered by key, and by time if a key has several."""
    bucket = store.reach(call)
    encode, limit = _encoder(call), call.count("max-uploads")
    uploads = sorted(bucket.uploads.values(), key=lambda upload: upload.key)
    names = [upload.key for upload in uploads]
    page = _walk(names, _uploads_start(call, uploads, names), call, limit)
    shown = [uploads[position] for position in page.positions]
    content: list[Node] = [
        ("Bucket", bucket.name),
        *_repeated_parameters(call, encode),
        ("MaxUploads", limit),
        ("IsTruncated", page.truncated),
    ]
    if page.truncated:
        content.append(("NextKeyMarker", encode(page.last)))
        if shown and page.last == shown[-1].key:
            content.append(("NextUploadIdMarker", shown[-1].upload_id))
    for upload in shown:
        fields: list[Node] = [
            ("Key", encode(upload.key)),
            ("UploadId", upload.upload_id),
            ("StorageClass", "STANDARD"),
            ("Initiated", timestamp(upload.initiated)),
        ]
        content.append(("Upload", fields))
    content += _prefixes(page, encode)
    return markup.reply("ListMultipartUploadsResult", content)


def _walk(names: Sequence[str], start: int, call: S3Call, limit: int) -> _Page:
    """Return the page of names with the prefix that begins at a position.

    Names with the delimiter after the prefix are rolled up into common prefixes.
    """
    prefix, delimiter = call.params.get("prefix", ""), call.params.get("delimiter", "")
    positions: list[int] = []
    prefixes: list[str] = []
    last = ""
    position = max(start, bisect_left(names, prefix))
    while position < len(names) and names[position].startswith(prefix):
        if len(positions) + len(prefixes) >= limit:
            return _Page(positions, prefixes, last, truncated=limit > 0)
        name = names[position]
        found = name.find(delimiter, len(prefix)) if delimiter else -1
        if found < 0:
            positions.append(position)
            last = name
            position += 1
        else:
            last = name[: found + len(delimiter)]
            prefixes.append(last)
            position = _position_after_prefix(names, last)
    return _Page(positions, prefixes, last, truncated=False)


def _position_after_prefix(names: Sequence[str], prefix: str) -> int:
    """Return the position after the last name with a prefix."""
    first = bisect_left(names, prefix)
    return bisect_left(names, True, first, key=lambda name: not name.startswith(prefix))


def _objects_start(call: S3Call, keys: Sequence[str]) -> int:
    token = call.params.get("continuation-token")
    if token is None:
        return bisect_right(keys, call.params.get("start-after", ""))
    try:
        kind, last = base64.urlsafe_b64decode(token.encode()).decode().split(":", 1)
    except ValueError:
        kind, last = "", ""
    if kind not in ("key", "prefix"):
        raise invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    return _position_after_prefix(keys, last) if kind == "prefix" else bisect_right(keys, last)


def _uploads_start(call: S3Call, uploads: list[Upload], names: list[str]) -> int:
    marker, upload_id = call.params.get("key-marker", ""), call.params.get("upload-id-marker", "")
    if upload_id:
        for position, upload in enumerate(uploads):
            if upload.key == marker and upload.upload_id == upload_id:
                return position + 1
    return _position_after_marker(call, marker, names)


def _position_after_marker(call: S3Call, marker: str, names: Sequence[str]) -> int:
    """Return the position after a marker."""
    prefix, delimiter = call.params.get("prefix", ""), call.params.get("delimiter", "")
    # A marker that is a common prefix stands for all names with that prefix.
    rolled_up = delimiter and marker.endswith(delimiter) and marker.startswith(prefix) and marker != prefix
    return _position_after_prefix(names, marker) if rolled_up else bisect_right(names, marker)


def _contents(
    bucket: Bucket, keys: Iterable[str], encode: Callable[[str], str], *, owned: bool
) -> Iterator[Node]:
    for key in keys:
        stored = bucket.objects[key]
        fields: list[Node] = [
            ("Key", encode(key)),
            ("LastModified", timestamp(stored.modified)),
            ("ETag", f'"{stored.etag}"'),
            ("Size", len(stored.body)),
            ("StorageClass", "STANDARD"),
        ]
        if owned:
            fields.append(("Owner", owner(bucket.owner)))
        yield "Contents", fields


def _encoder(call: S3Call) -> Callable[[str], str]:
    """Return the function that encodes names in the reply."""
    return (lambda name: quote(name, safe="/")) if call.url_encoded else str


def _repeated_parameters(call: S3Call, encode: Callable[[str], str]) -> list[Node]:
    """Return the elements that repeat the parameters of the request.

    A listing of objects has the element Prefix also without a prefix.
    """
    names = {
        "prefix": "Prefix",
        "delimiter": "Delimiter",
        "start-after": "StartAfter",
        "key-marker": "KeyMarker",
    }
    always = "" if "uploads" in call.params else "prefix"
    encoding: list[Node] = [("EncodingType", "url")] if call.url_encoded else []
    shown = [name for name in names if call.params.get(name) or name == always]
    return [(names[name], encode(call.params.get(name, ""))) for name in shown] + encoding


def _prefixes(page: _Page, encode: Callable[[str], str]) -> list[Node]:
    return [("CommonPrefixes", [("Prefix", encode(prefix))]) for prefix in page.prefixes]
