"""Removes the lock of a run that is known to be dead."""

from __future__ import annotations

import os

from poolcensus.config import Settings
from poolcensus.storage.destination import open_repository
from poolcensus.storage.holder import LockHolder


async def unlock(dest: str | os.PathLike[str], *, settings: Settings | None = None) -> LockHolder | None:
    """Remove the lock of `dest`, and return its holder, or None if there was no lock.

    `dest` is a folder or `s3://BUCKET/PREFIX`. `settings` says how to access a bucket: see `Snapshot.open`.
    If the run is still alive, it can no longer publish. Only the lock is removed.

    Raises `DestinationLockedError` if the holder is a process of this host that exists, or if the lock was
    renewed in the meantime. Raises `DestinationError` if the destination is missing or can't be changed.
    """
    return await open_repository(dest, settings).unlock()
