"""TLS between a connection and its socket.

OpenSSL does the work, through `ssl.SSLObject`. This module only passes bytes to it and from it. asyncio's own
TLS layer keeps 256 KiB for each connection, and makes a census a tenth slower.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable


# More than a TLS record, which has up to 16 KiB and is decrypted as a whole. Not much more, since a MemoryBIO
# never shrinks.
_RECEIVED_AT_A_TIME = 32 * 1024


class Upper(Protocol):
    """The protocol above TLS. Its methods are called as those of an asyncio protocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport to write to."""

    def data_received(self, data: memoryview) -> None:
        """Take received data. The buffer is reused after the call."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection."""


class Secured(asyncio.BufferedProtocol, asyncio.Transport):
    """TLS over a connection: a protocol for the transport beneath, and a transport for the protocol above.

    `buffer`, of 32 KiB or more, is used to receive and then to decrypt. All connections of an event loop may
    share one. The upper protocol's connection ends with the one beneath, even without a close_notify of TLS,
    which many servers don't send. A reply without a length may have been truncated then, as without TLS. Its
    JSON or XML is incomplete in that case.
    """

    def __init__(self, upper: Upper, context: ssl.SSLContext, host: str, buffer: memoryview) -> None:
        super().__init__()
        self._upper: Upper | None = upper
        self._buffer = buffer[:_RECEIVED_AT_A_TIME]
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        # It returns a number if it gets a buffer, which its type does not say.
        self._decrypt = cast("Callable[[int, memoryview], int]", self._tls.read)
        self._beneath: asyncio.Transport | None = None
        self._established = False
        self._handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handshake(self) -> None:
        """Wait for the end of the TLS handshake. Raises OSError, of which ssl.SSLError is a subclass."""
        await self._handshake

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            # A TLS 1.2 server that renegotiates also causes this. A new connection is simpler than handling
            # it.
            self._end(error)
        else:
            self._send()

    def abort(self) -> None:
        if self._beneath is not None:
            self._beneath.abort()

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default if self._beneath is None else self._beneath.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._beneath is None or self._beneath.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._upper = cast("Upper", protocol)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transports of other event loops are not subclasses of asyncio's.
        self._beneath = cast("asyncio.Transport", transport)
        self._advance()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's interface
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._buffer[:nbytes])

    def data_received(self, data: memoryview) -> None:
        self._received.write(data)
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        self._beneath = None
        self._end(exc)

    def _advance(self) -> None:
        try:
            if not self._established:
                self._tls.do_handshake()
                self._establish()
            self._deliver()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            # Send the alert that tells the other side the reason.
            self._send()
            self._end(error)
            return
        # Send this side's part of the handshake, or of a key update.
        self._send()

    def _establish(self) -> None:
        # If the waiting caller was cancelled, the upper protocol never gets a connection.
        upper = None if self._handshake.done() else self._upper
        self._established, self._upper = True, upper
        if upper is not None:
            upper.connection_made(self)
            self._handshake.set_result(None)

    def _deliver(self) -> None:
        while self._upper is not None:
            size = self._decrypt(len(self._buffer), self._buffer)
            if not size:
                self._end(None)
                return
            self._upper.data_received(self._buffer[:size])
            # Reading without pending data would raise an exception, which costs time.
            if not self._received.pending:
                return

    def _send(self) -> None:
        if self._beneath is not None and (data := self._to_send.read()):
            self._beneath.write(data)

    def _end(self, error: Exception | None) -> None:
        self.abort()
        upper, self._upper = self._upper, None
        if self._established:
            if upper is not None:
                upper.connection_lost(error)
        elif not self._handshake.done():
            self._handshake.set_exception(
                error or ConnectionResetError("it closed the connection in the TLS handshake")
            )
            # Retrieve it, so that asyncio does not warn if nothing waits for it any more.
            self._handshake.exception()
