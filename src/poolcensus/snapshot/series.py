"""All the snapshots of a destination, to be read one beside the other."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poolcensus.errors import SnapshotError
from poolcensus.snapshot.inventory import read_in_order
from poolcensus.snapshot.latest import named_latest
from poolcensus.snapshot.reader import Snapshot
from poolcensus.storage.destination import open_source
from poolcensus.storage.naming import LATEST

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from poolcensus.config import Settings
    from poolcensus.model import Manifest
    from poolcensus.storage.source import Source


@dataclass(frozen=True, slots=True)
class Series:
    """The snapshots of a destination in the order in which they were published, the newest at the end.

    `unreadable` says by id why something that is named like a snapshot is none, or none to be read.
    """

    snapshots: tuple[Snapshot, ...]
    unreadable: Mapping[str, str]


def newest_first(source: Source) -> Iterator[Snapshot | SnapshotError]:
    """Yield the snapshots of a destination, the newest first. Others are looked for once it has been read.

    Where some can't be read, an error that says so comes before the others. None where there is none. Raises
    `DestinationError` or another `FatalError` where a bucket can't be read. Blocks.
    """
    newest: Snapshot | None = None
    with suppress(SnapshotError):
        newest = Snapshot.open_in(lambda _: source, LATEST, source.location)
    if newest is not None:
        yield newest
    try:
        with source:
            series = _series_of(source, source.ids())
    except SnapshotError as error:
        yield error
        return
    if series.unreadable:
        why = next(iter(series.unreadable.values()))
        number = len(series.unreadable)
        yield SnapshotError(why if number == 1 else f"{number:,} snapshots can't be read, as one says: {why}")
    for each in reversed(series.snapshots):
        if newest is None or each.info.moment < newest.info.moment:
            yield each


def open_series(dest: str | os.PathLike[str], *, settings: Settings | None = None) -> Series:
    """Return the snapshots at `dest`, a folder or `s3://BUCKET/PREFIX`. Of each, the manifest is read.

    The snapshots of a bucket share one connection: as long as one of them is entered, all use it. `settings`
    say how S3 is reached: see `Snapshot.open`. Raises `SnapshotError` where a folder itself can't be read,
    and `DestinationError` or another `FatalError` where a bucket can't. Blocks.
    """
    with open_source(dest, settings) as source:
        ids = source.ids()
        named_latest(source, ids)
        return _series_of(source, ids)


def _series_of(source: Source, ids: Iterable[str]) -> Series:
    def snapshot_of(manifest: Manifest) -> Snapshot:
        return Snapshot(source.files(manifest.snapshot_id), manifest)

    return Series(*read_in_order(source.manifests(ids), source.location, snapshot_of))
