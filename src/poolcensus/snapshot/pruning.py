"""Removes the snapshots that no rule keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from poolcensus.config import Settings
from poolcensus.errors import DestinationError
from poolcensus.loops import require_asyncio
from poolcensus.snapshot.inventory import take_inventory
from poolcensus.snapshot.retention import Decision, Keep, decide
from poolcensus.storage.destination import open_repository

if TYPE_CHECKING:
    from poolcensus.storage.base import Repository


@dataclass(frozen=True, slots=True)
class Pruning:
    """The result of `prune`.

    `decisions` has every snapshot that could be read, the oldest first. `unreadable` maps the IDs of the
    others to the reason. They are left alone and count for no rule; snapshots with data files that are
    missing or have a wrong size are among them. `failures` maps the IDs of snapshots that could not be
    removed to the error.
    """

    decisions: tuple[Decision, ...]
    unreadable: Mapping[str, str]
    failures: Mapping[str, str]


async def prune(
    dest: str | os.PathLike[str],
    keep: Keep,
    *,
    dry_run: bool = False,
    settings: Settings | None = None,
) -> Pruning:
    """Remove the snapshots at `dest`, a folder or `s3://BUCKET/PREFIX`, that `keep` does not keep.

    The newest complete snapshot of each scope, operation and partition, the one that `latest` names, and
    those dated in the future always stay. For readers, a snapshot disappears as a whole. If one can't be
    removed, the others are. With `dry_run`, no lock is taken and nothing is changed. `settings` says how to
    access a bucket: see `Snapshot.open`.

    Raises `DestinationLockedError` if a run holds the lock of the destination, and `DestinationError` or
    `SnapshotError` if the destination does not exist or can't be read.
    """
    require_asyncio()
    return await prune_repository(open_repository(dest, settings, must_exist=True), keep, dry_run=dry_run)


async def prune_repository(repository: Repository, keep: Keep, *, dry_run: bool = False) -> Pruning:
    """Remove the snapshots of a store that `keep` does not keep. Raises the errors of `prune`."""
    if dry_run:
        return await _decided(repository, keep)
    async with repository:
        await repository.sweep()
        pruning = await _decided(repository, keep)
        failures: dict[str, str] = {}
        for decision in pruning.decisions:
            if decision.keep:
                continue
            try:
                await repository.remove(decision.snapshot_id)
            except DestinationError as error:
                failures[decision.snapshot_id] = str(error)
    return Pruning(pruning.decisions, pruning.unreadable, failures)


async def _decided(repository: Repository, keep: Keep) -> Pruning:
    inventory = await take_inventory(repository)
    decisions = decide(inventory.snapshots, keep, now=datetime.now(UTC), latest=inventory.latest)
    return Pruning(decisions, inventory.unreadable, {})
