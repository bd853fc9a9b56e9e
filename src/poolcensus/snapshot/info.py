"""What a snapshot says of itself: its manifest, and that as a line of a list."""

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

    `bytes` are those of its data files, compressed or not, and `failed` are the targets that are not covered,
    less those that failed as the run expected.
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
        """What snapshots have in common of which one says what became of the other."""
        return self.scope, self.operation, self.partition

    @property
    def moment(self) -> Moment:
        """When it was published: what snapshots are ordered by."""
        return moment_of(self.id, self.started_at, self.finished_at, shard=self.scope.shard)


def info_of(manifest: Manifest) -> SnapshotInfo:
    """Return a manifest as a line of a list."""
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
    """Return the manifest's entry for `base` under any compression.

    Raises `ValueError` where it has not just one.

    Only these names are ever opened: a manifest can't lead out of its folder.
    """
    by_name = {f"{base}{compression.suffix}": compression for compression in Compression}
    found = [file for file in manifest.files if file.name in by_name]
    if len(found) != 1:
        raise ValueError(f"it names {len(found)} files {base}, not one")
    return found[0], by_name[found[0].name]


def check_sizes(manifest: Manifest, sizes: Mapping[str, int], place: str) -> None:
    """Raise `DamagedSnapshotError` where a data file of a snapshot at `place` lacks, or has another size."""
    for base in (Schema(manifest.operation).records_name, TARGETS_NAME):
        file, _ = data_file(manifest, base)
        size = sizes.get(file.name)
        if size != file.bytes:
            wrong = "is missing"
            if size is not None:
                wrong = f"has {size:,} bytes where the manifest says {file.bytes:,}"
            raise DamagedSnapshotError(f"{place}/{file.name} {wrong}; the snapshot is damaged")


def read_manifest(data: bytes, place: str) -> Manifest:
    """Return the manifest of the snapshot at `place`.

    Raises `SnapshotError` where it is none that can be read.
    """
    try:
        return _checked_manifest(data)
    except NewerSchemaError as error:
        message = f"{place} was written by a newer poolcensus: {error}; upgrade to read it"
        raise SnapshotError(message) from error
    except ValueError as error:
        message = f"{place}/{MANIFEST_NAME} is not a manifest: {error}; the snapshot is damaged"
        raise DamagedSnapshotError(message) from error


def own_manifest(data: bytes, snapshot_id: str, place: str) -> Manifest:
    """Return the manifest of the snapshot at `place`, whose name says that it is the one of this id.

    Raises `SnapshotError` where it is none that can be read, or the manifest of another.
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
    """Return what a manifest says of the snapshot of this id, None where it is none that can be read."""
    try:
        return info_of(own_manifest(data, snapshot_id, snapshot_id))
    except SnapshotError:
        return None
