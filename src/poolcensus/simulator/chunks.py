"""The aws-chunked encoding, in which S3 clients stream what they can't hash beforehand."""

from __future__ import annotations

from poolcensus.simulator.refusal import RefusalError


def decode_chunks(body: bytes) -> tuple[bytes, dict[str, str]]:
    """Return what an aws-chunked body carries, without the chunks' signatures, and its trailers.

    Raises RefusalError: it is not aws-chunked.
    """
    parts: list[bytes] = []
    position = 0
    while True:
        end = body.find(b"\r\n", position)
        size_text = body[position:end].split(b";", 1)[0] if end >= 0 else b""
        try:
            size = int(size_text, 16)
        except ValueError:
            raise RefusalError(400, "IncompleteBody", "The body is not aws-chunked.") from None
        if size == 0:
            return b"".join(parts), _trailers(body[end + 2 :])
        start = end + 2
        if body[start + size : start + size + 2] != b"\r\n":
            raise RefusalError(400, "IncompleteBody", "A chunk is shorter than it says.")
        parts.append(body[start : start + size])
        position = start + size + 2


def _trailers(tail: bytes) -> dict[str, str]:
    trailers = {}
    for line in tail.split(b"\r\n"):
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            trailers[name.strip().lower()] = value.strip()
    return trailers
