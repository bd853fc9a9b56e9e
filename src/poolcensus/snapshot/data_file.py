"""Reads a data file of a snapshot, and checks it against the manifest."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal, Self

from poolcensus.errors import DamagedSnapshotError, SnapshotError, reason_of
from poolcensus.format.compression import read_lines
from poolcensus.format.digesting import Digesting
from poolcensus.format.text import counted
from poolcensus.storage.source import MissingFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.model import Compression, FileEntry
    from poolcensus.storage.source import SnapshotFiles

_REST_BYTES: Final = 1 << 20


class DataFile:
    """The records or the ledger of a snapshot, read once from the first line to the last.

    Counts the lines and digests the bytes while reading. The file is open while this context manager is
    entered. Methods raise `ValueError` for damage and `OSError` for failed reads; within `placing`, these
    become `SnapshotError`.
    """

    def __init__(self, files: SnapshotFiles, entry: FileEntry, compression: Compression) -> None:
        self._files = files
        self._compression = compression
        self._stack = ExitStack()
        self.entry = entry
        self.place = files.place_of(entry.name)
        self.number = 0

    def __enter__(self) -> Self:
        self._raw = Digesting(self._stack.enter_context(self._files.open(self.entry.name)))
        self._lines = read_lines(self._raw, self._compression)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def size(self) -> int:
        """The number of bytes read so far."""
        return self._raw.bytes

    def lines(self, count: int | None = None) -> Iterator[bytes]:
        """Yield the next `count` lines, or all remaining lines.

        Of the remaining lines, at most one more is read than the manifest says, since a compressed file may
        contain millions. Raises ValueError if there are fewer than `count` lines, or if the file can't be
        decompressed.
        """
        last = self.number + (count or 0)
        most = max(self.entry.records + 1 - self.number, 0) if count is None else count
        for line in islice(self._lines, most):
            self.number += 1
            yield line
        if self.number < last:
            raise ValueError("lines are missing")

    def differences(self) -> Iterator[Literal["records", "bytes", "sha256"]]:
        """Yield the fields of the manifest's entry that don't match the file. Call it after `lines`.

        After the first field, reads the rest of the file, which a decompressor may have left.
        """
        # A file that was cut at the end of a line or of a compressed frame reads like a complete one.
        if self.number != self.entry.records:
            yield "records"
        while self._raw.read(_REST_BYTES):
            pass
        if self.size != self.entry.bytes:
            yield "bytes"
        if self._raw.digest != self.entry.sha256:
            yield "sha256"

    def check(self) -> None:
        """Raise `DamagedSnapshotError` unless the file matches the manifest. Call it after `lines`."""
        differences = tuple(self.differences())
        if "records" in differences:
            raise self.damaged(miscounted(self.number, self.entry.records))
        if differences:
            raise self.damaged("has another sha256 than the manifest says")

    def damaged(self, what: str) -> DamagedSnapshotError:
        """Return an error that names the file and says what is wrong with it."""
        return DamagedSnapshotError(f"{self.place} {what}; the snapshot is damaged")

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Turn errors in the block into a `SnapshotError` that names the file and the line."""
        try:
            yield
        except MissingFileError as error:
            raise self.damaged(str(error)) from error
        except ValueError as error:
            where = f"{self.place}, line {self.number}" if self.number else self.place
            raise DamagedSnapshotError(f"{where}: {error}; the snapshot is damaged") from error
        except OSError as error:
            after = f" after line {self.number}" if self.number else ""
            raise SnapshotError(f"{self.place} can't be read{after}: {reason_of(error)}") from error


def miscounted(lines: int, records: int) -> str:
    """Return a message about a file with at least `lines` lines, if the manifest says `records`."""
    if lines > records:
        return f"has more lines than the {records:,} that the manifest says"
    return f"has {counted(lines, 'line')} where the manifest says {records:,}"
