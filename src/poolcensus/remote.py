"""Snapshots at a destination on S3, read with the caller's credentials."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from poolcensus.aws.session import open_caller
from poolcensus.errors import first_reason_raised
from poolcensus.snapshot.bucket import BucketStore
from poolcensus.snapshot.bucket_keys import split_place
from poolcensus.snapshot.fetching import fetch, fetch_refused, list_bucket
from poolcensus.snapshot.prune import prune
from poolcensus.snapshot.unlock import unlock
from poolcensus.storage.s3.client import open_bucket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.snapshot import Keep, LockHolder, Pruning, RefusedRun, Snapshot, SnapshotInfo
    from poolcensus.storage.s3.objects import Bucket


async def list_remote(settings: Settings, place: str) -> tuple[SnapshotInfo, ...]:
    """The snapshots at `place`, an `s3://BUCKET/PREFIX`, the newest last.

    Raises `DestinationError` where the bucket can't be read, or another `FatalError`.
    """
    async with _opened(settings, place) as bucket:
        return await list_bucket(bucket, place)


async def fetch_remote(
    settings: Settings, place: str, ref: str, folder: Path, *, pools: bool = True
) -> Snapshot:
    """The snapshot at `place` that `ref` names, copied into `folder`; without `pools`, all but the records.

    Raises `SnapshotError` where there is none, `DestinationError` where the bucket can't be read, or
    another `FatalError`.
    """
    async with _opened(settings, place) as bucket:
        return await fetch(bucket, place, ref, folder, pools=pools)


async def fetch_refused_remote(
    settings: Settings, place: str, run_id: str | None, folder: Path
) -> RefusedRun | None:
    """`fetch_refused` for `place`, an `s3://BUCKET/PREFIX`. Raises what `fetch_remote` does."""
    async with _opened(settings, place) as bucket:
        return await fetch_refused(bucket, place, run_id, folder)


async def prune_remote(settings: Settings, place: str, keep: Keep, *, dry_run: bool = False) -> Pruning:
    """`prune` for `place`, an `s3://BUCKET/PREFIX`. Raises what that raises, or another `FatalError`."""
    return await prune(BucketStore(lambda: _opened(settings, place), place), keep, dry_run=dry_run)


async def unlock_remote(settings: Settings, place: str) -> LockHolder | None:
    """`unlock` for `place`, an `s3://BUCKET/PREFIX`. Raises what that raises, or another `FatalError`."""
    return await unlock(BucketStore(lambda: _opened(settings, place), place))


@asynccontextmanager
async def _opened(settings: Settings, place: str) -> AsyncIterator[Bucket]:
    name, _ = split_place(place)
    with first_reason_raised():
        async with open_caller(settings) as session, open_bucket(settings, session, name) as bucket:
            yield bucket
