"""TLS between a connection and its socket.

OpenSSL does all that TLS is, by way of `ssl.SSLObject`; this module carries bytes to it and from it.
asyncio's own layer keeps 256 KiB for each connection, and takes a census a tenth longer.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable


# More than a record of TLS, which holds 16 KiB and is decrypted as a whole; and not much more, since a
# MemoryBIO keeps the size that it has had.
_RECEIVED_AT_A_TIME = 32 * 1024


class Upper(Protocol):
    """What is above TLS. It is told what asyncio tells a protocol."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport to write to."""

    def data_received(self, data: memoryview) -> None:
        """Take what has come. Its memory is used again afterwards."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end."""


class Secured(asyncio.BufferedProtocol, asyncio.Transport):
    """TLS over a connection: the protocol of what is beneath, and the transport of what is above.

    `buffer` is what it receives into, and decrypts into afterwards, of 32 KiB or more: all connections of an
    event loop may share one. What is above ends where the connection beneath does, whether or not TLS has
    said goodbye: many servers don't. A reply that has no length of its own may have been cut off there, as it
    may be without TLS; its JSON or XML shows it.
    """

    def __init__(self, upper: Upper, context: ssl.SSLContext, host: str, buffer: memoryview) -> None:
        super().__init__()
        self._upper: Upper | None = upper
        self._buffer = buffer[:_RECEIVED_AT_A_TIME]
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        # Returns a number where it is given a buffer, which its type does not say.
        self._decrypt = cast("Callable[[int, memoryview], int]", self._tls.read)
        self._beneath: asyncio.Transport | None = None
        self._established = False
        self._handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def handshake(self) -> None:
        """Wait until what is above has its transport. Raises OSError, of which ssl.SSLError is one."""
        await self._handshake

    def write(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            # Where a server of TLS 1.2 is about to agree on new keys, too: a new connection is simpler.
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
        # Other loops have transports of their own, which are none of asyncio's classes.
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
            # The other side is told why it is refused.
            self._send()
            self._end(error)
            return
        # Its part of the handshake, or of the change to new keys.
        self._send()

    def _establish(self) -> None:
        # Whoever waited for it may have been cancelled: what is above then never had a connection.
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
            # To ask for more than there is costs an exception.
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
            # Whoever waits gets it; where nobody does any more, it is not worth a warning.
            self._handshake.exception()
