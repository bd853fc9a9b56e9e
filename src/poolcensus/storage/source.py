"""The interface for reading snapshots: read-only and synchronous, for every kind of destination.

It deals with IDs, names and bytes, and does not interpret manifests. All methods block. Failures with one
snapshot raise `OSError` or `SnapshotError`, and a destination that can't be read raises `SnapshotError` or
`DestinationError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from poolcensus.errors import SnapshotError
    from poolcensus.format.compression import Readable

LARGEST_MANIFEST = 1 << 28
"""The largest manifest in bytes. One byte more is read, to detect a manifest that is too large."""


# Bytes of one read. A read allocates its full size first, even for a small file.
_READ_BYTES = 1 << 16


def read_whole(file: Readable, most: int) -> bytes:
    """Return the content of a file, at most `most` bytes. Raises `OSError`."""
    found = bytearray()
    while data := file.read(min(_READ_BYTES, most - len(found))):
        found += data
    return bytes(found)


class MissingFileError(FileNotFoundError):
    """A file of a snapshot is missing. The text is to follow the file's name: `is missing`."""

    def __init__(self, wrong: str = "is missing") -> None:
        super().__init__(wrong)


class NotAFileError(MissingFileError):
    """Something else has the name of a file. The text says what: `is a folder, not a file`."""


class Survey(NamedTuple):
    """The content of a destination: the manifests, or errors for those that can't be read, and `latest`.

    `manifests` pairs IDs with them, and `latest` is the ID that `latest` names. `sizes` returns the names and
    sizes of a snapshot's files, if they are known without reading them.
    """

    manifests: Iterable[tuple[str, bytes | SnapshotError]]
    latest: str | None
    sizes: Callable[[str], Mapping[str, int]] | None = None


class Resource:
    """A context manager that keeps connections open between reads. It may be entered more than once.

    Reading also works without entering it. Then nothing stays open.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class SnapshotFiles(Resource, ABC):
    """The files of one snapshot, or of a refused run."""

    path: Path | None = None
    """The folder of the files, or None if they are not in a folder."""

    @property
    @abstractmethod
    def location(self) -> str:
        """The place of the files, as messages name it."""

    @property
    @abstractmethod
    def called(self) -> str:
        """The name that the files are under: the ID of the snapshot, unless it was renamed."""

    @abstractmethod
    def manifest(self) -> bytes:
        """Return the bytes of manifest.json. Raises `SnapshotError` if it can't be read."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the files, sorted.

        Raises `OSError`, and `SnapshotError` if the snapshot was removed in the meantime.
        """

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Open a file for reading from its start to its end.

        Raises `OSError`, and `MissingFileError` if there is no such file.
        """

    def place_of(self, name: str) -> str:
        """Return the name of a file for messages."""
        return f"{self.location}/{name}"


class Source(Resource, ABC):
    """Reads a destination. It may list the content only once."""

    @property
    @abstractmethod
    def location(self) -> str:
        """The destination, as messages name it."""

    @abstractmethod
    def ids(self) -> list[str]:
        """Return the IDs of the snapshots that have a manifest, sorted."""

    @abstractmethod
    def latest(self) -> str | None:
        """Return the ID that `latest` names, or None."""

    @abstractmethod
    def manifests(self, ids: Iterable[str]) -> Iterator[tuple[str, bytes | SnapshotError]]:
        """Iterate over these IDs and their manifests, in order. Each manifest is read when it is needed."""

    @abstractmethod
    def files(self, snapshot_id: str) -> SnapshotFiles:
        """Return the files of a snapshot. Whether it exists is only known when they are read."""

    @abstractmethod
    def refused(self) -> list[str]:
        """Return the IDs of the refused runs whose ledger is kept, sorted."""

    @abstractmethod
    def refused_files(self, run_id: str) -> SnapshotFiles:
        """Return the files of a refused run."""
