"""Reads a snapshot target by target: each ledger line with its records."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.errors import SnapshotError
from poolcensus.format.codec import dumps
from poolcensus.format.fields import time_of
from poolcensus.snapshot.data_file import DataFile
from poolcensus.snapshot.ledger_check import wrong_with
from poolcensus.snapshot.target_set import TargetSet

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from poolcensus.model import TargetResult
    from poolcensus.snapshot.reader import Snapshot

# Bytes of a piece. A target with more records comes in several pieces.
PIECE_BYTES: Final = 1 << 18

_TEXT: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
# The beginning of a record, up to its region, as this program writes it. Other records are parsed.
_HEAD: Final = re.compile(
    rb'\{"snapshot_id":"([^"\\]*)","collected_at":"([^"\\]*)","partition":"[^"\\]*",'
    rb'"account_id":"([^"\\]*)","account_name":(?:null|TEXT)(?:,"organization":TEXT)?(?:,"ou_path":TEXT)?'
    rb'(?:,"account_tags":\{(?:TEXT:TEXT,?)*\})?,"region":"([^"\\]*)",'.replace(b"TEXT", _TEXT)
)

# The end of a record. A line with another end may have been cut off.
_TAIL: Final = b"}\n"
_TIME: Final = "collected_at"
# A head that no record has.
_NO_HEAD: Final = b"\n"


class Piece(msgspec.Struct, frozen=True):
    """Some encoded records of a target, and its result. `last` marks the last piece of a target."""

    result: TargetResult
    data: bytes
    last: bool


def pieces_of(part: Snapshot, snapshot_id: str) -> Generator[Piece]:
    """Yield the pieces of `part`, target by target. In the records, `snapshot_id` replaces its own ID.

    Reads both files once and in parallel, and keeps a few lines of each in memory. Blocks.

    Raises DamagedSnapshotError if the files don't match the manifest, perhaps only after the last piece.
    Raises SnapshotError if they can't be read, or if the records are in another order than the ledger, and
    DestinationError if a bucket can't be read.
    """
    with ExitStack() as stack:
        stack.enter_context(part)
        ledger = _opened(DataFile(part.files, *part.targets_file), stack)
        records = _opened(DataFile(part.files, *part.pools_file), stack)
        renamed = _RenamedRecords(part, snapshot_id, records)
        seen = TargetSet()
        try:
            with ledger.placing():
                for line in ledger.lines():
                    result = part.schema.decode_result(line)
                    target = (result.account_id, result.region)
                    if wrong := wrong_with(result, part.schema.operation, is_second=seen.has(*target)):
                        raise ValueError(wrong)
                    seen.add(*target)
                    yield from renamed.of_target(result)
                ledger.check()
        except _OtherOrderError:
            # If the files are not damaged, another writer has used another order.
            for file in (ledger, records):
                _check_rest(file)
            raise
        with records.placing():
            if next(records.lines(), None) is not None:
                raise records.damaged("has more lines than the ledger says")
            records.check()


def _check_rest(file: DataFile) -> None:
    with file.placing():
        for _ in file.lines():
            pass
        file.check()


def _opened(file: DataFile, stack: ExitStack) -> DataFile:
    with file.placing():
        return stack.enter_context(file)


class _OtherOrderError(SnapshotError):
    """A record does not belong to the next target in the ledger."""


class _RenamedRecords:
    """Reads the records of one target after the other, and replaces their snapshot ID."""

    def __init__(self, part: Snapshot, snapshot_id: str, lines: DataFile) -> None:
        self._schema = part.schema
        self._operation = part.schema.operation
        self._before = part.id.encode()
        self._head = b'{"snapshot_id":"%b"' % self._before
        self._new_head = b'{"snapshot_id":"%b"' % snapshot_id.encode()
        # Follows the head if the item begins with its identity. A record with another item is parsed.
        self._item = b'%b:{%b:"' % (dumps(self._operation.item), dumps(self._operation.identity))
        self._lines = lines

    def of_target(self, result: TargetResult) -> Iterator[Piece]:
        key = (result.account_id.encode(), result.region.encode())
        # The records of a page begin with the same bytes, which are checked once.
        head = _NO_HEAD
        taken: list[bytes] = []
        size = 0
        with self._lines.placing():
            for line in self._lines.lines(result.pools):
                if size >= PIECE_BYTES:
                    yield Piece(result, self._renamed(taken), last=False)
                    taken, size = [], 0
                if line.startswith(head) and line.endswith(_TAIL):
                    record = line
                else:
                    head, record = self._checked(line, key)
                taken.append(record)
                size += len(record)
        yield Piece(result, self._renamed(taken), last=True)

    def _checked(self, line: bytes, key: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """Check a record. Return its head, which the next records may share, and the record as written here.

        Raises ValueError if the line is not a record of this snapshot, and `_OtherOrderError` if it belongs
        to another target.
        """
        found = _HEAD.match(line) if line.endswith(_TAIL) else None
        if found is not None and line.startswith(self._item, found.end()):
            time_of({_TIME: found[2].decode()}, _TIME)
            head, named, of = found[0] + self._item, found[1], (found[3], found[4])
        else:
            snapshot_id, record = self._schema.decode_record(line)
            if not isinstance(record.pool.get(self._operation.identity), str):
                raise ValueError(f"the {self._operation.item} has no {self._operation.identity}")
            head, named = _NO_HEAD, snapshot_id.encode()
            of = (record.account_id.encode(), record.region.encode())
            if found is None:
                line = dumps(self._schema.record_object(snapshot_id, record)) + b"\n"
        if named != self._before:
            raise ValueError("the record is of another snapshot")
        if of != key:
            raise _OtherOrderError(
                f"{self._lines.place}, line {self._lines.number}: the record is not in the ledger's order, so"
                " that the snapshot can't be merged"
            )
        return head, line

    def _renamed(self, lines: list[bytes]) -> bytes:
        """Replace the snapshot ID, with which all the lines begin, by the new one."""
        if not lines:
            return b""
        # Only at the beginning of lines, since an item may contain the same text.
        rest = b"".join(lines)[len(self._head) :].replace(b"\n" + self._head, b"\n" + self._new_head)
        return self._new_head + rest
