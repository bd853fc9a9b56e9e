"""The aws-chunked encoding, in which S3 clients send a body that they can't hash beforehand.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256

from poolcensus.simulator.refusal import RefusalError
from poolcensus.simulator.unauthenticated import mismatch

# Eight hexadecimal digits allow 4 GiB, more than the largest body that is accepted.
_HEAD = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;chunk-signature=([0-9a-f]{64}))?")
_SIGNATURE = "x-amz-trailer-signature"
_EMPTY_DIGEST = sha256(b"").hexdigest()


class Chain:
    """The chain of chunk signatures: each depends on the one before. `scope` begins with the timestamp.

    `seed` is the signature of the request.
    """

    def __init__(self, key: bytes, scope: str, seed: str) -> None:
        self._key = key
        self._scope = scope
        self._last = seed

    def check_chunk(self, data: bytes, signature: str) -> None:
        """Check the signature of the next chunk.

        Raises RefusalError if it does not match.
        """
        self._check("PAYLOAD", f"{_EMPTY_DIGEST}\n{sha256(data).hexdigest()}", signature)

    def check_trailers(self, trailers: dict[str, str]) -> None:
        """Check the signature among the trailers, after the last chunk.

        Raises RefusalError if it does not match.
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
    """Decode an aws-chunked body, and return its content and its trailers. `chain` checks the signatures.

    Raises RefusalError if the body is not aws-chunked, or if a signature does not match.
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
