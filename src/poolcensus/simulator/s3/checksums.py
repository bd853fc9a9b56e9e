"""The checksums that S3 clients send, except CRC32C, which the standard library does not have."""

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
# Bytes. Computing the CRC64NVME of more would block the event loop for longer than a tenth of a second.
MAX_CRC64NVME = 1 << 20


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum in base64. A composite checksum ends with `-` and the number of parts."""

    algorithm: str
    value: str

    @property
    def kind(self) -> str:
        """The type of the checksum: of the whole object, or of the checksums of its parts."""
        return "COMPOSITE" if "-" in self.value else "FULL_OBJECT"

    def headers(self) -> Headers:
        """Return the headers with the checksum and its type."""
        return ((PREFIX + self.algorithm, self.value), ("x-amz-checksum-type", self.kind))

    def element(self) -> tuple[str, str]:
        """Return the XML element with the checksum."""
        return f"Checksum{self.algorithm.upper()}", self.value


_DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    _CRC64NVME: crc64nvme,
    "sha1": lambda data: sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: sha256(data).digest(),
}
HEADERS = frozenset(PREFIX + algorithm for algorithm in _DIGESTS)


def named(text: str | None) -> str | None:
    """Return the algorithm that a header names, in lower case.

    Raises S3Error if the algorithm is not simulated.
    """
    if text is not None and text.lower() not in _DIGESTS:
        raise S3Error("NotImplemented", f"The checksum algorithm {text} is not implemented")
    return None if text is None else text.lower()


def of(algorithm: str, data: bytes) -> Checksum:
    """Compute the checksum of a whole object.

    Raises S3Error if that takes too long for an object of this size.
    """
    if _is_slow(algorithm, data):
        raise S3Error("NotImplemented", f"{algorithm} is not computed of more than {MAX_CRC64NVME} bytes")
    return Checksum(algorithm, _encode(_DIGESTS[algorithm](data)))


def of_parts(algorithm: str, parts: Iterable[tuple[Checksum, int]]) -> Checksum:
    """Compute the checksum of a multipart object from the checksum and the size of each part.

    A CRC64NVME is the checksum of the whole object. The others are checksums of the parts' checksums.
    """
    if algorithm == _CRC64NVME:
        crc = 0
        for part, size in parts:
            crc = combine(crc, int.from_bytes(base64.b64decode(part.value)), size)
        return Checksum(algorithm, _encode(crc.to_bytes(8)))
    digests = [base64.b64decode(part.value) for part, _ in parts]
    return Checksum(algorithm, f"{of(algorithm, b''.join(digests)).value}-{len(digests)}")


def verify_body(headers: Mapping[str, str], body: bytes) -> Checksum | None:
    """Check the body against the length and the checksum in the headers, and return the checksum.

    The CRC64NVME of a large body is not checked.

    Raises S3Error if the body does not match the headers.
    """
    length = headers.get(LENGTH)
    if length is not None and length != str(len(body)):
        raise S3Error("IncompleteBody")
    # The trailers are among the headers.
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
    """Check the body against its MD5 in base64, if one is given.

    Raises S3Error if the body does not match.
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
