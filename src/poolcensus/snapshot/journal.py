"""What an interrupted run leaves for the next one: which targets were done, and where their records are.

The journal lies beside the data files of a draft. Its first line says what the run was asked for; every
other line is a line of the ledger, with how many bytes the target's records have in pools.ndjson, where
they follow each other in the order of these lines. Both carry checksums. So it may be cut off at any byte,
or run ahead of the records: what does not match is not taken over, and is called again.
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
    """What a run was asked for, as far as its targets and their records depend on it.

    `asked` is everything that has to be the same in a run that goes on.
    """

    snapshot_id: str
    started_at: datetime
    compression: Compression
    operation: OperationInfo
    asked: JsonObject


class Entry(NamedTuple):
    """Where a finished target's records are in their file, uncompressed, and its line in the journal."""

    offset: int
    size: int
    line: int
    line_size: int


def encode_header(header: JournalHeader) -> bytes:
    """Return the first line of a journal."""
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
    """Return the journal's line for a target: its ledger line, and the size and CRC-32 of its records."""
    return seal(b"%d %d " % (size, checksum) + ledger_line)


class Journal:
    """The finished targets of one interrupted run, checked when it is opened. Everything here blocks.

    What reads an entry may be called in several threads at a time. It raises `OSError` or `ValueError` where
    that can't be read any more.

    `failure` is what the system said where it refused to read on, behind the entries that there are.
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
        """Return the journal of a draft, with its targets that are covered and whose records are there.

        None where there is no journal, or it is damaged. Raises `OSError` where it, or the file of records,
        can't be read.
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
        """Return the entry of a target that is to be taken over."""
        return self._entries.get(account_id, {}).get(region)

    def begin(self, entry: Entry) -> tuple[TargetResult, bytes]:
        """Return how the target ended, and the first piece of its records."""
        line = os.pread(self._lines.fileno(), entry.line_size, entry.line)
        _, _, ledger_line = _parsed(line)
        return self._schema.decode_result(ledger_line), self.piece(entry, 0)

    def piece(self, entry: Entry, start: int) -> bytes:
        """Return a piece of the target's records from `start` on, in bytes; nothing at their end."""
        left = entry.size - start
        piece = os.pread(self._records.fileno(), min(_PIECE, left), entry.offset + start)
        if left and not piece:
            raise ValueError("the records are cut off")
        return piece

    def close(self) -> None:
        """Let go of the files."""
        _close(self._lines, self._records)


def decode_header(line: bytes) -> JournalHeader:
    """Return what a journal's first line says, its checksum taken off. Raises `ValueError` for all else."""
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
        # They are only read: no failure of a close loses anything.
        if each is not None:
            with suppress(OSError):
                each.close()


def _plain(file: Path, compression: Compression) -> tuple[IO[bytes], OSError | None]:
    """Return the records as they are before compression, as far as they can be read, and why no further."""
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
            # Cut off: what is missing is found out line by line.
            pass
        except OSError as error:
            failure = error
        return plain, failure
    finally:
        _close(raw)


def _checked(lines: IO[bytes], records: IO[bytes], schema: Schema) -> Iterator[tuple[TargetResult, Entry]]:
    """Yield the entries whose records are there. Raises `OSError`."""
    records.seek(0)
    offset = 0
    while True:
        start = lines.tell()
        try:
            line = lines.readline(LONGEST_LINE)
            size, checksum, ledger_line = _parsed(line)
            result = schema.decode_result(ledger_line)
        except ValueError:
            # The end, or damage: where the records of what follows begin is not known then.
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
