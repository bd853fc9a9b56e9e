"""The head of a reply in HTTP/1.1 and HTTP/1.0."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from poolcensus.simulator.http import S3_HOST_ID, S3_REQUEST_ID

if TYPE_CHECKING:
    from poolcensus.simulator.http import Headers, Message

BODILESS = frozenset({204, 304})
_REASONS = {status.value: status.phrase for status in HTTPStatus}


def reply_head(message: Message, status: int, headers: Headers, length: int | None, date: str) -> bytes:
    """Return the head of the reply to a message.

    Without a `length` the body is sent in chunks. For an HTTP/1.0 client it ends with the connection.
    """
    lines = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\n"
        f"{message.request_id_header}: {message.request_id}\r\n"
        f"Date: {date}\r\n"
    )
    if message.request_id_header == S3_REQUEST_ID:
        lines += f"x-amz-id-2: {S3_HOST_ID}\r\n"
    for name, value in headers:
        lines += f"{name}: {value}\r\n"
    if length is not None:
        if status not in BODILESS:
            lines += f"Content-Length: {length}\r\n"
    elif not message.is_http10:
        lines += "Transfer-Encoding: chunked\r\n"
    if not message.keep_alive:
        lines += "Connection: close\r\n"
    elif message.is_http10:
        lines += "Connection: keep-alive\r\n"
    return (lines + "\r\n").encode("latin-1")
