"""The journal of a draft, from which a run resumes: the finished targets, and where their records are.

The journal is beside the data files of a draft. Its first line is the request of the run. Every other line
belongs to a finished target: its ledger line, and the size and the checksum of its records in pools.ndjson,
which are in the same order. Each line has a checksum of its own. So the journal may be cut off at any byte,
and may be ahead of the records: targets that don't match are called again.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from contextlib import suppress
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, NamedTuple, Self

import msgspec

from poolcensus.format.codec import dumps, loads
from poolcensus.format.compression import LONGEST_LINE, pieces
from poolcensus.format.manifest import decode_operation
from poolcensus.format.schema import Schema
from poolcensus.format.sealed import seal, unseal
from poolcensus.format.times import parse_rfc3339, rfc3339
from poolcensus.model import Compression, OperationInfo, TargetResult
from poolcensus.storage.base import JOURNAL_NAME
from poolcensus.storage.local.files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from poolcensus.model import JsonObject

_PIECE = 1 << 18


class JournalHeader(msgspec.Struct, frozen=True):
    """The first line of a journal: the snapshot being written, and what the run was asked to do.

    `asked` is everything that has to be the same in a run that resumes.
    """

    snapshot_id: str
    started_at: datetime
    compression: Compression
    operation: OperationInfo
    asked: JsonObject


class Entry(NamedTuple):
    """The place of a finished target's records in the uncompressed file, and of its line in the journal."""

    offset: int
    size: int
    line: int
    line_size: int


def encode_header(header: JournalHeader) -> bytes:
    """Encode the first line of a journal."""
    return seal(
        dumps(
            {
                "snapshot_id": header.snapshot_id,
                "started_at": rfc3339(header.started_at),
                "compression": header.compression.value,
                "operation": asdict(header.operation),
                "asked": header.asked,
            }
        )
        + b"\n"
    )


def encode_entry(ledger_line: bytes, size: int, checksum: int) -> bytes:
    """Encode the journal line of a target: its ledger line, and the size and CRC-32 of its records."""
    return seal(b"%d %d " % (size, checksum) + ledger_line)


class Journal:
    """The finished targets of an interrupted run. They are checked when the journal is opened.

    All methods block. `begin` and `piece` may be called by several threads at a time, and raise `OSError` or
    `ValueError` if the entry can no longer be read. `failure` is the error of the system that ended the
    reading after the known entries, or None.
    """

    def __init__(
        self,
        header: JournalHeader,
        lines: IO[bytes],
        records: IO[bytes],
        entries: dict[str, dict[str, Entry]],
        failure: OSError | None = None,
    ) -> None:
        self.header = header
        self.failure = failure
        self._lines = lines
        self._records = records
        self._entries = entries
        self._schema = Schema(header.operation)

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """Open the journal of a draft. It has the covered targets whose records are complete.

        Return None if the journal or the file of records is missing, or if the header is damaged. Raises
        `OSError` if nothing of the journal or the records can be read.
        """
        lines: IO[bytes] | None = None
        records: IO[bytes] | None = None
        opened = False
        try:
            lines = open_file(folder / JOURNAL_NAME)
            header = decode_header(unseal(lines.readline(LONGEST_LINE)))
            schema = Schema(header.operation)
            records, failure = _plain(
                folder / f"{schema.records_name}{header.compression.suffix}", header.compression
            )
            entries = dict[str, dict[str, Entry]]()
            try:
                for result, entry in _checked(lines, records, schema):
                    if result.outcome.covered:
                        entries.setdefault(result.account_id, {})[result.region] = entry
            except OSError as error:
                failure = error
            if failure is not None and not entries:
                raise failure
            opened = True
            return cls(header, lines, records, entries, failure)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        finally:
            if not opened:
                _close(lines, records)

    def __len__(self) -> int:
        return sum(len(regions) for regions in self._entries.values())

    def find(self, account_id: str, region: str) -> Entry | None:
        """Return the entry of a target, or None."""
        return self._entries.get(account_id, {}).get(region)

    def begin(self, entry: Entry) -> tuple[TargetResult, bytes]:
        """Return the result of the target, and the first piece of its records."""
        line = os.pread(self._lines.fileno(), entry.line_size, entry.line)
        _, _, ledger_line = _parsed(line)
        return self._schema.decode_result(ledger_line), self.piece(entry, 0)

    def piece(self, entry: Entry, start: int) -> bytes:
        """Return the piece of the target's records that begins at byte `start`. Empty at their end."""
        left = entry.size - start
        piece = os.pread(self._records.fileno(), min(_PIECE, left), entry.offset + start)
        if left and not piece:
            raise ValueError("the records are cut off")
        return piece

    def close(self) -> None:
        """Close the files."""
        _close(self._lines, self._records)


def decode_header(line: bytes) -> JournalHeader:
    """Decode the first line of a journal, without its checksum. Raises `ValueError` for anything else."""
    content = loads(line)
    if not isinstance(content, dict):
        raise ValueError("the first line is no header")  # noqa: TRY004 - damage, like the rest
    asked = content.get("asked")
    if not isinstance(asked, dict):
        raise ValueError("the first line is no header")  # noqa: TRY004 - damage, like the rest
    return JournalHeader(
        snapshot_id=str(content.get("snapshot_id")),
        started_at=parse_rfc3339(str(content.get("started_at"))),
        compression=Compression(str(content.get("compression"))),
        operation=decode_operation(content.get("operation")),
        asked=asked,
    )


def _parsed(line: bytes) -> tuple[int, int, bytes]:
    size, checksum, ledger_line = unseal(line).split(b" ", 2)
    return int(size), int(checksum), ledger_line


def _close(*files: IO[bytes] | None) -> None:
    for each in files:
        # The files are only read, so an error while closing loses nothing.
        if each is not None:
            with suppress(OSError):
                each.close()


def _plain(file: Path, compression: Compression) -> tuple[IO[bytes], OSError | None]:
    """Return a file with the uncompressed records, and the error that ended the reading early, or None."""
    raw = open_file(file, buffering=0)
    if compression is Compression.NONE:
        return raw, None
    failure: OSError | None = None
    try:
        plain = tempfile.TemporaryFile(buffering=0, dir=file.parent)  # noqa: SIM115 - the journal's, which closes it
        try:
            for piece in pieces(raw, compression):
                plain.write(piece)
        except ValueError:
            # The file is cut off. `_checked` finds out which targets are missing.
            pass
        except OSError as error:
            failure = error
        return plain, failure
    finally:
        _close(raw)


def _checked(lines: IO[bytes], records: IO[bytes], schema: Schema) -> Iterator[tuple[TargetResult, Entry]]:
    """Yield the entries whose records match their checksums. Raises `OSError`."""
    records.seek(0)
    offset = 0
    while True:
        start = lines.tell()
        try:
            line = lines.readline(LONGEST_LINE)
            size, checksum, ledger_line = _parsed(line)
            result = schema.decode_result(ledger_line)
        except ValueError:
            # The end, or damage. Then it is unknown where the records of the following targets begin.
            return
        found, left = 0, size
        while left and (piece := records.read(min(_PIECE, left))):
            found = zlib.crc32(piece, found)
            left -= len(piece)
        if left:
            return
        if found == checksum:
            yield result, Entry(offset, size, start, len(line))
        offset += size
