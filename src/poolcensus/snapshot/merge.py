"""Joining the shards of one run into one snapshot."""

from __future__ import annotations

from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from poolcensus.errors import MergeError
from poolcensus.format.ids import is_snapshot_id, new_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME
from poolcensus.loops import in_thread
from poolcensus.model import Compression
from poolcensus.snapshot.adoption import adopt
from poolcensus.snapshot.reader import Snapshot
from poolcensus.snapshot.shards import in_order, joined_gaps, joined_organizations, total_of
from poolcensus.snapshot.writer import SnapshotWriter
from poolcensus.storage.destination import is_in_s3, open_repository, open_source
from poolcensus.storage.naming import LATEST
from poolcensus.version import TOOL

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from poolcensus.config import Settings
    from poolcensus.model import TargetResult


async def merge(
    parts: Sequence[str | os.PathLike[str]],
    dest: str | os.PathLike[str],
    *,
    settings: Settings | None = None,
) -> Snapshot:
    """Join the shards of one run into one snapshot, publish it at `dest`, and return it.

    Each of `parts` is a snapshot as `Snapshot.open` takes it, looked up at `dest`, or a destination, of which
    the latest snapshot is taken. They are read once, never held as a whole, and stay as they are. `settings`
    say how S3 is reached and how the snapshot is compressed.

    Raises `MergeError` unless they are all the shards of one run, `SnapshotError` for one that is not there
    or is damaged, and what publishing raises; then nothing is published.
    """
    if not parts:
        raise MergeError("no shards were named")
    opened = in_order([await in_thread(_open, each, dest, settings) for each in parts])
    manifests = [each.manifest for each in opened]
    started = min(each.started_at for each in manifests)
    async with open_repository(dest, settings) as repository:
        draft = await repository.draft(new_snapshot_id(started))
        async with SnapshotWriter(
            draft,
            partition=manifests[0].caller.partition,
            operation=manifests[0].operation,
            compression=settings.compress if settings is not None else Compression.NONE,
        ) as writer:
            owners: dict[str, str] = {}
            for part in opened:
                await adopt(
                    part, draft.snapshot_id, writer, writer.done, partial(_claim, owners, part.location)
                )
            manifest = await writer.publish(
                started_at=started,
                finished_at=max(each.finished_at for each in manifests),
                tool=TOOL,
                caller=manifests[0].caller,
                organization_id=manifests[0].organization_id,
                request=manifests[0].request,
                accounts=sum(each.accounts_planned for each in manifests),
                skipped=tuple(
                    sorted({one for each in manifests for one in each.accounts_skipped}, key=attrgetter("id"))
                ),
                totals=total_of(each.totals for each in manifests),
                known_gaps=tuple(joined_gaps(manifests)),
                organizations=tuple(joined_organizations(manifests)),
            )
    return Snapshot(open_source(dest, settings).folder(manifest.snapshot_id), manifest)


def _claim(owners: dict[str, str], part: str, result: TargetResult) -> None:
    """Raise MergeError where another shard has the account."""
    owner = owners.setdefault(result.account_id, part)
    if owner != part:
        raise MergeError(f"{owner} and {part} overlap: both have account {result.account_id}")


def _open(ref: str | os.PathLike[str], dest: str | os.PathLike[str], settings: Settings | None) -> Snapshot:
    """Return a shard: what `ref` names, or the latest snapshot of the destination that it is. Blocks."""
    if isinstance(ref, str) and is_in_s3(ref):
        name = ref.rstrip("/").rpartition("/")[2]
        if not is_snapshot_id(name):
            return Snapshot.open(LATEST, ref, settings=settings)
    elif Path(ref).is_dir() and not (Path(ref) / MANIFEST_NAME).exists():
        return Snapshot.open(LATEST, ref, settings=settings)
    return Snapshot.open(ref, dest, settings=settings)
