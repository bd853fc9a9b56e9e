"""Reads snapshots in a folder. All functions and methods block."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from poolcensus.errors import DamagedSnapshotError, SnapshotError, reason_of
from poolcensus.format.ids import is_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME, REFUSED_NAME
from poolcensus.paths import exists, is_folder, is_link, may_exist
from poolcensus.storage.local.files import open_file
from poolcensus.storage.local.stale import REFUSED_PREFIX
from poolcensus.storage.naming import LATEST, LATEST_NAME, has_snapshots, named, no_snapshots
from poolcensus.storage.source import (
    LARGEST_MANIFEST,
    MissingFileError,
    NotAFileError,
    SnapshotFiles,
    Source,
    Survey,
    read_whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from poolcensus.format.compression import Readable


class LocalFiles(SnapshotFiles):
    """The files of a snapshot in the folder `path`.

    `is_listed` says that the folder existed before, so that a missing one was removed.
    """

    path: Path

    def __init__(self, path: Path, *, is_listed: bool = True) -> None:
        self.path = path
        self._is_listed = is_listed

    @property
    def location(self) -> str:
        return str(self.path)

    @property
    def called(self) -> str:
        return self.path.resolve().name

    def manifest(self) -> bytes:
        found = read_manifest(self.path, is_listed=self._is_listed)
        if isinstance(found, SnapshotError):
            raise found
        return found

    def names(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self.path.iterdir())
        except FileNotFoundError:
            raise _removed(self.path) from None

    def open(self, name: str) -> AbstractContextManager[Readable]:
        try:
            return open_file(self.path / name)
        except MissingFileError:
            if exists(self.path):
                raise
            raise _removed(self.path) from None


class LocalSource(Source):
    """The snapshots in the folder `dest`. Keeps no file open."""

    def __init__(self, dest: Path) -> None:
        self._dest = dest

    @property
    def location(self) -> str:
        return str(self._dest)

    def ids(self) -> list[str]:
        try:
            return published_ids(self._dest)
        except OSError as error:
            raise _no_snapshots(self._dest, error) from error

    def latest(self) -> str | None:
        return latest_in(self._dest)

    def manifests(self, ids: Iterable[str]) -> Iterator[tuple[str, bytes | SnapshotError]]:
        return ((each, read_manifest(self._dest / each)) for each in ids)

    def files(self, snapshot_id: str) -> SnapshotFiles:
        return LocalFiles(self._dest / snapshot_id)

    def refused(self) -> list[str]:
        try:
            found = [each for each in self._dest.iterdir() if each.name.startswith(REFUSED_PREFIX)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise SnapshotError(f"{self._dest} can't be read: {reason_of(error)}") from error
        # A folder that can't be examined is included, so that reading it reports the error.
        return sorted(
            each.name.removeprefix(REFUSED_PREFIX) for each in found if may_exist(each / REFUSED_NAME)
        )

    def refused_files(self, run_id: str) -> SnapshotFiles:
        return LocalFiles(self._dest / f"{REFUSED_PREFIX}{run_id}")


def published_ids(dest: Path) -> list[str]:
    """Return the IDs of the snapshots in `dest`, sorted. Raises `OSError`.

    A symbolic link to a snapshot counts as a snapshot, since somebody has put it there to be read.
    """
    return sorted(
        # A folder that can't be examined, such as another user's private one, may be a snapshot.
        entry.name
        for entry in dest.iterdir()
        if is_snapshot_id(entry.name) and may_exist(entry / MANIFEST_NAME)
    )


def latest_in(dest: Path) -> str | None:
    """Return the ID of the snapshot that `latest` links to or `latest.json` names, or None."""
    try:
        # Not Path.resolve, which before Python 3.13 raises a RuntimeError for links in a circle.
        name = os.path.basename(os.path.realpath(dest / LATEST))  # noqa: PTH119 - see above
    except OSError:
        return None
    return name if is_snapshot_id(name) else named_in_file(dest)


def named_in_file(dest: Path) -> str | None:
    """Return the ID of the snapshot that `latest.json` names, or None."""
    try:
        with open_file(dest / LATEST_NAME) as raw:
            return named(read_whole(raw, LARGEST_MANIFEST))
    except OSError:
        return None


def survey(dest: Path) -> Survey:
    """Return a survey of `dest`, for removing snapshots. Manifests are read when they are iterated over.

    Unlike for reading, a symbolic link does not count as a snapshot: it may lead to a snapshot elsewhere,
    which must not be removed. Folders without a manifest are reported. Raises `SnapshotError`.
    """
    try:
        names = sorted(entry.name for entry in dest.iterdir() if is_snapshot_id(entry.name))
    except OSError as error:
        raise _no_snapshots(dest, error) from error
    manifests = ((each, _read_own(dest / each)) for each in names)
    return Survey(manifests, latest_in(dest), lambda snapshot_id: _sizes_in(dest / snapshot_id))


def _sizes_in(path: Path) -> dict[str, int]:
    try:
        return {entry.name: entry.stat().st_size for entry in path.iterdir() if exists(entry)}
    except OSError as error:
        raise SnapshotError(f"{path} can't be read: {error.strerror or error}") from error


def read_manifest(path: Path, *, is_listed: bool = True) -> bytes | SnapshotError:
    """Return the manifest of the snapshot in the folder `path`, or the error that says why it can't be read.

    With `is_listed`, a missing folder was removed during reading. Otherwise, it never existed.
    """
    file = path / MANIFEST_NAME
    try:
        with open_file(file) as raw:
            return read_whole(raw, LARGEST_MANIFEST + 1)
    except NotAFileError as error:
        return DamagedSnapshotError(f"{file} {error}; the snapshot is damaged")
    except (MissingFileError, NotADirectoryError):
        return _removed(path) if is_listed and not exists(path) else SnapshotError(_no_snapshot(path))
    except OSError as error:
        return SnapshotError(f"{file} can't be read: {reason_of(error)}")
    except ValueError as error:
        return SnapshotError(f"{file} can't be read: {error}")


def _removed(path: Path) -> SnapshotError:
    return SnapshotError(f"{path} was removed while it was read")


def _no_snapshot(path: Path) -> str:
    if is_folder(path):
        why = f"{path} is not a snapshot: it has no {MANIFEST_NAME}"
        if not has_snapshots(path):
            return why
        return f"{why}. To read the latest snapshot of that destination, use `dest` {shlex.quote(str(path))}"
    if exists(path):
        return f"{path} is not a snapshot: it is not a folder"
    return (
        f'"{path}" is not a snapshot ID or path. Use latest, latest~N, or an ID from'
        " 'poolcensus snapshots'."
    )


def _read_own(path: Path) -> bytes | SnapshotError:
    if is_link(path):
        return SnapshotError(f"{path} is not a snapshot: it is a symbolic link")
    return read_manifest(path)


def _no_snapshots(dest: Path, error: OSError) -> SnapshotError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return SnapshotError(no_snapshots(dest))
    return SnapshotError(f"Can't list the snapshots in {dest}: {reason_of(error)}.")
