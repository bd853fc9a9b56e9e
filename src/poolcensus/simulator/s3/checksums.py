"""The checksums that clients of S3 send, but for CRC32C, which the standard library has not."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from hashlib import md5, sha1, sha256
from typing import TYPE_CHECKING

from poolcensus.simulator.s3.crc64nvme import combine, crc64nvme
from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from poolcensus.simulator.http import Headers

PREFIX = "x-amz-checksum-"
ALGORITHM = f"{PREFIX}algorithm"
LENGTH = "x-amz-decoded-content-length"
_CRC64NVME = "crc64nvme"
# A CRC64NVME of more would keep the other clients waiting for longer than a tenth of a second.
MAX_CRC64NVME = 1 << 20


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


_DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    _CRC64NVME: crc64nvme,
    "sha1": lambda data: sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: sha256(data).digest(),
}
HEADERS = frozenset(PREFIX + algorithm for algorithm in _DIGESTS)


def named(text: str | None) -> str | None:
    """Return the algorithm that a header names.

    Raises S3Error: it names none that is simulated.
    """
    if text is not None and text.lower() not in _DIGESTS:
        raise S3Error("NotImplemented", f"The checksum algorithm {text} is not implemented")
    return None if text is None else text.lower()


def of(algorithm: str, data: bytes) -> Checksum:
    """Compute the checksum of a whole object.

    Raises S3Error: it is one that takes too long for an object of this size.
    """
    if _is_slow(algorithm, data):
        raise S3Error("NotImplemented", f"{algorithm} is not computed of more than {MAX_CRC64NVME} bytes")
    return Checksum(algorithm, _encode(_DIGESTS[algorithm](data)))


def of_parts(algorithm: str, parts: Iterable[tuple[Checksum, int]]) -> Checksum:
    """Compute the checksum of an object that came in parts, of the checksum and the size of each.

    That of CRC64NVME is the checksum of the whole object; the others are checksums of the checksums.
    """
    if algorithm == _CRC64NVME:
        crc = 0
        for part, size in parts:
            crc = combine(crc, int.from_bytes(base64.b64decode(part.value)), size)
        return Checksum(algorithm, _encode(crc.to_bytes(8)))
    digests = [base64.b64decode(part.value) for part, _ in parts]
    return Checksum(algorithm, f"{of(algorithm, b''.join(digests)).value}-{len(digests)}")


def verify_body(headers: Mapping[str, str], body: bytes) -> Checksum | None:
    """Check the body against its length and its checksum in the headers, and return the checksum.

    A CRC64NVME of a large body is taken as it is stated.

    Raises S3Error: the body is not what the client says it sent.
    """
    length = headers.get(LENGTH)
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
    algorithm = found[0].removeprefix(PREFIX)
    if _is_slow(algorithm, body):
        return _stated(found[0], headers[found[0]])
    checksum = of(algorithm, body)
    if checksum.value != headers[found[0]]:
        raise S3Error("BadDigest")
    return checksum


def _is_slow(algorithm: str, data: bytes) -> bool:
    return algorithm == _CRC64NVME and len(data) > MAX_CRC64NVME


def _stated(name: str, value: str) -> Checksum:
    try:
        size = len(base64.b64decode(value, validate=True))
    except ValueError:
        size = 0
    if size != 8:
        raise S3Error("InvalidRequest", f"Value for {name} header is invalid.")
    return Checksum(name.removeprefix(PREFIX), value)


def verify_md5(stated: str | None, body: bytes) -> None:
    """Check the body against its MD5, if it is stated.

    Raises S3Error: the body is not what the client says it sent.
    """
    if stated is None:
        return
    try:
        digest = base64.b64decode(stated, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != 16:
        raise S3Error("InvalidDigest")
    if digest != md5(body, usedforsecurity=False).digest():
        raise S3Error("BadDigest", "The Content-MD5 you specified did not match what we received.")


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
