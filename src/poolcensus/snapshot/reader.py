"""Reading published snapshots."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nlargest
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from poolcensus.errors import DamagedSnapshotError, SnapshotError
from poolcensus.format.compression import BROKEN, read_lines
from poolcensus.format.ids import is_snapshot_id, parse_snapshot_id
from poolcensus.format.schema import (
    MANIFEST_NAME,
    TARGETS_NAME,
    NewerSchemaError,
    Schema,
    decode_manifest,
)
from poolcensus.model import Compression
from poolcensus.snapshot.bucket_keys import LATEST_NAME, named
from poolcensus.snapshot.order import LatestSearch, Moment, moment_of
from poolcensus.snapshot.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from poolcensus.model import (
        FileEntry,
        Manifest,
        PoolRecord,
        SnapshotStatus,
        TargetResult,
    )

LATEST: Final = "latest"
_LATEST_REF: Final = re.compile(rf"{LATEST}(?:~([0-9]{{1,9}}))?")
LARGEST_MANIFEST: Final = 1 << 28
_MANY_PAGES: Final = 3
_LONG_TARGETS: Final = 1000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot in a list. `bytes` are those of its data files, compressed or not."""

    id: str
    status: SnapshotStatus
    started_at: str
    finished_at: str
    pools: int
    targets: int
    covered: int
    bytes: int
    scope: Scope

    @property
    def moment(self) -> Moment:
        """When it was published: what snapshots are ordered by."""
        return moment_of(self.id, self.started_at, self.finished_at)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What stands at a destination: its snapshots, the oldest first, and the one that it calls its latest.

    The order is that in which they were published, by their manifests.

    `unreadable` says by id why something that is named like a snapshot is none, or none to be read.
    """

    snapshots: tuple[SnapshotInfo, ...]
    latest: str | None
    unreadable: Mapping[str, str]


class Snapshot:
    """A published snapshot in a folder. Its lines are read as they are asked for, never all at once."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._manifest = manifest

    @classmethod
    def open(cls, ref: str | os.PathLike[str], dest: str | os.PathLike[str] | None = None) -> Self:
        """The snapshot that `ref` names: `latest`, `latest~N`, a snapshot id, or the path of its folder.

        `latest` is the one that was published last, by its manifest, and `latest~N` the N-th before it; one
        from the future is neither. Ids and `latest` are looked up in `dest`, by default the current folder.
        Raises `SnapshotError` where there is none, or where it can't be read.
        """
        path = _resolve(ref, Path("." if dest is None else dest))
        return cls(path, _read_manifest(path))

    @property
    def id(self) -> str:
        """The snapshot id."""
        return self._manifest.snapshot_id

    @property
    def path(self) -> Path:
        """The snapshot's folder."""
        return self._path

    @property
    def manifest(self) -> Manifest:
        """What the snapshot says of itself."""
        return self._manifest

    @property
    def schema(self) -> Schema:
        """The schema of the snapshot's lines."""
        return Schema(self._manifest.operation)

    @property
    def info(self) -> SnapshotInfo:
        """The snapshot as a line of a list."""
        return info_of(self._manifest)

    @property
    def pools_path(self) -> Path:
        """The file of the records, by its suffix perhaps compressed."""
        return self._path / self.pools_file[0].name

    @property
    def targets_path(self) -> Path:
        """The file of the ledger, by its suffix perhaps compressed."""
        return self._path / self.targets_file[0].name

    @property
    def pools_file(self) -> tuple[FileEntry, Compression]:
        """The manifest's entry of the records, and how they are compressed."""
        return data_file(self._manifest, self.schema.records_name)

    @property
    def targets_file(self) -> tuple[FileEntry, Compression]:
        """The manifest's entry of the ledger, and how it is compressed."""
        return data_file(self._manifest, TARGETS_NAME)

    def pools(self) -> Iterator[PoolRecord]:
        """The records, one after the other.

        Raises `SnapshotError` for a line that is no record, and at the end where lines are missing.
        """
        return lines_of(self._path, self.pools_file, lambda line: self.schema.decode_record(line)[1])

    def targets(self) -> Iterator[TargetResult]:
        """The ledger, one line after the other. Raises `SnapshotError` as `pools` does."""
        return lines_of(self._path, self.targets_file, self.schema.decode_result)

    def uncovered(self) -> Iterator[TargetResult]:
        """The ledger's lines of targets whose pools the census does not know."""
        return (result for result in self.targets() if not result.outcome.covered)

    def paged(self, least: int) -> Iterator[TargetResult]:
        """The ledger's lines of targets with at least so many pages, without reading the others closely."""
        few = tuple(b'"pages":%d,' % pages for pages in range(least))
        return (
            result
            for result in lines_of(self._path, self.targets_file, lambda line: self._unless(few, line))
            if result is not None and result.pages >= least
        )

    def with_pools(self) -> Iterator[TargetResult]:
        """The ledger's lines of targets that have pools, without reading the others closely."""
        none = (b'"%b":0,' % self.schema.operation.items.encode(),)
        return (
            result
            for result in lines_of(self._path, self.targets_file, lambda line: self._unless(none, line))
            if result is not None and result.pools
        )

    def _unless(self, signs: tuple[bytes, ...], line: bytes) -> TargetResult | None:
        return None if any(sign in line for sign in signs) else self.schema.decode_result(line)


