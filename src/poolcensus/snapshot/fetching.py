"""Reading snapshots in a bucket: their manifests for a list, their files into a folder to open one."""

from __future__ import annotations

from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from poolcensus.errors import SnapshotError, first_reason_raised
from poolcensus.format.ids import is_snapshot_id
from poolcensus.format.schema import MANIFEST_NAME, REFUSED_NAME, TARGETS_NAME
from poolcensus.snapshot.bucket_keys import LATEST_NAME, contents, manifests, named, split_place
from poolcensus.snapshot.order import LatestSearch, moment_of
from poolcensus.snapshot.reader import (
    LARGEST_MANIFEST,
    Inventory,
    Snapshot,
    info_of,
    look_up,
    read_manifest,
    steps_back,
)
from poolcensus.snapshot.refused import RefusedRun
from poolcensus.snapshot.store import ABORT_SECONDS
from poolcensus.snapshot.temporary import temporary_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

    from poolcensus.snapshot.reader import SnapshotInfo
    from poolcensus.storage.s3.objects import Bucket

_AT_ONCE = 16
_RANGE_BYTES = 8 << 20
_LONGEST_NAME = 200


async def list_bucket(bucket: Bucket, place: str) -> tuple[SnapshotInfo, ...]:
    """The snapshots at `place`, an `s3://BUCKET/PREFIX`, the one that was published last at the end.

    Whatever is not a snapshot that this version can read is passed over. Raises `DestinationError` where
    the bucket can't be read.
    """
    return (await take_bucket_inventory(bucket, place)).snapshots


async def take_bucket_inventory(bucket: Bucket, place: str) -> Inventory:
    """The inventory of `place`, an `s3://BUCKET/PREFIX`. Raises `DestinationError` as `list_bucket` does."""
    _, prefix = split_place(place)
    found, unreadable = await _read_all(bucket, place, manifests(await contents(bucket, prefix)))
    return Inventory(
        snapshots=tuple(sorted(found.values(), key=attrgetter("moment"))),
        latest=await _named(bucket, prefix),
        unreadable=dict(sorted(unreadable.items())),
    )


async def search_bucket(bucket: Bucket, place: str, there: Mapping[str, int], name: object) -> LatestSearch:
    """Return the search for the newest of the snapshots that are `there`, by the sizes of their manifests.

    `name` is what `latest.json` names. Raises `DestinationError` where the bucket can't be read.
    """
    search = LatestSearch(there, name if isinstance(name, str) else None, datetime.now(UTC))
    while snapshot_ids := search.next():
        found, _ = await _read_all(bucket, place, {each: there[each] for each in snapshot_ids})
        for snapshot_id in snapshot_ids:
            search.take(snapshot_id, found.get(snapshot_id))
    return search


async def _read_all(
    bucket: Bucket, place: str, there: Mapping[str, int]
) -> tuple[dict[str, SnapshotInfo], dict[str, str]]:
    """Return what the snapshots say of themselves, and why others can't be read, each by id."""
    _, prefix = split_place(place)
    found: dict[str, SnapshotInfo] = {}
    unreadable: dict[str, str] = {}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def read(snapshot_id: str, size: int) -> None:
        async with limiter:
            # One more than a manifest may have, so that one that is too large is seen to be.
            size = min(size, LARGEST_MANIFEST) + 1
            held = await bucket.get(f"{prefix}{snapshot_id}/{MANIFEST_NAME}", size=size)
        try:
            manifest = read_manifest(held.body if held is not None else b"", f"{place}/{snapshot_id}")
        except SnapshotError as error:
            unreadable[snapshot_id] = str(error)
            return
        if manifest.snapshot_id == snapshot_id:
            found[snapshot_id] = info_of(manifest)
        else:
            unreadable[snapshot_id] = (
                f"{place}/{snapshot_id} is not what its name says: its manifest is of {manifest.snapshot_id}"
            )

    with first_reason_raised():
        async with anyio.create_task_group() as group:
            for snapshot_id, size in there.items():
                group.start_soon(read, snapshot_id, size)
    return found, unreadable


