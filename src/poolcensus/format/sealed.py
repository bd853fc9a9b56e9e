"""Lines that carry a checksum, so that one that was cut off or damaged is seen to be."""

from __future__ import annotations

import zlib


def seal(content: bytes) -> bytes:
    """Return a line with the CRC-32 of `content`, which ends with a line's end, before it."""
    return b"%08x %b" % (zlib.crc32(content), content)


def unseal(line: bytes) -> bytes:
    """Return the content of a line that `seal` made. Raises `ValueError` where it is damaged."""
    checksum, _, content = line.partition(b" ")
    if not content.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(content):
        raise ValueError("the line is damaged")
    return content
