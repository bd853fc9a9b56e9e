"""A snapshot taken apart: each target's line of the ledger with the records that belong to it."""

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

# What is handed on at a time: a target with more records comes in several pieces.
PIECE_BYTES: Final = 1 << 18

_TEXT: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
# The head of a record, as this program writes it, to its region. A record that looks otherwise is parsed.
_HEAD: Final = re.compile(
    rb'\{"snapshot_id":"([^"\\]*)","collected_at":"([^"\\]*)","partition":"[^"\\]*",'
    rb'"account_id":"([^"\\]*)","account_name":(?:null|TEXT)(?:,"organization":TEXT)?(?:,"ou_path":TEXT)?'
    rb'(?:,"account_tags":\{(?:TEXT:TEXT,?)*\})?,"region":"([^"\\]*)",'.replace(b"TEXT", _TEXT)
)

# A line that ends otherwise may have been cut off.
_TAIL: Final = b"}\n"
_TIME: Final = "collected_at"
# Of no record, which is an object.
_NO_HEAD: Final = b"\n"


class Piece(msgspec.Struct, frozen=True):
    """Some records of a target, as bytes, with its line of the ledger. The `last` of a target ends it."""

    result: TargetResult
    data: bytes
    last: bool


def pieces_of(part: Snapshot, snapshot_id: str) -> Generator[Piece]:
    """Yield what `part` has, target by target, with `snapshot_id` in its records in place of its own.

    Reads both files once, in step, and holds a few lines of each. Blocks. Raises DamagedSnapshotError where
    they are not what the manifest says, perhaps only after the last piece; SnapshotError where they can't be
    read, or the records are in another order than the ledger, and DestinationError where a bucket can't.
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
            # Of files that are whole, it is another writer's order.
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
    """A record is not of the target that is next in the ledger."""


class _RenamedRecords:
    """The records of one target after the other, under another snapshot's id."""

    def __init__(self, part: Snapshot, snapshot_id: str, lines: DataFile) -> None:
        self._schema = part.schema
        self._operation = part.schema.operation
        self._before = part.id.encode()
        self._head = b'{"snapshot_id":"%b"' % self._before
        self._new_head = b'{"snapshot_id":"%b"' % snapshot_id.encode()
        # What comes after the head where an item begins with its identity; a record of another is parsed.
        self._item = b'%b:{%b:"' % (dumps(self._operation.item), dumps(self._operation.identity))
        self._lines = lines

    def of_target(self, result: TargetResult) -> Iterator[Piece]:
        key = (result.account_id.encode(), result.region.encode())
        # The records of a page begin with the same bytes, which are looked at once.
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
        """Return what the next records may begin with as well, and the record as this program writes it.

        Raises ValueError for one that is none, or is of another snapshot, and `_OtherOrderError` for one of
        another target.
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
        """Return lines, which all begin with the snapshot's id, with the new one in its place."""
        if not lines:
            return b""
        # Only at the beginning of a line: an item may hold the same text.
        rest = b"".join(lines)[len(self._head) :].replace(b"\n" + self._head, b"\n" + self._new_head)
        return self._new_head + rest