def lines_of(
    folder: Path, source: tuple[FileEntry, Compression], decode: Callable[[bytes], _T]
) -> Iterator[_T]:
    """Yield the decoded lines of a data file in `folder`. Raises `SnapshotError` as `Snapshot.pools` does."""
    file, compression = source
    path = folder / file.name
    number = 0
    try:
        with path.open("rb") as raw:
            for line in read_lines(raw, compression):
                number += 1
                yield decode(line)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DamagedSnapshotError(f"{path} is missing; the snapshot is damaged") from error
    except (ValueError, *BROKEN) as error:
        raise DamagedSnapshotError(f"{path}, line {number}: {error}; the snapshot is damaged") from error
    except OSError as error:
        raise SnapshotError(f"{path} can't be read after line {number}: {error.strerror or error}") from error
    # A file that was cut at a line's end, or at a frame's, reads like a whole one.
    if number != file.records:
        raise DamagedSnapshotError(
            f"{path} has {number} lines where the manifest says {file.records}; the snapshot is damaged"
        )


def list_snapshots(dest: str | os.PathLike[str]) -> tuple[SnapshotInfo, ...]:
    """The snapshots in a folder, the one that was published last at the end.

    Whatever is not a snapshot that this version can read is passed over. Raises `SnapshotError` where the
    folder itself can't be read.
    """
    found = []
    for snapshot_id in _ids(Path(dest)):
        try:
            found.append(info_of(_read_manifest(Path(dest) / snapshot_id)))
        except SnapshotError:
            continue
    return tuple(sorted(found, key=attrgetter("moment")))


def long_targets(dest: str | os.PathLike[str]) -> dict[tuple[str, str], int]:
    """The targets that had many pages in the newest snapshot: account id and region, and how many pages.

    Three pages are many; the longest 1,000 targets are enough. Where there is no snapshot that can be read,
    there is nothing to be known. Blocks.
    """
    try:
        results = Snapshot.open(LATEST, dest).paged(_MANY_PAGES)
        longest = nlargest(_LONG_TARGETS, results, key=attrgetter("pages"))
    except SnapshotError:
        return {}
    return {(each.account_id, each.region): each.pages for each in longest}


def take_inventory(dest: Path) -> Inventory:
    """The inventory of a folder. Raises `SnapshotError` where it can't be read.

    Only what lies in the folder itself counts: a symbolic link may lead to anybody's snapshot.
    """
    try:
        names = sorted(entry.name for entry in dest.iterdir() if is_snapshot_id(entry.name))
    except OSError as error:
        raise SnapshotError(f"no snapshots in {dest}: {error.strerror or error}") from error
    found: list[SnapshotInfo] = []
    unreadable: dict[str, str] = {}
    for name in names:
        path = dest / name
        try:
            found.append(_own_info(path))
        except SnapshotError as error:
            unreadable[name] = str(error)
    return Inventory(tuple(sorted(found, key=attrgetter("moment"))), _linked(dest), unreadable)


def search_latest(dest: Path, ids: Iterable[str]) -> LatestSearch:
    """Return the search for the newest of the snapshots `ids` in `dest`, done."""
    search = LatestSearch(ids, _linked(dest), datetime.now(UTC))
    while snapshot_ids := search.next():
        for snapshot_id in snapshot_ids:
            search.take(snapshot_id, _info_or_none(dest / snapshot_id))
    return search


def published_ids(dest: Path) -> list[str]:
    """The ids of the snapshots in `dest`, sorted. Raises `OSError`."""
    return sorted(
        entry.name
        for entry in dest.iterdir()
        if is_snapshot_id(entry.name) and (entry / MANIFEST_NAME).is_file()
    )


def data_file(manifest: Manifest, base: str) -> tuple[FileEntry, Compression]:
    """The manifest's entry for `base` under any compression. Raises `ValueError` where it has not just one.

    Only these names are ever opened: a manifest can't lead out of its folder.
    """
    by_name = {f"{base}{compression.suffix}": compression for compression in Compression}
    found = [file for file in manifest.files if file.name in by_name]
    if len(found) != 1:
        raise ValueError(f"it names {len(found)} files {base}, not one")
    return found[0], by_name[found[0].name]


