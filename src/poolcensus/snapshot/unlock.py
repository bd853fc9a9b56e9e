"""Removing the lock of a run that is known to be dead."""

from __future__ import annotations

import os

from poolcensus.config import Settings
from poolcensus.storage.destination import open_repository
from poolcensus.storage.holder import LockHolder


async def unlock(dest: str | os.PathLike[str], *, settings: Settings | None = None) -> LockHolder | None:
    """Remove the lock of `dest`, and return whose it was; None if none held it.

    `dest` is a folder or `s3://BUCKET/PREFIX`; `settings` say how S3 is reached: see `Snapshot.open`. A run
    that was alive after all publishes nothing any more. Nothing but the lock is touched. Raises
    `DestinationLockedError` where the lock is that of a process of this host which exists, or was renewed
    meanwhile, and `DestinationError` where the destination is missing or can't be changed.
    """
    return await open_repository(dest, settings).unlock()
