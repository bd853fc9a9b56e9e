"""Removing the snapshots that no rule keeps."""

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
    """What became of the snapshots of a destination.

    `decisions` has every snapshot that could be read, the oldest first. `unreadable` says by snapshot id
    why the others were left alone, which counted for no rule: also where a data file lacks, or has another
    size than the manifest says. `failures` what went wrong with those that were to be removed.
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
    """Remove from `dest`, a folder or `s3://BUCKET/PREFIX`, the snapshots that `keep` does not keep.

    The newest complete snapshot of each scope, operation and partition, what `latest` names and what is from
    the future always stay.
    A snapshot disappears for readers as a whole. One that can't be removed does not stop the others. A dry
    run takes no lock and changes nothing. `settings` say how S3 is reached: see `Snapshot.open`.

    Raises `DestinationLockedError` where a run holds the destination, `DestinationError` or `SnapshotError`
    where there is none or it can't be read.
    """
    require_asyncio()
    return await prune_repository(open_repository(dest, settings, must_exist=True), keep, dry_run=dry_run)


async def prune_repository(repository: Repository, keep: Keep, *, dry_run: bool = False) -> Pruning:
    """Remove the snapshots of a store that `keep` does not keep. Raises what `prune` does."""
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