def is_looked_up(ref: str) -> bool:
    """Whether `ref` names a snapshot of a destination: `latest`, `latest~N` or an id. Else it is a path."""
    return is_snapshot_id(ref) or _LATEST_REF.fullmatch(ref) is not None


def steps_back(ref: str) -> int | None:
    """Return N for `latest~N`, 0 for `latest`, None for an id."""
    match = _LATEST_REF.fullmatch(ref)
    return None if match is None else int(match[1] or 0)


def look_up(ref: str, moments: Iterable[Moment], dest: Path | str) -> str:
    """Return the id of the one of `moments` that `ref` names. Raises `SnapshotError` where there is none."""
    now = datetime.now(UTC)
    ordered = sorted(moments)
    ids = [each.id for each in ordered]
    if (back := steps_back(ref)) is None:
        if ref in ids:
            return ref
        raise SnapshotError(f"no snapshot {ref} in {dest}: {_there_is(sorted(ids))}")
    past = [each.id for each in ordered if not each.is_ahead(now)]
    if back < len(past):
        return past[-1 - back]
    ahead = f"; {len(ids) - len(past)} from the future not counted" if len(past) < len(ids) else ""
    raise SnapshotError(f"no snapshot {ref} in {dest}: {_there_is(past)}{ahead}")


def _resolve(ref: str | os.PathLike[str], dest: Path) -> Path:
    if not isinstance(ref, str) or not is_looked_up(ref):
        return Path(ref)
    ids = _ids(dest)
    back = steps_back(ref)
    if back == 0 and (newest := search_latest(dest, ids).newest) is not None:
        return dest / newest
    return dest / look_up(ref, (_moment(dest / each, read=back is not None) for each in ids), dest)


def _moment(path: Path, *, read: bool) -> Moment:
    info = _info_or_none(path) if read else None
    return moment_of(path.name) if info is None else info.moment


def _ids(dest: Path) -> list[str]:
    if dest.parts[:1] == ("s3:",):
        raise SnapshotError(f"no snapshots in {dest}: only a folder is read here, so copy them into one")
    try:
        return published_ids(dest)
    except OSError as error:
        raise SnapshotError(f"no snapshots in {dest}: {error.strerror or error}") from error


def _there_is(ids: list[str]) -> str:
    if not ids:
        return "there is none"
    if len(ids) > 5:
        return f"there are {len(ids)}, the newest {', '.join(ids[-3:])}"
    return f"there is {', '.join(ids)}"


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST_NAME
    try:
        with file.open("rb") as raw:
            data = raw.read(LARGEST_MANIFEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_dir():
            raise SnapshotError(f"{path} is not a snapshot: it has no {MANIFEST_NAME}") from None
        if path.exists():
            raise SnapshotError(f"{path} is not a snapshot: it is not a folder") from None
        raise SnapshotError(f"no snapshot {path}: {_nearby(path)}") from None
    except (OSError, ValueError) as error:
        raise SnapshotError(f"{file} can't be read: {error}") from error
    return read_manifest(data, path)


def read_manifest(data: bytes, path: Path | str) -> Manifest:
    """The manifest of the snapshot at `path`. Raises `SnapshotError` where it is none that can be read."""
    try:
        return _checked_manifest(data)
    except NewerSchemaError as error:
        raise SnapshotError(f"{path} was written by a newer poolcensus: {error}") from error
    except ValueError as error:
        message = f"{path}/{MANIFEST_NAME} is not a manifest: {error}; the snapshot is damaged"
        raise DamagedSnapshotError(message) from error


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
        info = info_of(read_manifest(data, snapshot_id))
    except SnapshotError:
        return None
    return info if info.id == snapshot_id else None


def _info_or_none(path: Path) -> SnapshotInfo | None:
    try:
        info = info_of(_read_manifest(path))
    except SnapshotError:
        return None
    return info if info.id == path.name else None


def _linked(dest: Path) -> str | None:
    """Return the id of the snapshot that `latest` leads to, or `latest.json` names, None for all else."""
    name: object = os.path.basename(os.path.realpath(dest / LATEST))  # noqa: PTH119 - never raises
    if not (isinstance(name, str) and is_snapshot_id(name)):
        try:
            name = named((dest / LATEST_NAME).read_bytes())
        except OSError:
            return None
    return name if isinstance(name, str) and is_snapshot_id(name) else None


def _own_info(path: Path) -> SnapshotInfo:
    if path.is_symlink():
        raise SnapshotError(f"{path} is not a snapshot: it is a symbolic link")
    info = info_of(_read_manifest(path))
    if info.id != path.name:
        raise SnapshotError(f"{path} is not what its name says: its manifest is of {info.id}")
    return info


def _nearby(path: Path) -> str:
    try:
        return _there_is(published_ids(path.parent))
    except OSError:
        return f"there is no folder {path.parent}"


def info_of(manifest: Manifest) -> SnapshotInfo:
    """A manifest as a line of a list."""
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
    )
