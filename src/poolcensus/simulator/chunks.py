"""The aws-chunked encoding, in which S3 clients stream what they can't hash beforehand.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.unauthenticated import mismatch

# Eight digits are 4 GiB, more than a body may have.
_HEAD = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;chunk-signature=([0-9a-f]{64}))?")
_SIGNATURE = "x-amz-trailer-signature"
_EMPTY_DIGEST = sha256(b"").hexdigest()


class Chain:
    """The signatures of chunks, each of which is made with the one before. `scope` has the date, too."""

    def __init__(self, key: bytes, scope: str, seed: str) -> None:
        self._key = key
        self._scope = scope
        self._last = seed

    def check_chunk(self, data: bytes, signature: str) -> None:
        """Check the signature of the next chunk.

        Raises RefusalError: it is not the key's.
        """
        self._check("PAYLOAD", f"{_EMPTY_DIGEST}\n{sha256(data).hexdigest()}", signature)

    def check_trailers(self, trailers: dict[str, str]) -> None:
        """Check the signature that the trailers bring with them, after the last chunk.

        Raises RefusalError: it is not the key's.
        """
        lines = "".join(f"{name}:{value}\n" for name, value in trailers.items() if name != _SIGNATURE)
        if lines:
            digest = sha256(lines.encode("latin-1")).hexdigest()
            self._check("TRAILER", digest, trailers.get(_SIGNATURE, ""))

    def _check(self, what: str, digest: str, signature: str) -> None:
        text = f"AWS4-HMAC-SHA256-{what}\n{self._scope}\n{self._last}\n{digest}"
        expected = hmac.digest(self._key, text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise mismatch("s3")
        self._last = expected


def decode_chunks(body: bytes, chain: Chain | None) -> tuple[bytes, dict[str, str]]:
    """Return what an aws-chunked body carries, without the chunks' signatures, and its trailers.

    Raises RefusalError: it is not aws-chunked, or a signature is not good.
    """
    parts: list[bytes] = []
    position = 0
    while True:
        end = body.find(b"\r\n", position)
        head = _HEAD.fullmatch(body[position:end]) if end >= 0 else None
        if head is None:
            raise RefusalError(400, "IncompleteBody", "The body is not aws-chunked.")
        start, size = end + 2, int(head[1], 16)
        data = body[start : start + size]
        if chain is not None:
            chain.check_chunk(data, (head[2] or b"").decode())
        if size == 0:
            trailers = _trailers(body[start:])
            if chain is not None:
                chain.check_trailers(trailers)
            return b"".join(parts), trailers
        if body[start + size : start + size + 2] != b"\r\n":
            raise RefusalError(400, "IncompleteBody", "A chunk is shorter than it says.")
        parts.append(data)
        position = start + size + 2


def _trailers(tail: bytes) -> dict[str, str]:
    trailers = {}
    for line in tail.split(b"\r\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            trailers[name.strip().lower()] = value.strip()
            if "\r" in value.strip() or "\n" in value.strip():
                raise RefusalError(400, "MalformedTrailerError", "A trailer has more than one line.")
    return trailers
