"""Opens the shards to be merged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import CensusError, MergeError, SnapshotError, first_reason_raised, reason_of
from poolcensus.format.manifest import REFUSED_NAME
from poolcensus.loops import in_thread
from poolcensus.paths import exists
from poolcensus.snapshot.latest import is_destination
from poolcensus.snapshot.reader import Snapshot
from poolcensus.storage.base import ABORT_SECONDS, CONNECTIONS
from poolcensus.storage.destination import checked_place
from poolcensus.storage.naming import LATEST, is_in_s3

if TYPE_CHECKING:
    from collections.abc import Sequence

    from poolcensus.storage.sources import Sources


async def open_shards(
    refs: Sequence[str | os.PathLike[str]], dest: str | os.PathLike[str], sources: Sources
) -> list[Snapshot]:
    """Open the named shards, several at a time, and return them in order.

    If some can't be opened, raise the error of the first in this order, whichever fails first in time:
    `MergeError`, or an error of `Snapshot.open`. Before anything is opened, raise `SettingsError` for an
    invalid place in a bucket.
    """
    for ref in refs:
        if isinstance(ref, str) and is_in_s3(ref):
            checked_place(ref, "PART")
    opened: dict[int, Snapshot] = {}
    failed: dict[int, CensusError] = {}
    scopes = [anyio.CancelScope() for _ in refs]
    limiter = anyio.CapacityLimiter(CONNECTIONS)

    async def open_one(index: int) -> None:
        with scopes[index]:
            async with limiter:
                if min(failed, default=index) < index:
                    return
                try:
                    opened[index] = await in_thread(_open, refs[index], dest, sources)
                except CensusError as error:
                    failed[index] = error
                    # Give the later ones time to finish and close. One that hangs is left behind.
                    end = anyio.current_time() + ABORT_SECONDS
                    for later in scopes[index + 1 :]:
                        later.deadline = min(later.deadline, end)

    with first_reason_raised():
        async with anyio.create_task_group() as group:
            for index in range(len(refs)):
                group.start_soon(open_one, index)
    if failed:
        raise failed[min(failed)]
    return [opened[index] for index in range(len(refs))]


def _open(ref: str | os.PathLike[str], dest: str | os.PathLike[str], sources: Sources) -> Snapshot:
    """Open a shard: the snapshot that `ref` names, or the latest one if `ref` is a destination. Blocks."""
    if not os.fspath(ref):
        raise MergeError("a shard's name is empty: name the folder or the destination of each shard")
    try:
        return _find(ref, dest, sources)
    except OSError as error:
        raise SnapshotError(f"{os.fspath(ref)} can't be read: {reason_of(error)}") from error


def _find(ref: str | os.PathLike[str], dest: str | os.PathLike[str], sources: Sources) -> Snapshot:
    if not is_destination(ref):
        return Snapshot.open_in(sources.open, ref, dest)
    if not is_in_s3(os.fspath(ref)) and exists(Path(ref) / REFUSED_NAME):
        raise MergeError(
            f"{ref} is a run that `strict` or `max_failed` did not publish: run that shard again"
        )
    return Snapshot.open_in(sources.open, LATEST, ref)
