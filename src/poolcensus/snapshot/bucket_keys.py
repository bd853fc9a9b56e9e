"""What the keys of a bucket mean: snapshots, the lock, and the newest snapshot's name."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from poolcensus.format.codec import dumps, loads
from poolcensus.format.ids import is_snapshot_id
from poolcensus.format.schema import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.storage.s3.objects import Bucket

SCHEME = "s3://"
LOCK_NAME = ".lock"
LATEST_NAME = "latest.json"


def split_place(place: str) -> tuple[str, str]:
    """The bucket of an `s3://BUCKET/PREFIX`, and what the keys there start with."""
    bucket, _, prefix = place.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


async def contents(bucket: Bucket, prefix: str) -> dict[str, dict[str, int]]:
    """What there is under snapshot ids: for each id its objects' names and sizes.

    An id is that of a snapshot if it has a manifest; else a run is writing there, or has died.
    """
    found: dict[str, dict[str, int]] = {}
    async with aclosing(bucket.entries(prefix)) as entries:
        async for entry in entries:
            snapshot_id, name = place_of(entry.key, prefix)
            if name:
                found.setdefault(snapshot_id, {})[name] = entry.size
    return found


def manifests(found: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """The ids of the snapshots among these `contents`, with the sizes of their manifests."""
    return {
        snapshot_id: names[MANIFEST_NAME] for snapshot_id, names in found.items() if MANIFEST_NAME in names
    }


def place_of(key: str, prefix: str) -> tuple[str, str]:
    """The snapshot id that a key is under, and its name there; two empty texts for all other keys."""
    snapshot_id, _, name = key.removeprefix(prefix).partition("/")
    return (snapshot_id, name) if is_snapshot_id(snapshot_id) else ("", "")


def latest_object(snapshot_id: str) -> bytes:
    """Return what `latest.json` holds where it names a snapshot."""
    return dumps({"snapshot_id": snapshot_id}) + b"\n"


def named(data: bytes) -> object:
    """What an object `latest.json` names: a snapshot id, or whatever someone has put there."""
    try:
        latest = loads(data)
    except ValueError:
        return None
    return latest.get("snapshot_id") if isinstance(latest, dict) else None
