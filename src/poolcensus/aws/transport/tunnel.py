"""The HTTP CONNECT handshake with a proxy."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import cast
from urllib.parse import unquote, urlsplit

from poolcensus.errors import NoReply, UnreachableError

_LARGEST_ANSWER = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


class Tunnel(asyncio.Protocol):
    """A connection to a proxy that becomes a tunnel to `origin`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._transport: asyncio.Transport | None = None
        self._answer = bytearray()
        self._answered: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def open(self, request: bytes) -> asyncio.Transport:
        """Send a CONNECT request, and return the transport to start TLS on. Raises UnreachableError."""
        transport = self._transport
        if transport is not None:
            transport.write(request)
        # Anything that came before the request counts as the answer, too.
        status = await self._answered
        if status != 200:
            raise self._failed(f"the proxy refused the connection with status {status}", status)
        if transport is None or transport.is_closing():
            raise self._failed("the proxy closed the connection")
        return transport

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transports of other event loops are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes | memoryview) -> None:
        self._answer += data
        if self._answered.done():
            return
        if b"\r\n\r\n" in self._answer:
            status = _STATUS_LINE.match(self._answer)
            if status is None:
                self._fail("the proxy's answer is not HTTP")
            else:
                self._answered.set_result(int(status[1]))
        elif len(self._answer) > _LARGEST_ANSWER:
            self._fail("the proxy's answer is too long")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        if not self._answered.done():
            self._fail("the proxy closed the connection")

    def _fail(self, why: str) -> None:
        self._answered.set_exception(self._failed(why))
        # Retrieve it, so that asyncio does not warn if nothing waits for it any more.
        self._answered.exception()

    def _failed(self, why: str, status: int | None = None) -> UnreachableError:
        return UnreachableError(f"no answer from {self._origin}: {why}", code=NoReply.PROXY, status=status)


def proxy_authorization(proxy: str) -> str:
    """Return the header line with the credentials in a proxy's URL, or an empty string if it has none."""
    value = basic_credentials(proxy)
    return "" if value is None else f"proxy-authorization: {value}\r\n"


def basic_credentials(proxy: str) -> str | None:
    """Return the header value for the credentials in a proxy's URL, or None if it has none."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"
