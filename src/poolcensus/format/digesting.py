"""A file that digests what is read from it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.format.compression import Readable


class Digesting:
    """Wraps a file: digests and counts the bytes that are read through it."""

    def __init__(self, raw: Readable) -> None:
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes read so far, in hexadecimal."""
        return self._sha256.hexdigest()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and no bytes only at the end of the file."""
        data = self._raw.read(size)
        self._sha256.update(data)
        self.bytes += len(data)
        return data
