"""Reads snapshots in a bucket, in the event loop that the bucket belongs to."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from poolcensus.errors import SnapshotError
from poolcensus.format.manifest import MANIFEST_NAME
from poolcensus.loops import for_each
from poolcensus.storage.base import CONNECTIONS
from poolcensus.storage.naming import LATEST_NAME, SCHEME, named
from poolcensus.storage.s3.keys import contents, published
from poolcensus.storage.source import LARGEST_MANIFEST, Survey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.storage.s3.objects import Bucket


async def survey(bucket: Bucket, prefix: str) -> Survey:
    """Return a survey of the snapshots under `prefix`. Raises `DestinationError`."""
    there = await contents(bucket, prefix)
    found = await read_manifests(bucket, prefix, published(there))
    return Survey([*found.items()], await latest_in(bucket, prefix), there.__getitem__)


async def latest_in(bucket: Bucket, prefix: str) -> str | None:
    """Return the ID that `latest.json` names, or None. Raises `DestinationError`."""
    held = await bucket.get(prefix + LATEST_NAME)
    return None if held is None else named(held.body)


async def sizes_of(bucket: Bucket, folder: str) -> dict[str, int]:
    """Return the names and sizes of the objects in a folder. Raises `DestinationError`."""
    async with aclosing(bucket.entries(folder)) as entries:
        return {entry.key.removeprefix(folder): entry.size async for entry in entries}


async def read_manifest(bucket: Bucket, prefix: str, snapshot_id: str) -> bytes | SnapshotError:
    """Return a manifest, or an error that says that it was just removed. Raises `DestinationError`."""
    key = f"{prefix}{snapshot_id}/{MANIFEST_NAME}"
    held = await bucket.get(key, size=LARGEST_MANIFEST + 1)
    return changed(f"{SCHEME}{bucket.name}/{key}") if held is None else held.body


def changed(place: str) -> SnapshotError:
    """Return the error for a file that has changed since it was listed or last read."""
    return SnapshotError(f"{place} was removed or replaced while it was read")


async def read_manifests(bucket: Bucket, prefix: str, ids: Iterable[str]) -> dict[str, bytes | SnapshotError]:
    """Call `read_manifest` concurrently for these snapshots, and return the results by ID."""
    ids = [*ids]
    found: dict[str, bytes | SnapshotError] = {}

    async def read(snapshot_id: str) -> None:
        found[snapshot_id] = await read_manifest(bucket, prefix, snapshot_id)

    await for_each(read, ids, at_once=CONNECTIONS)
    return {each: found[each] for each in ids}
