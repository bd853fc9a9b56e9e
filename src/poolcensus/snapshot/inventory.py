"""Lists the snapshots at a destination."""

from __future__ import annotations

import os
from operator import itemgetter
from typing import TYPE_CHECKING, TypeVar

import msgspec

from poolcensus.config import Settings
from poolcensus.errors import SnapshotError
from poolcensus.snapshot.info import SnapshotInfo, check_sizes, info_of, own_manifest
from poolcensus.snapshot.latest import named_latest
from poolcensus.storage.destination import open_source
from poolcensus.storage.source import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from poolcensus.model import Manifest
    from poolcensus.snapshot.order import Moment
    from poolcensus.storage.base import Repository

_T = TypeVar("_T")


class Inventory(msgspec.Struct, frozen=True):
    """The snapshots at a destination, the oldest first, and the ID that its `latest` names.

    The snapshots are in the order in which they were published, by their manifests. `unreadable` maps IDs to
    the reason why what has the name of a snapshot can't be read.
    """

    snapshots: tuple[SnapshotInfo, ...]
    latest: str | None
    unreadable: Mapping[str, str]


def inventory_of(survey: Survey, place: str) -> Inventory:
    """Return the inventory of `place` from a survey.

    If the survey knows the sizes of files, a snapshot with missing data counts as unreadable.
    """

    def make(manifest: Manifest) -> SnapshotInfo:
        if survey.sizes is not None:
            check_sizes(manifest, survey.sizes(manifest.snapshot_id), f"{place}/{manifest.snapshot_id}")
        return info_of(manifest)

    found, unreadable = read_in_order(survey.manifests, place, make)
    return Inventory(found, survey.latest, unreadable)


async def take_inventory(repository: Repository) -> Inventory:
    """Return the inventory of a store. Raises the errors of `Repository.survey`."""
    return await repository.survey(lambda found: inventory_of(found, repository.location))


def read_in_order(
    manifests: Iterable[tuple[str, bytes | SnapshotError]], place: str, make: Callable[[Manifest], _T]
) -> tuple[tuple[_T, ...], dict[str, str]]:
    """Call `make` for each manifest at `place`, and return the results in the order of publishing.

    Also return, by ID, why other manifests can't be read.
    """
    found: list[tuple[Moment, _T]] = []
    unreadable: dict[str, str] = {}
    for snapshot_id, each in manifests:
        try:
            manifest = _own_manifest(each, snapshot_id, f"{place}/{snapshot_id}")
            found.append((info_of(manifest).moment, make(manifest)))
        except SnapshotError as error:
            unreadable[snapshot_id] = str(error)
    return tuple(made for _, made in sorted(found, key=itemgetter(0))), unreadable


def _own_manifest(manifest: bytes | SnapshotError, snapshot_id: str, place: str) -> Manifest:
    """Decode a manifest, and check its ID. Raises `SnapshotError`."""
    if isinstance(manifest, SnapshotError):
        raise manifest
    return own_manifest(manifest, snapshot_id, place)


def list_snapshots(
    dest: str | os.PathLike[str], *, settings: Settings | None = None
) -> tuple[SnapshotInfo, ...]:
    """Return the snapshots at a destination, a folder or `s3://BUCKET/PREFIX`, the newest at the end.

    Snapshots that this version can't read are left out. `settings` says how to access a bucket: see
    `Snapshot.open`. Raises `SnapshotError` if the folder itself can't be read, and `DestinationError` or
    another `FatalError` if the bucket can't. Blocks.
    """
    return read_inventory(dest, settings=settings).snapshots


def read_inventory(dest: str | os.PathLike[str], *, settings: Settings | None = None) -> Inventory:
    """Return the inventory of a destination. Parameters and errors are those of `list_snapshots`.

    Log a warning if `latest` names something that is not a snapshot.
    """
    with open_source(dest, settings) as source:
        ids = source.ids()
        latest = named_latest(source, ids)
        return inventory_of(Survey(source.manifests(ids), latest), source.location)
