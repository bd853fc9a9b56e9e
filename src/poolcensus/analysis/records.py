"""Reads the records of a snapshot target by target, in any order, without holding the file in memory.

One pass over the file notes the offsets of each target's records. A file that is compressed or in a bucket
can't be read from an offset. In the same pass, the records that will be read are copied to a temporary file.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING

from poolcensus.analysis.lines import RecordLines
from poolcensus.errors import DamagedSnapshotError, SnapshotError, reason_of
from poolcensus.format.compression import read_lines
from poolcensus.format.text import counted
from poolcensus.model import Compression
from poolcensus.snapshot.reader import lines_of
from poolcensus.storage.advice import temporary_error
from poolcensus.storage.local.files import open_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from poolcensus.analysis.ledger import Ledger
    from poolcensus.errors import DestinationError
    from poolcensus.model import JsonObject
    from poolcensus.snapshot import Snapshot


@contextmanager
def open_records(snapshot: Snapshot, ledger: Ledger, wanted: Callable[[str, str], bool]) -> Iterator[Records]:
    """Open the records of a snapshot, to read them target by target. Blocks.

    `wanted` returns whether the records of a target will be read. Those of other targets can't be.

    Entering the context reads the file to its end. It raises what `Snapshot.pools` raises,
    `DamagedSnapshotError` if the ledger counts other numbers of records, and `DestinationError` if the
    temporary file can't be written.
    """
    place, lines = snapshot.files.place_of(snapshot.pools_file[0].name), RecordLines(snapshot.schema)
    with ExitStack() as stack:
        file = _opened(snapshot, stack)
        is_copy = file is None
        if file is None:
            file = _temporary()
            stack.callback(_close, file)
        copy = file if is_copy else None
        runs = _runs_of(_Index(lines, ledger, wanted, copy), snapshot, ledger, place)
        yield Records(file, place, lines, runs, is_copy=is_copy)


class Records:
    """The records of a snapshot in an open file.

    `runs` has, for each target, the offset and the length of each run of its records, in bytes.
    """

    def __init__(
        self,
        file: IO[bytes],
        place: str,
        lines: RecordLines,
        runs: Mapping[tuple[str, str], array[int]],
        *,
        is_copy: bool,
    ) -> None:
        self._descriptor = file.fileno()
        self._place = place
        self._lines = lines
        self._runs = runs
        self._is_copy = is_copy

    def texts(self, account_id: str, region: str) -> dict[str, bytes]:
        """Return a target's records by the identity of their items, each as a text for `item`.

        If two texts are equal, their items are equal. Raises `SnapshotError` if the records can't be read.
        """
        found: dict[str, bytes] = {}
        runs = self._runs.get((account_id, region), ())
        for offset, length in zip(runs[::2], runs[1::2], strict=True):
            try:
                self._take_run(_Run(self._read, offset, length), found)
            except ValueError as error:
                raise self._damage(account_id, region, error) from error
        return found

    def item(self, account_id: str, region: str, text: bytes) -> JsonObject:
        """Return the item of a text that `texts` returned for this target.

        Raises `DamagedSnapshotError` if it has none.
        """
        try:
            return self._lines.item_of(text)
        except ValueError as error:
            raise self._damage(account_id, region, error) from error

    def _take_run(self, run: _Run, found: dict[str, bytes]) -> None:
        for line in read_lines(run, Compression.NONE):
            self._lines.target_of(line)
            text = self._lines.text_of(line)
            identity = self._lines.identity_of(text)
            if identity in found:
                raise ValueError(f"{identity} is there twice")
            found[identity] = text

    def _read(self, size: int, offset: int) -> bytes:
        try:
            part = os.pread(self._descriptor, size, offset)
        except OSError as error:
            if self._is_copy:
                raise _temporary_failure("read records in", error) from error
            raise SnapshotError(f"{self._place} can't be read: {reason_of(error)}") from error
        if size and not part:
            raise SnapshotError(f"{self._place} was cut or replaced while it was read")
        return part

    def _damage(self, account_id: str, region: str, error: ValueError) -> DamagedSnapshotError:
        return DamagedSnapshotError(f"{self._place}, {account_id} {region}: {error}; the snapshot is damaged")


def _opened(snapshot: Snapshot, stack: ExitStack) -> IO[bytes] | None:
    if snapshot.path is None or snapshot.pools_file[1] is not Compression.NONE:
        return None
    # The file is opened before the pass, so that both read the same file. If it can't be opened, the pass
    # raises.
    with suppress(OSError):
        return stack.enter_context(open_file(snapshot.pools_path, buffering=0))
    return None


def _temporary() -> IO[bytes]:
    try:
        # Only this user has access to it. It has no name, so it disappears with the process.
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _temporary_failure("make a file in", error) from error


def _runs_of(
    index: _Index, snapshot: Snapshot, ledger: Ledger, place: str
) -> Mapping[tuple[str, str], array[int]]:
    for _ in lines_of(snapshot.files, snapshot.pools_file, index.take):
        pass
    index.finish()
    for account_id, region, pools in ledger.with_pools():
        records = index.counts.get((account_id, region), 0)
        if records != pools:
            raise DamagedSnapshotError(
                f"{place} has {counted(records, 'record')} of {account_id} {region} where the ledger says"
                f" {pools:,}; the snapshot is damaged"
            )
    return index.runs


class _Run:
    """A part of a file that is read from its start to its end."""

    def __init__(self, read: Callable[[int, int], bytes], offset: int, length: int) -> None:
        self._read = read
        self._offset = offset
        self._left = length

    def read(self, size: int, /) -> bytes:
        data = self._read(min(size, self._left), self._offset)
        self._offset += len(data)
        self._left -= len(data)
        return data


class _Index:
    """Notes the offsets of a file's lines as they are read, and copies those of wanted targets to `copy`."""

    def __init__(
        self,
        lines: RecordLines,
        ledger: Ledger,
        wanted: Callable[[str, str], bool],
        copy: IO[bytes] | None,
    ) -> None:
        self.runs: dict[tuple[str, str], array[int]] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self._lines = lines
        self._ledger = ledger
        self._wanted = wanted
        self._copy = copy
        self._target: tuple[str, str] | None = None
        self._is_wanted = False
        self._start = self._end = self._count = 0

    def take(self, line: bytes) -> None:
        """Take the next line. Raises `ValueError` if it is not a record of a target with pools."""
        if not line.endswith(b"}\n"):
            self._lines.check(line)
        target = self._lines.target_of(line)
        if target is not self._target:
            self._begin(target)
        self._count += 1
        if self._copy is None:
            self._end += len(line)
        elif self._is_wanted:
            try:
                self._copy.write(line)
            except OSError as error:
                raise _temporary_failure("keep records in", error) from error
            self._end += len(line)

    def finish(self) -> None:
        """Note the last run, and flush the copy so that it can be read."""
        self._note()
        if self._copy is None:
            return
        try:
            self._copy.flush()
        except OSError as error:
            raise _temporary_failure("keep records in", error) from error

    def _begin(self, target: tuple[str, str]) -> None:
        self._note()
        if not self._ledger.has_pools(*target):
            raise ValueError(f"a record of {target[0]} {target[1]}, for which the ledger counts none")
        self._target = target
        self._is_wanted = self._wanted(*target)
        self._start, self._count = self._end, 0

    def _note(self) -> None:
        if self._target is None:
            return
        self.counts[self._target] = self.counts.get(self._target, 0) + self._count
        if self._is_wanted:
            runs = self.runs.setdefault(self._target, array("Q"))
            runs.extend((self._start, self._end - self._start))


def _close(file: IO[bytes]) -> None:
    # Closing retries writes that failed. The data is no longer needed.
    with suppress(OSError):
        file.close()


def _temporary_failure(doing: str, error: OSError) -> DestinationError:
    # `tempfile.gettempdir` would raise as well if there is no usable folder.
    return temporary_error(f"{doing} {tempfile.tempdir or 'a temporary folder'}", error)
