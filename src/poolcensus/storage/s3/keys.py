"""What the keys of a bucket mean: which snapshots there are, and what else lies under their ids."""

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


# The characters on either side of the digits, with one of which an id begins.
_BEFORE_IDS, _AFTER_IDS = "/", ":"
# What the ids of runs begin with until the year 3000.
_IDS = "2"


def split_place(place: str) -> tuple[str, str]:
    """Return the bucket of an `s3://BUCKET/PREFIX`, and what the keys there start with."""
    bucket, _, prefix = place.removeprefix(SCHEME).partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


async def contents(bucket: Bucket, prefix: str) -> dict[str, dict[str, int]]:
    """Return what there is under snapshot ids: for each id its objects' names and sizes.

    An id is that of a snapshot if it has a manifest; else a run is writing there, or has died. What else the
    bucket holds may be large: it is passed over, a folder at a time.
    """
    found: dict[str, dict[str, int]] = {}

    async def read(run: tuple[str, str]) -> None:
        first, last = run
        start = prefix + commonprefix([first, last])  # noqa: RUF071 - character by character is meant
        # With the slash: some services pass over the whole folder where they begin after its name.
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
    """Return the multipart uploads under way of keys under snapshot ids."""
    return [
        upload
        for each in await bucket.folders_of_uploads(prefix, _IDS)
        if is_snapshot_id(each)
        for upload in await bucket.uploads(f"{prefix}{each}/")
    ]


async def _folders(bucket: Bucket, prefix: str) -> list[str]:
    """Return the folders in which a snapshot may be, and others that begin with a digit."""
    after, before = prefix + _BEFORE_IDS, prefix + _AFTER_IDS
    async with aclosing(bucket.folders(prefix, after=after, before=before)) as folders:
        return sorted([each async for each in folders])


def _runs(folders: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Yield the first and the last of snapshot ids that follow each other without another folder between."""
    for are_ids, run in groupby(folders, is_snapshot_id):
        if are_ids:
            ids = [*run]
            yield ids[0], ids[-1]


def published(found: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return the ids of the snapshots among these `contents`."""
    return [snapshot_id for snapshot_id, names in found.items() if MANIFEST_NAME in names]


def place_of(key: str, prefix: str) -> tuple[str, str]:
    """Return the snapshot id that a key is under, and its name there; two empty texts for all other keys."""
    snapshot_id, _, name = key.removeprefix(prefix).partition("/")
    return (snapshot_id, name) if is_snapshot_id(snapshot_id) else ("", "")