async def _named(bucket: Bucket, prefix: str) -> str | None:
    """Return the id that `latest.json` names, None where it names none."""
    latest = await bucket.get(prefix + LATEST_NAME)
    name = named(latest.body) if latest is not None else None
    return name if isinstance(name, str) and is_snapshot_id(name) else None


async def fetch(bucket: Bucket, place: str, ref: str, folder: Path, *, pools: bool = True) -> Snapshot:
    """The snapshot at `place` that `ref` names, copied into `folder`; without `pools`, all but the records.

    `ref` is `latest`, `latest~N` or an id. Raises `SnapshotError` where there is no such snapshot, or none
    that can be read, and `DestinationError` where the bucket can't be read or the folder can't be written.
    """
    _, prefix = split_place(place)
    found = await contents(bucket, prefix)
    snapshot_id = await _look_up(bucket, place, ref, manifests(found))
    copy = folder / snapshot_id
    try:
        await to_thread.run_sync(copy.mkdir, abandon_on_cancel=True)
        for name, size in found[snapshot_id].items():
            file = copy / _file_name(name)
            # What does not belong to a snapshot is only named, so that `verify` sees it.
            wanted = name == file.name and (pools or name.startswith((TARGETS_NAME, MANIFEST_NAME)))
            await _copy(bucket, f"{prefix}{snapshot_id}/{name}", file, size if wanted else 0)
    except OSError as error:
        raise temporary_error(f"copy {place}/{snapshot_id} to {folder}", error) from error
    return await to_thread.run_sync(Snapshot.open, copy, abandon_on_cancel=True)


async def fetch_refused(bucket: Bucket, place: str, run_id: str | None, folder: Path) -> RefusedRun | None:
    """The run of this id that was not published at `place`, copied into `folder`, None where there is none.

    Without an id, the newest such run, if it is newer than every snapshot. Raises as `fetch` does.
    """
    _, prefix = split_place(place)
    found = await contents(bucket, prefix)
    refused = [each for each, names in found.items() if REFUSED_NAME in names and MANIFEST_NAME not in names]
    if run_id is not None:
        refused = [each for each in refused if each == run_id]
    runs = []
    for each in refused:
        copy = folder / each
        await to_thread.run_sync(copy.mkdir, abandon_on_cancel=True)
        for name, size in found[each].items():
            if name == _file_name(name):
                await _copy(bucket, f"{prefix}{each}/{name}", copy / name, size)
        runs.append(await to_thread.run_sync(RefusedRun.open, copy, abandon_on_cancel=True))
    newest = max(runs, key=attrgetter("moment"), default=None)
    if newest is None or run_id is not None:
        return newest
    search = await search_bucket(bucket, place, manifests(found), await _named(bucket, prefix))
    return newest if newest.is_after(search) else None


async def _look_up(bucket: Bucket, place: str, ref: str, there: Mapping[str, int]) -> str:
    _, prefix = split_place(place)
    back = steps_back(ref)
    if back is None:
        return look_up(ref, map(moment_of, there), place)
    if back == 0:
        search = await search_bucket(bucket, place, there, await _named(bucket, prefix))
        if search.newest is not None:
            return search.newest
    found, _ = await _read_all(bucket, place, there)
    return look_up(ref, (found[each].moment if each in found else moment_of(each) for each in there), place)


async def _copy(bucket: Bucket, key: str, file: Path, size: int) -> None:
    raw: BinaryIO = await to_thread.run_sync(file.open, "xb")
    try:
        for start in range(0, size, _RANGE_BYTES):
            held = await bucket.get(key, start=start, size=min(_RANGE_BYTES, size - start))
            if held is None or len(held.body) != min(_RANGE_BYTES, size - start):
                raise SnapshotError(f"s3://{bucket.name}/{key} was removed or replaced while it was read")
            await to_thread.run_sync(raw.write, held.body, abandon_on_cancel=True)
    finally:
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            await to_thread.run_sync(raw.close, abandon_on_cancel=True)


def _file_name(name: str) -> str:
    """A name that leads nowhere else, whatever the key is."""
    flat = name.replace("/", "%2F").replace("\0", "%00")[:_LONGEST_NAME]
    return f"%{flat}" if flat in {".", ".."} else flat
