"""Reads manifests, and turns them into entries of a list of snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from poolcensus.errors import DamagedSnapshotError, SnapshotError
from poolcensus.format.ids import parse_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME, NewerSchemaError, decode_manifest
from poolcensus.format.schema import TARGETS_NAME, Schema
from poolcensus.model import Compression, FileEntry, Manifest, OperationInfo, SnapshotStatus
from poolcensus.snapshot.order import Moment, moment_of
from poolcensus.snapshot.scope import Scope
from poolcensus.storage.source import LARGEST_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot in a list.

    `bytes` is the size of its data files as they are stored. `failed` is the number of targets that are not
    covered, without those that a known gap expects.
    """

    id: str
    status: SnapshotStatus
    started_at: datetime
    finished_at: datetime
    pools: int
    targets: int
    covered: int
    bytes: int
    scope: Scope
    failed: int
    operation: OperationInfo
    partition: str

    @property
    def group(self) -> tuple[Scope, OperationInfo, str]:
        """The key of comparable snapshots: scope, operation and partition."""
        return self.scope, self.operation, self.partition

    @property
    def moment(self) -> Moment:
        """When the snapshot was published. Snapshots are ordered by this."""
        return moment_of(self.id, self.started_at, self.finished_at, shard=self.scope.shard)


def info_of(manifest: Manifest) -> SnapshotInfo:
    """Return a manifest as an entry of a list."""
    return SnapshotInfo(
        id=manifest.snapshot_id,
        status=manifest.status,
        started_at=manifest.started_at,
        finished_at=manifest.finished_at,
        pools=manifest.totals.pools,
        targets=manifest.totals.targets,
        covered=manifest.totals.covered,
        bytes=sum(file.bytes for file in manifest.files),
        scope=Scope.of(manifest),
        failed=manifest.failed,
        operation=manifest.operation,
        partition=manifest.caller.partition,
    )


def data_file(manifest: Manifest, base: str) -> tuple[FileEntry, Compression]:
    """Return the manifest's entry for the data file `base`, and how the file is compressed.

    Raises `ValueError` unless there is exactly one. Only files with these names are ever opened, so a
    manifest can't refer to files outside its folder.
    """
    by_name = {f"{base}{compression.suffix}": compression for compression in Compression}
    found = [file for file in manifest.files if file.name in by_name]
    if len(found) != 1:
        raise ValueError(f"it names {len(found)} files {base}, not one")
    return found[0], by_name[found[0].name]


def check_sizes(manifest: Manifest, sizes: Mapping[str, int], place: str) -> None:
    """Raise `DamagedSnapshotError` if a data file of a snapshot is missing or has a wrong size."""
    for base in (Schema(manifest.operation).records_name, TARGETS_NAME):
        file, _ = data_file(manifest, base)
        size = sizes.get(file.name)
        if size != file.bytes:
            wrong = "is missing"
            if size is not None:
                wrong = f"has {size:,} bytes where the manifest says {file.bytes:,}"
            raise DamagedSnapshotError(f"{place}/{file.name} {wrong}; the snapshot is damaged")


def read_manifest(data: bytes, place: str) -> Manifest:
    """Decode the manifest of the snapshot at `place`. Raises `SnapshotError` if it can't be read."""
    try:
        return _checked_manifest(data)
    except NewerSchemaError as error:
        message = f"{place} was written by a newer poolcensus: {error}; upgrade to read it"
        raise SnapshotError(message) from error
    except ValueError as error:
        message = f"{place}/{MANIFEST_NAME} is not a manifest: {error}; the snapshot is damaged"
        raise DamagedSnapshotError(message) from error


def own_manifest(data: bytes, snapshot_id: str, place: str) -> Manifest:
    """Decode the manifest of the snapshot at `place`, and check that it has the ID that its name says.

    Raises `SnapshotError` if it can't be read, or belongs to another snapshot.
    """
    found = read_manifest(data, place)
    if found.snapshot_id != snapshot_id:
        raise SnapshotError(f"{place} is not what its name says: its manifest is of {found.snapshot_id}")
    return found


def _checked_manifest(data: bytes) -> Manifest:
    if len(data) > LARGEST_MANIFEST:
        raise ValueError("it is far too large")
    manifest = decode_manifest(data)
    parse_snapshot_id(manifest.snapshot_id)
    for base in (Schema(manifest.operation).records_name, TARGETS_NAME):
        data_file(manifest, base)
    return manifest


def info_or_none(data: bytes, snapshot_id: str) -> SnapshotInfo | None:
    """Return the entry for the snapshot with this ID, or None if its manifest can't be read."""
    try:
        return info_of(own_manifest(data, snapshot_id, snapshot_id))
    except SnapshotError:
        return None
