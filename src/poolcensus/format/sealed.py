"""Lines with a checksum, so that a truncated or damaged line is recognized."""

from __future__ import annotations

import zlib


def seal(content: bytes) -> bytes:
    """Return `content`, which ends with a newline, with its CRC-32 in front."""
    return b"%08x %b" % (zlib.crc32(content), content)


def unseal(line: bytes) -> bytes:
    """Return the content of a line that `seal` made. Raises `ValueError` if it is damaged."""
    checksum, _, content = line.partition(b" ")
    if not content.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(content):
        raise ValueError("the line is damaged")
    return content
