"""The checksums that S3 knows: computing them, checking what a client states, combining those of parts."""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from hashlib import md5, sha1, sha256
from typing import TYPE_CHECKING, Literal, TypeAlias

from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from poolcensus.simulator.http import Headers

Kind: TypeAlias = Literal["FULL_OBJECT", "COMPOSITE"]

PREFIX = "x-amz-checksum-"
_LANES = 1 << 16


@dataclass(frozen=True, slots=True)
class Checksum:
    """A checksum in base64; that of a composite kind ends in `-` and the number of parts."""

    algorithm: str
    value: str
    kind: Kind = "FULL_OBJECT"

    def headers(self) -> Headers:
        """Return the headers that state it."""
        return ((PREFIX + self.algorithm, self.value), ("x-amz-checksum-type", self.kind))

    def element(self) -> tuple[str, str]:
        """Return the element that states it."""
        return f"Checksum{self.algorithm.upper()}", self.value


class _Crc:
    """A reflected CRC that the standard library lacks, eight bytes a step: a part can be 8 MiB and more."""

    def __init__(self, width: int, polynomial: int) -> None:
        self._ones = (1 << width) - 1
        self._size = width // 8
        byte = list(range(256))
        for _ in range(8):
            byte = [(value >> 1) ^ (polynomial if value & 1 else 0) for value in byte]
        self._byte = byte
        half = [(value >> 8) ^ byte[value & 0xFF] for value in range(_LANES)]
        last = [(value >> 8) ^ byte[value & 0xFF] for value in half]
        lanes = [last]
        while len(lanes) < 4:
            lanes.append([(value >> 16) ^ last[value & 0xFFFF] for value in lanes[-1]])
        self._lanes = lanes

    def digest(self, data: bytes) -> bytes:
        """Return the CRC in network order."""
        last, third, second, first = self._lanes
        crc = self._ones
        whole = len(data) & ~7
        for (word,) in struct.iter_unpack("<Q", memoryview(data)[:whole]):
            mixed = crc ^ word
            crc = (
                first[mixed & 0xFFFF]
                ^ second[mixed >> 16 & 0xFFFF]
                ^ third[mixed >> 32 & 0xFFFF]
                ^ last[mixed >> 48]
            )
        for value in data[whole:]:
            crc = (crc >> 8) ^ self._byte[(crc ^ value) & 0xFF]
        return (crc ^ self._ones).to_bytes(self._size, "big")


@cache
def _crc32c() -> _Crc:
    return _Crc(32, 0x82F63B78)


@cache
def _crc64nvme() -> _Crc:
    return _Crc(64, 0x9A6C9329AC4BC9B5)


_DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "crc32c": lambda data: _crc32c().digest(data),
    "crc64nvme": lambda data: _crc64nvme().digest(data),
    "sha1": lambda data: sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: sha256(data).digest(),
}
_KINDS: dict[str, tuple[Kind, ...]] = {
    "crc32": ("COMPOSITE", "FULL_OBJECT"),
    "crc32c": ("COMPOSITE", "FULL_OBJECT"),
    "crc64nvme": ("FULL_OBJECT",),
    "sha1": ("COMPOSITE",),
    "sha256": ("COMPOSITE",),
}
HEADERS = frozenset(PREFIX + algorithm for algorithm in _DIGESTS)
ELEMENTS = frozenset(f"Checksum{algorithm.upper()}" for algorithm in _DIGESTS)


def named(text: str | None) -> str | None:
    """Return the algorithm that a header names.

    Raises:
        S3Error: it names none that is known.
    """
    if text is None:
        return None
    if text.lower() not in _DIGESTS:
        raise S3Error("InvalidRequest", "Checksum algorithm provided is unsupported.")
    return text.lower()


def kind_for(algorithm: str, asked: str | None) -> Kind:
    """Return the kind of checksum that a multipart upload gets.

    Raises:
        S3Error: the algorithm has no checksum of the kind that was asked for.
    """
    kinds = _KINDS[algorithm]
    for kind in kinds:
        if asked in (None, kind):
            return kind
    raise S3Error(
        "InvalidRequest",
        f"The {asked} checksum type cannot be used with the {algorithm} checksum algorithm.",
    )


def of(algorithm: str, data: bytes) -> Checksum:
    """Compute the checksum of a whole object."""
    return Checksum(algorithm, _encode(_DIGESTS[algorithm](data)))


def composite(algorithm: str, parts: Iterable[Checksum]) -> Checksum:
    """Compute the checksum of the parts' checksums."""
    digests = [base64.b64decode(part.value) for part in parts]
    value = _encode(_DIGESTS[algorithm](b"".join(digests)))
    return Checksum(algorithm, f"{value}-{len(digests)}", "COMPOSITE")


def stated(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the algorithm and the value of the checksum header, if there is one.

    Raises:
        S3Error: there are several.
    """
    found = [(name.removeprefix(PREFIX), headers[name]) for name in sorted(HEADERS & headers.keys())]
    if len(found) > 1:
        raise S3Error(
            "InvalidRequest",
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        )
    return found[0] if found else None


def verify_body(headers: Mapping[str, str], body: bytes) -> Checksum | None:
    """Check the body against Content-MD5 and the checksum header, and return the checksum.

    A checksum announced as a trailer that did not arrive is computed, so that the reply states it.

    Raises:
        S3Error: the body is not what the client says it sent.
    """
    length = headers.get("x-amz-decoded-content-length")
    if length is not None and length != str(len(body)):
        raise S3Error("IncompleteBody")
    _verify_md5(headers.get("content-md5"), body)
    found = stated(headers)
    if found is None:
        trailer = headers.get("x-amz-trailer", "").strip().lower()
        return of(trailer.removeprefix(PREFIX), body) if trailer in HEADERS else None
    algorithm, value = found
    checksum = of(algorithm, body)
    if not _is_digest(value, algorithm):
        raise S3Error("InvalidRequest", f"Value for {PREFIX}{algorithm} header is invalid.")
    if checksum.value != value:
        raise S3Error("BadDigest", f"The {algorithm.upper()} you specified did not match what we received.")
    return checksum


def _verify_md5(value: str | None, body: bytes) -> None:
    if value is None:
        return
    digest = md5(body, usedforsecurity=False).digest()
    try:
        expected = base64.b64decode(value, validate=True)
    except binascii.Error:
        raise S3Error("InvalidDigest") from None
    if len(expected) != len(digest):
        raise S3Error("InvalidDigest")
    if expected != digest:
        raise S3Error("BadDigest", ExpectedDigest=value, CalculatedDigest=_encode(digest))


def _is_digest(value: str, algorithm: str) -> bool:
    try:
        return len(base64.b64decode(value, validate=True)) == len(_DIGESTS[algorithm](b""))
    except binascii.Error:
        return False


def _encode(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
