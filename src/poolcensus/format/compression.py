"""Compresses the data files of a snapshot and reads them back, in pieces."""

from __future__ import annotations

import gzip
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol, cast

from poolcensus.model import Compression

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

# Records are so repetitive that the fast levels compress nearly as well as the slow ones.
_GZIP_LEVEL: Final = 4
_ZSTD_LEVEL: Final = 3
_GZIP_WINDOW: Final = zlib.MAX_WBITS | 16

_READ_BYTES: Final = 1 << 18
LONGEST_LINE: Final = 1 << 26
"""The longest line that is read, in bytes. A longer one is an error: the file is damaged."""


class Readable(Protocol):
    """A binary file that can be read."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and no bytes only at the end of the file."""


class Compressor(Protocol):
    """Compresses a stream of bytes, piece by piece."""

    def compress(self, data: bytes, /) -> bytes:
        """Take some bytes, and return the output that is ready."""

    def flush(self) -> bytes:
        """Return the rest of the output."""


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(compression: Compression) -> Compressor:
    """Return a new compressor. Its output has no time or file name, so equal data gives equal bytes."""
    match compression:
        case Compression.NONE:
            return _Plain()
        case Compression.GZIP:
            return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        case Compression.ZSTD:
            import zstandard  # noqa: PLC0415 - slow to import, and seldom needed

            return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()


def read_lines(raw: Readable, compression: Compression) -> Iterator[bytes]:
    """Yield the lines of a file that may be compressed. Each ends with a newline, except perhaps the last.

    Keeps one line and one piece of the file in memory. Raises `ValueError` if the file can't be decompressed,
    or a line is longer than `LONGEST_LINE`.
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
    """Return the number of newlines in a file that may be compressed.

    Stops after a piece of the file with which the number exceeds `most`. Raises the same errors as
    `read_lines`.
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
    """Yield the content of a file that may be compressed. Raises `ValueError` if it is damaged."""
    try:
        with _decompressed(raw, compression) as file:
            while piece := file.read(_READ_BYTES):
                yield piece
    except _damage(compression) as error:
        raise ValueError(str(error)) from error


def _decompressed(raw: Readable, compression: Compression) -> AbstractContextManager[Readable]:
    # Both decompressors only use the `read` method of their source.
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
    """Return the exceptions that decompressing a damaged file raises."""
    match compression:
        case Compression.NONE:
            return ()
        case Compression.GZIP:
            return gzip.BadGzipFile, EOFError, zlib.error
        case Compression.ZSTD:
            import zstandard  # noqa: PLC0415 - as above

            return (zstandard.ZstdError,)
