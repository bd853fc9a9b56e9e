"""Removing the lock of a run that is known to be dead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.snapshot.folder import FolderStore
from poolcensus.snapshot.store import Shelf

if TYPE_CHECKING:
    import os

    from poolcensus.snapshot.holder import LockHolder


async def unlock(dest: str | os.PathLike[str] | Shelf) -> LockHolder | None:
    """Remove the lock of `dest`, a folder or another store, and return whose it was; None if none held it.

    A run that was alive after all publishes nothing any more. Nothing but the lock is touched. Raises
    `DestinationLockedError` where the lock is that of a process of this host which exists, or was renewed
    meanwhile, and `DestinationError` where the destination is missing or can't be changed.
    """
    return await (dest if isinstance(dest, Shelf) else FolderStore(dest)).unlock()
