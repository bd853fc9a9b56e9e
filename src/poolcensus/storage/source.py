"""Where snapshots are read from: one small, read-only, synchronous interface for every destination.

It knows ids, names and bytes, and not what a manifest says. Everything blocks. Whatever goes wrong with one
snapshot is an `OSError` or a `SnapshotError`; a destination that can't be read is a `SnapshotError` or a
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
"""What a manifest is read up to, and one byte more, so that one that is too large is seen to be."""


# A read makes room for all that it may return, before it knows how little there is.
_READ_BYTES = 1 << 16


def read_whole(file: Readable, most: int) -> bytes:
    """Return the content of a file, of which at most so many bytes are read. Raises `OSError`."""
    found = bytearray()
    while data := file.read(min(_READ_BYTES, most - len(found))):
        found += data
    return bytes(found)


class MissingFileError(FileNotFoundError):
    """A file of a snapshot is not there. Its text is what a sentence says of the file: `is missing`."""

    def __init__(self, wrong: str = "is missing") -> None:
        super().__init__(wrong)


class NotAFileError(MissingFileError):
    """In the place of a file is something else. Its text says what, such as `is a folder, not a file`."""


class Survey(NamedTuple):
    """What lies at a destination: each manifest, or why there is none to be read, and what `latest` names.

    `sizes` returns the names and sizes of the files of a snapshot, where that is known without reading them.
    """

    manifests: Iterable[tuple[str, bytes | SnapshotError]]
    latest: str | None
    sizes: Callable[[str], Mapping[str, int]] | None = None


class Resource:
    """A context manager for those who read more than once: what is opened for one read serves the next.

    Nothing stays open without it, or once it is left. It may be entered more than once.
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
    """The files of one snapshot, or of a run whose ledger was kept."""

    path: Path | None = None
    """The folder that they are in; None where they are in none."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Where they are, as a person would name it."""

    @property
    @abstractmethod
    def called(self) -> str:
        """What they lie under: the id of the snapshot, if nobody has renamed it."""

    @abstractmethod
    def manifest(self) -> bytes:
        """Return the bytes of manifest.json. Raises `SnapshotError` where there is none to be read."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the files, sorted.

        Raises `OSError`, and `SnapshotError` where the snapshot was removed meanwhile.
        """

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[Readable]:
        """Return a file to be read from its start to its end.

        Raises `OSError`, `MissingFileError` where there is none.
        """

    def place_of(self, name: str) -> str:
        """Return a file as a person would name it."""
        return f"{self.location}/{name}"


class Source(Resource, ABC):
    """A destination that is read. It may list what is there once, and not look again."""

    @property
    @abstractmethod
    def location(self) -> str:
        """The destination as a person would name it."""

    @abstractmethod
    def ids(self) -> list[str]:
        """Return the ids of the snapshots that have a manifest, sorted."""

    @abstractmethod
    def latest(self) -> str | None:
        """Return the id that the destination calls its latest; None where it names none."""

    @abstractmethod
    def manifests(self, ids: Iterable[str]) -> Iterator[tuple[str, bytes | SnapshotError]]:
        """Return the manifests of these snapshots, in this order, each read when it is asked for."""

    @abstractmethod
    def files(self, snapshot_id: str) -> SnapshotFiles:
        """Return the files of a snapshot. Whether there is one is seen when they are read."""

    @abstractmethod
    def refused(self) -> list[str]:
        """Return the ids of the runs that were not published and whose ledger is kept, sorted."""

    @abstractmethod
    def refused_files(self, run_id: str) -> SnapshotFiles:
        """Return the files of such a run."""
