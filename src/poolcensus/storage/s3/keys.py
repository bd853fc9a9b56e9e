"""Lists the snapshots and uploads of a bucket by their keys."""

from __future__ import annotations

from contextlib import aclosing
from itertools import groupby
from os.path import commonprefix
from typing import TYPE_CHECKING

from poolcensus.format.ids import is_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME
from poolcensus.loops import for_each
from poolcensus.storage.base import CONNECTIONS
from poolcensus.storage.naming import SCHEME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from poolcensus.storage.s3.objects import Bucket, Upload


# The characters before and after the digits. IDs begin with a digit, so they sort between these.
_BEFORE_IDS, _AFTER_IDS = "/", ":"
# The first character of the IDs of runs until the year 3000.
_IDS = "2"


def split_place(place: str) -> tuple[str, str]:
    """Return the bucket of an `s3://BUCKET/PREFIX`, and the prefix of its keys, with a final slash."""
    bucket, _, prefix = place.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


async def contents(bucket: Bucket, prefix: str) -> dict[str, dict[str, int]]:
    """Return the names and sizes of the objects under each snapshot ID.

    An ID with a manifest is a snapshot. Without one, a run is writing there, or has died. The bucket may
    contain many other objects, which are skipped folder by folder.
    """
    found: dict[str, dict[str, int]] = {}

    async def read(run: tuple[str, str]) -> None:
        first, last = run
        start = prefix + commonprefix([first, last])  # noqa: RUF071 - character by character is meant
        # With the slash. Some services skip the whole folder if the listing starts after its name.
        async with aclosing(bucket.entries(start, after=f"{prefix}{first}/")) as entries:
            async for entry in entries:
                snapshot_id, name = place_of(entry.key, prefix)
                if name:
                    found.setdefault(snapshot_id, {})[name] = entry.size
                elif entry.key > f"{prefix}{last}/":
                    return

    await for_each(read, [*_runs(await _folders(bucket, prefix))], at_once=CONNECTIONS)
    return dict(sorted(found.items()))


async def uploads_of_snapshots(bucket: Bucket, prefix: str) -> list[Upload]:
    """Return the multipart uploads in progress under snapshot IDs."""
    return [
        upload
        for each in await bucket.folders_of_uploads(prefix, _IDS)
        if is_snapshot_id(each)
        for upload in await bucket.uploads(f"{prefix}{each}/")
    ]


async def _folders(bucket: Bucket, prefix: str) -> list[str]:
    """Return the folders whose names begin with a digit, snapshots among them."""
    after, before = prefix + _BEFORE_IDS, prefix + _AFTER_IDS
    async with aclosing(bucket.folders(prefix, after=after, before=before)) as folders:
        return sorted([each async for each in folders])


def _runs(folders: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield the first and the last ID of each run of snapshot IDs without another folder between them."""
    for are_ids, run in groupby(folders, is_snapshot_id):
        if are_ids:
            ids = [*run]
            yield ids[0], ids[-1]


def published(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the IDs with a manifest in the result of `contents`."""
    return [snapshot_id for snapshot_id, names in found.items() if MANIFEST_NAME in names]


def place_of(key: str, prefix: str) -> tuple[str, str]:
    """Return the snapshot ID that a key is under, and its name there. For other keys, both are empty."""
    snapshot_id, _, name = key.removeprefix(prefix).partition("/")
    return (snapshot_id, name) if is_snapshot_id(snapshot_id) else ("", "")
