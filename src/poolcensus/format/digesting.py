"""What is read of a file, digested and counted on its way."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.format.compression import Readable


class Digesting:
    """Digests and counts what is read through it."""

    def __init__(self, raw: Readable) -> None:
        self._raw = raw
        self._sha256 = hashlib.sha256()
        self.bytes = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of what was read so far, in hexadecimal."""
        return self._sha256.hexdigest()

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none only at the end."""
        data = self._raw.read(size)
        self._sha256.update(data)
        self.bytes += len(data)
        return data
