"""ListObjects and ListObjectsV2, and the walk over sorted names that every listing takes."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from poolcensus.simulator.http import Response
from poolcensus.simulator.s3 import markup
from poolcensus.simulator.s3.buckets import timestamp
from poolcensus.simulator.s3.errors import invalid_argument
from poolcensus.simulator.s3.store import Store, StoredObject, owner_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.markup import Node
    from poolcensus.simulator.s3.store import Bucket

MAX_KEYS = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Positions of names, and the prefixes that stand for several. `last` is the last of both."""

    positions: list[int]
    prefixes: list[str]
    last: str
    truncated: bool


def walk(names: Sequence[str], start: int, prefix: str, delimiter: str, limit: int) -> Page:
    """Return the names with a prefix, from a position on; those with the delimiter after it rolled up."""
    positions: list[int] = []
    prefixes: list[str] = []
    last = ""
    position = max(start, bisect_left(names, prefix))
    while position < len(names) and names[position].startswith(prefix):
        if len(positions) + len(prefixes) >= limit:
            return Page(positions, prefixes, last, truncated=limit > 0)
        name = names[position]
        found = name.find(delimiter, len(prefix)) if delimiter else -1
        if found < 0:
            positions.append(position)
            last = name
            position += 1
        else:
            last = name[: found + len(delimiter)]
            prefixes.append(last)
            position = beyond(names, last)
    return Page(positions, prefixes, last, truncated=False)


def beyond(names: Sequence[str], prefix: str) -> int:
    """Return the position after the last name with a prefix."""
    first = bisect_left(names, prefix)
    return bisect_left(names, True, first, key=lambda name: not name.startswith(prefix))


def after_marker(names: Sequence[str], marker: str, prefix: str, delimiter: str) -> int:
    """Return the position after a marker; after all that it stands for, where it is a rolled-up prefix."""
    rolled_up = (
        delimiter != ""
        and marker.startswith(prefix)
        and marker.find(delimiter, len(prefix)) == len(marker) - len(delimiter) >= len(prefix)
    )
    return beyond(names, marker) if rolled_up else bisect_right(names, marker)


def encoder(call: Call) -> Callable[[str], str]:
    """Return how the names of the reply are written."""
    return (lambda name: quote(name, safe="/")) if call.url_encoded else str


def echo(call: Call, encode: Callable[[str], str], names: dict[str, str]) -> list[Node]:
    """Return the elements that repeat the parameters that were given."""
    return [(element, encode(call.params[name])) for name, element in names.items() if call.params.get(name)]


def list_objects(store: Store, call: Call) -> Response:
    """ListObjects, the first version."""
    bucket = store.reach(call)
    encode = encoder(call)
    limit = call.count("max-keys", MAX_KEYS)
    prefix, delimiter = call.params.get("prefix", ""), call.params.get("delimiter", "")
    marker = call.params.get("marker", "")
    start = after_marker(bucket.keys, marker, prefix, delimiter) if marker else 0
    page = walk(bucket.keys, start, prefix, delimiter, limit)
    content: list[Node] = [
        ("Name", bucket.name),
        ("Prefix", encode(prefix)),
        ("Marker", encode(marker)),
        *echo(call, encode, {"delimiter": "Delimiter"}),
        ("MaxKeys", limit),
        ("IsTruncated", page.truncated),
    ]
    if page.truncated and delimiter:
        content.append(("NextMarker", encode(page.last)))
    content += _entries(bucket, page, call, encode, with_owner=True)
    return Response(200, markup.write("ListBucketResult", content), markup.TYPE)


def list_objects_v2(store: Store, call: Call) -> Response:
    """ListObjectsV2."""
    bucket = store.reach(call)
    encode = encoder(call)
    if call.params["list-type"] != "2":
        raise invalid_argument(
            "list-type", call.params["list-type"], "Invalid List Type specified in Request"
        )
    limit = call.count("max-keys", MAX_KEYS)
    prefix, delimiter = call.params.get("prefix", ""), call.params.get("delimiter", "")
    page = walk(bucket.keys, _start(call, bucket.keys), prefix, delimiter, limit)
    content: list[Node] = [
        ("Name", bucket.name),
        ("Prefix", encode(prefix)),
        *echo(call, encode, {"delimiter": "Delimiter", "start-after": "StartAfter"}),
        *echo(call, str, {"continuation-token": "ContinuationToken"}),
        ("KeyCount", len(page.positions) + len(page.prefixes)),
        ("MaxKeys", limit),
        ("IsTruncated", page.truncated),
    ]
    if page.truncated:
        rolled_up = bool(page.prefixes) and page.last == page.prefixes[-1]
        content.append(("NextContinuationToken", _token(page.last, rolled_up=rolled_up)))
    content += _entries(bucket, page, call, encode, with_owner=call.params.get("fetch-owner") == "true")
    return Response(200, markup.write("ListBucketResult", content), markup.TYPE)


def prefix_elements(prefixes: list[str], encode: Callable[[str], str]) -> list[Node]:
    """Return the elements of rolled-up prefixes."""
    return [("CommonPrefixes", [("Prefix", encode(prefix))]) for prefix in prefixes]


def _entries(
    bucket: Bucket, page: Page, call: Call, encode: Callable[[str], str], *, with_owner: bool
) -> list[Node]:
    owner: list[Node] = [("Owner", [("ID", owner_id(bucket.owner))])] if with_owner else []
    entries: list[Node] = [("EncodingType", "url")] if call.url_encoded else []
    for position in page.positions:
        stored = bucket.objects[bucket.keys[position]]
        entries.append(("Contents", [*_describe(stored, encode), *owner]))
    return entries + prefix_elements(page.prefixes, encode)


def _describe(stored: StoredObject, encode: Callable[[str], str]) -> list[Node]:
    checksum: list[Node] = []
    if stored.checksum is not None:
        checksum = [
            ("ChecksumAlgorithm", stored.checksum.algorithm.upper()),
            ("ChecksumType", stored.checksum.kind),
        ]
    return [
        ("Key", encode(stored.key)),
        ("LastModified", timestamp(stored.modified)),
        ("ETag", f'"{stored.etag}"'),
        *checksum,
        ("Size", len(stored.body)),
        ("StorageClass", stored.attributes.storage_class),
    ]


def _start(call: Call, keys: Sequence[str]) -> int:
    token = call.params.get("continuation-token")
    if token is None:
        after = call.params.get("start-after", "")
        return bisect_right(keys, after) if after else 0
    try:
        kind, last = base64.urlsafe_b64decode(token.encode()).decode().split(":", 1)
    except (binascii.Error, ValueError):
        kind, last = "", ""
    if kind not in ("key", "prefix"):
        raise invalid_argument("continuation-token", token, "The continuation token provided is incorrect")
    return beyond(keys, last) if kind == "prefix" else bisect_right(keys, last)


def _token(last: str, *, rolled_up: bool) -> str:
    # A token says where it stopped by name, so that it holds while objects come and go.
    return base64.urlsafe_b64encode(f"{'prefix' if rolled_up else 'key'}:{last}".encode()).decode()
