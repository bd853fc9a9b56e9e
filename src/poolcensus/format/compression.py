"""Compressing the data files of a snapshot and reading them back, a piece at a time."""

from __future__ import annotations

import gzip
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from poolcensus.model import Compression

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

# Records repeat themselves so much that the faster levels lose little.
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3
_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16

_READ_BYTES: Final = 1 << 18
LONGEST_LINE: Final = 1 << 26
"""A line of more bytes than this is taken for damage, not read into memory."""


class Readable(Protocol):
    """A binary file, as far as it is needed here."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none only at the end."""
        ...


class Compressor(Protocol):
    """Takes bytes in pieces and gives them back compressed, in pieces of its own choice."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is ready of the output."""
        ...

    def flush(self) -> bytes:
        """Return the rest of the output."""
        ...


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(compression: Compression) -> Compressor:
    """Return a fresh compressor. The same data gives the same bytes: no header carries a time or a name."""
    match compression:
        case Compression.NONE:
            return _Plain()
        case Compression.GZIP:
            return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        case Compression.ZSTD:
            import zstandard  # noqa: PLC0415 - takes longer to load than all else here, and is seldom needed

            return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()


def read_lines(raw: Readable, compression: Compression) -> Iterator[bytes]:
    """Yield the lines of a file that may be compressed, each with its end, which the last may lack.

    Holds one line and one piece of the file in memory. Raises `ValueError` for a file that can't be
    decompressed, and for a line longer than `LONGEST_LINE`.
    """
    rest: list[bytes] = []
    length = 0
    for piece in pieces(raw, compression):
        head, newline, tail = piece.partition(b"\n")
        if not newline:
            rest.append(piece)
            length += len(piece)
            _check_length(length)
            continue
        yield b"".join((*rest, head, newline))
        lines = tail.split(b"\n")
        last = lines.pop()
        for line in lines:
            yield line + b"\n"
        rest, length = [last], len(last)
    if length:
        yield b"".join(rest)


def count_lines(raw: Readable, compression: Compression, most: int) -> int:
    """Return how many lines of a file that may be compressed have an end.

    Reads no further than to more than `most` of them. Raises what `read_lines` raises.
    """
    lines = length = 0
    for piece in pieces(raw, compression):
        lines += piece.count(b"\n")
        if lines > most:
            break
        length = len(piece) - 1 - end if (end := piece.rfind(b"\n")) >= 0 else length + len(piece)
        _check_length(length)
    return lines


def _check_length(length: int) -> None:
    if length > LONGEST_LINE:
        raise ValueError(f"a line is longer than {LONGEST_LINE} bytes")


def pieces(raw: Readable, compression: Compression) -> Iterator[bytes]:
    """Yield the content of a file that may be compressed. Raises `ValueError` where it is damaged."""
    try:
        with _decompressed(raw, compression) as file:
            while piece := file.read(_READ_BYTES):
                yield piece
    except _damage(compression) as error:
        raise ValueError(str(error)) from error


def _decompressed(raw: Readable, compression: Compression) -> AbstractContextManager[Readable]:
    # All that either decompressor asks of a source is to be read.
    source = cast("BinaryIO", raw)
    match compression:
        case Compression.NONE:
            return nullcontext(raw)
        case Compression.GZIP:
            return gzip.GzipFile(fileobj=source, mode="rb")
        case Compression.ZSTD:
            import zstandard  # noqa: PLC0415 - as above

            return zstandard.ZstdDecompressor().stream_reader(source, closefd=False)


def _damage(compression: Compression) -> tuple[type[Exception], ...]:
    """Return what decompressing a damaged file raises."""
    match compression:
        case Compression.NONE:
            return ()
        case Compression.GZIP:
            return gzip.BadGzipFile, EOFError, zlib.error
        case Compression.ZSTD:
            import zstandard  # noqa: PLC0415 - as above

            return (zstandard.ZstdError,)
