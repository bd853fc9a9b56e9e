"""The checksums that clients of S3 send by themselves: CRC32, and the AWS CLI's CRC64NVME."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from poolcensus.simulator.http import Headers

PREFIX = "x-amz-checksum-"
_POLYNOMIAL = 0x9A6C9329AC4BC9B5
_ONES = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum in base64; that of parts' checksums ends in `-` and the number of parts."""

    algorithm: str
    value: str

    @property
    def kind(self) -> str:
        """What it is the checksum of."""
        return "COMPOSITE" if "-" in self.value else "FULL_OBJECT"

    def headers(self) -> Headers:
        """Return the headers that state it."""
        return ((PREFIX + self.algorithm, self.value), ("x-amz-checksum-type", self.kind))

    def element(self) -> tuple[str, str]:
        """Return the element that states it."""
        return f"Checksum{self.algorithm.upper()}", self.value


@cache
def _crc64_table() -> list[int]:
    table = list(range(1 << 16))
    for _ in range(16):
        table = [(value >> 1) ^ (_POLYNOMIAL if value & 1 else 0) for value in table]
    return table


def _crc64nvme(data: bytes) -> bytes:
    # The standard library has no such CRC. Two bytes a step: a part can be 8 MiB and more.
    table, crc = _crc64_table(), _ONES
    whole = len(data) & ~1
    for low, high in zip(data[:whole:2], data[1:whole:2], strict=True):
        crc = (crc >> 16) ^ table[(crc ^ low ^ high << 8) & 0xFFFF]
    for value in data[whole:]:
        crc ^= value
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
    return (crc ^ _ONES).to_bytes(8, "big")


_DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc64nvme": _crc64nvme,
}
HEADERS = frozenset(PREFIX + algorithm for algorithm in _DIGESTS)


def named(text: str | None) -> str | None:
    """Return the algorithm that a header names.

    Raises:
        S3Error: it names none that is simulated.
    """
    if text is not None and text.lower() not in _DIGESTS:
        raise S3Error("NotImplemented", f"The checksum algorithm {text} is not implemented")
    return None if text is None else text.lower()


def of(algorithm: str, data: bytes) -> Checksum:
    """Compute the checksum of a whole object."""
    return Checksum(algorithm, _encode(_DIGESTS[algorithm](data)))


def of_parts(algorithm: str, body: bytes, parts: Iterable[Checksum]) -> Checksum:
    """Compute the checksum of an object that came in parts. CRC64NVME has none of the parts' checksums."""
    if algorithm == "crc64nvme":
        return of(algorithm, body)
    digests = [base64.b64decode(part.value) for part in parts]
    return Checksum(algorithm, f"{of(algorithm, b''.join(digests)).value}-{len(digests)}")


def verify_body(headers: Mapping[str, str], body: bytes) -> Checksum | None:
    """Check the body against the checksum header, and return the checksum.

    Raises:
        S3Error: the body is not what the client says it sent.
    """
    length = headers.get("x-amz-decoded-content-length")
    if length is not None and length != str(len(body)):
        raise S3Error("IncompleteBody")
    # What came as a trailer is among the headers.
    if any(
        name.strip() not in headers for name in headers.get("x-amz-trailer", "").lower().split(",") if name
    ):
        raise S3Error("MalformedTrailerError")
    found = sorted(HEADERS & headers.keys())
    if len(found) > 1:
        raise S3Error("InvalidRequest", "Expecting a single x-amz-checksum- header.")
    if not found:
        return None
    checksum = of(found[0].removeprefix(PREFIX), body)
    if checksum.value != headers[found[0]]:
        raise S3Error("BadDigest")
    return checksum


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
