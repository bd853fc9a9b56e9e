"""Packs a data file: compresses its content, and digests and counts the result."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, TypeAlias

from poolcensus.format.compression import compressor
from poolcensus.model import FileEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.model import Compression


class Block(Protocol):
    """Bytes that are kept elsewhere, such as in a spill file, until they are packed."""

    def read(self) -> bytes:
        """Return the bytes. Blocks."""


Segment: TypeAlias = "bytes | Block"
"""Consecutive bytes of a data file."""


def joined(segments: Iterable[Segment]) -> bytes:
    """Return the bytes of all segments. Blocks."""
    return b"".join([each if isinstance(each, bytes) else each.read() for each in segments])


class Packer:
    """Compresses the content of the file `name`, and counts and digests the compressed bytes.

    The returned bytes have to be written to the file in order. All methods block.
    """

    def __init__(self, name: str, compression: Compression) -> None:
        self._name = name
        self._compressor = compressor(compression)
        self._digest = hashlib.sha256()
        self._bytes = 0

    def pack(self, segments: Iterable[Segment]) -> bytes:
        """Return the bytes to append for `segments`."""
        return self._count(self._compressor.compress(joined(segments)))

    def finish(self) -> bytes:
        """Return the bytes to append at the end."""
        return self._count(self._compressor.flush())

    def entry(self, records: int) -> FileEntry:
        """Return the manifest's entry for the file, which has this number of records."""
        return FileEntry(self._name, self._bytes, records, self._digest.hexdigest())

    def _count(self, packed: bytes) -> bytes:
        self._digest.update(packed)
        self._bytes += len(packed)
        return packed
