"""Opens all the snapshots of a destination."""

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
    """The snapshots of a destination in the order of publishing, the newest at the end.

    `unreadable` maps IDs to the reason why what has the name of a snapshot can't be read.
    """

    snapshots: tuple[Snapshot, ...]
    unreadable: Mapping[str, str]


def newest_first(source: Source) -> Iterator[Snapshot | SnapshotError]:
    """Yield the snapshots of a destination, the newest first. The others are listed only when needed.

    If some can't be read, an error that says so comes after the newest. Raises `DestinationError` or another
    `FatalError` if a bucket can't be read. Blocks.
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
    """Open the snapshots at `dest`, a folder or `s3://BUCKET/PREFIX`, and read their manifests.

    The snapshots of a bucket share one connection while one of them is entered. `settings` says how to access
    a bucket: see `Snapshot.open`. Raises `SnapshotError` if the folder itself can't be read, and
    `DestinationError` or another `FatalError` if the bucket can't. Blocks.
    """
    with open_source(dest, settings) as source:
        ids = source.ids()
        named_latest(source, ids)
        return _series_of(source, ids)


def _series_of(source: Source, ids: Iterable[str]) -> Series:
    def snapshot_of(manifest: Manifest) -> Snapshot:
        return Snapshot(source.files(manifest.snapshot_id), manifest)

    return Series(*read_in_order(source.manifests(ids), source.location, snapshot_of))
