"""An HTTP/1.1 connection: a request, then its reply, then perhaps the next request.

A census makes thousands of short calls of the same kind. A general HTTP client spends several times the work
of such a call on features that are not needed here. httptools parses replies. This module ensures that a
reply is complete, of a bounded size, and belongs to the request in flight.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, cast

import httptools

from poolcensus.aws.transport.protocol import (
    CUT_OFF,
    LARGE_HEAD,
    LARGEST_BODY,
    LARGEST_HEAD,
    NOT_HTTP,
    TOO_LARGE,
    Headers,
    Reply,
    bad_reply,
    decoded,
    no_answer_in_time,
)
from poolcensus.errors import BadResponseError, NoReply, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable

_ENCODING = b"content-encoding"
_ENCODING_LENGTH = len(_ENCODING)


# How many bytes asyncio receives at a time by default.
_BUFFER_BYTES = 256 * 1024


def new_buffer() -> memoryview:
    """Return a receive buffer for all connections of an event loop."""
    return memoryview(bytearray(_BUFFER_BYTES))


class Outbox:
    """Collects the requests of one turn of the event loop, and sends them together in the next turn.

    If each request were sent at once, the kernel's code would have left the core's caches each time, and a
    server on the same machine would have gone to sleep: a census takes 4 % longer (benches/throughput.py).
    """

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def put(self, send: Callable[[], None]) -> None:
        """Call `send` in the next turn of the loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append(send)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for send in waiting:
            send()


class Connection(asyncio.BufferedProtocol):
    """An open connection. `peer` is the name of the other end in messages.

    `reusable` is whether another request may be sent after the present one has its reply. All connections of
    an event loop may share the receive buffer and the outbox: received data is parsed at once. asyncio would
    allocate a new buffer of 256 KiB for each receive, which takes longer than everything else that it does
    for a call.
    """

    def __init__(self, peer: str, buffer: memoryview, outbox: Outbox) -> None:
        self.peer = peer
        self._buffer = buffer
        self._outbox = outbox
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timeout = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._request: bytes | None = None
        self._unread: select.poll | None = None
        self.reusable = True
        self._is_kept = False
        self._begun = False
        self._head_is_whole = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0
        # The bytes that the parser has reported, and the number received since then: the parser keeps a
        # header until it is complete.
        self._reported = 0
        self._unreported = 0

    async def exchange(self, request: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - a timer, not a scope
        """Send a request and return its reply, within `timeout` seconds.

        Raises UnreachableError, CallTimeoutError or BadResponseError. The connection is closed after an
        error, and if the caller is cancelled.
        """
        if self._transport is None or not self.reusable or self._waiting is not None:
            raise self._ended()
        waiting: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting = waiting
        self._request = request
        self._limit(timeout)
        self._outbox.put(self._send)
        whole = False
        try:
            reply = await waiting
            whole = True
        finally:
            self._waiting = self._request = None
            if not whole:
                self.abort()
        return reply

    def abort(self) -> None:
        """Close at once, even with a request in flight."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transports of other event loops are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        socket = transport.get_extra_info("socket")
        if socket is not None:
            self._unread = select.poll()
            self._unread.register(socket.fileno(), select.POLLIN)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting is not None:
            if self._begun and exc is None and self._ends_with_connection():
                self._complete()
            elif self._begun:
                self._fail(self._bad(*CUT_OFF))
            else:
                why = getattr(exc, "strerror", None) or "it closed the connection without a reply"
                self._fail(
                    UnreachableError(f"no answer from {self.peer}: {why}", code=NoReply.CONNECTION_CLOSED)
                )
        if not self.closed.done():
            self.closed.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's interface
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._buffer[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        if self._waiting is None or self._request is not None:
            self._break_off()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._waiting is not None:
                self._fail(self._bad(*NOT_HTTP))
            self.abort()
            return
        if self._waiting is not None:
            self._bound_unreported(len(data))

    def _send(self) -> None:
        # The caller may have been cancelled, or the connection closed, since the request was put.
        if self._waiting is None or self._waiting.done() or self._request is None or self._transport is None:
            return
        if self._is_kept and (self._unread is None or self._unread.poll(0)):
            self._break_off()
            return
        request, self._request = self._request, None
        self._transport.write(request)

    def _break_off(self) -> None:
        """Close the connection because data came before the request was sent, such as a second reply.

        Otherwise the data would be taken for the reply to the request.
        """
        self._fail(self._ended() if self._is_kept else self._bad(*NOT_HTTP))
        self.abort()

    def _bound_unreported(self, size: int) -> None:
        reported = self._head_size + self._body_size
        self._unreported = self._unreported + size if reported == self._reported else 0
        self._reported = reported
        if self._unreported > LARGEST_HEAD:
            self._refuse(*LARGE_HEAD)

    def on_message_begin(self) -> None:
        if self._waiting is None:
            self.reusable = False
        self._begun = True
        self._head_is_whole = False
        self._headers = []
        self._head_size = 0
        self._body = []
        self._body_size = 0
        self._reported = 0
        self._unreported = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > LARGEST_HEAD:
            self._refuse(*LARGE_HEAD)
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_is_whole = True

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > LARGEST_BODY:
            self._refuse(*TOO_LARGE)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self.reusable = self.reusable and self._parser.should_keep_alive()
            self._is_kept = True
            self._complete()

    def _complete(self) -> None:
        waiting, self._waiting = self._waiting, None
        self._begun = False
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        if waiting is None or waiting.done():
            return
        try:
            for name, value in self._headers:
                # Comparing lengths first skips nearly all names without making a lower-case copy.
                if len(name) == _ENCODING_LENGTH and name.lower() == _ENCODING:
                    # If the header occurs twice, something on the way has repeated it; the encoding is
                    # applied once.
                    body = decoded(body, value.decode("latin-1"), self._bad)
                    break
        except BadResponseError as error:
            waiting.set_exception(error)
        else:
            waiting.set_result(Reply(self._parser.get_status_code(), Headers(self._headers), body))

    def _ends_with_connection(self) -> bool:
        """Return whether the reply has no length of its own, so that it ends with the connection."""
        names = {name.lower() for name, _ in self._headers}
        # A status of 1xx only announces a reply, which is still to come.
        is_reply = self._head_is_whole and self._parser.get_status_code() >= 200
        return is_reply and not {b"content-length", b"transfer-encoding"} & names

    def _limit(self, timeout: float) -> None:
        # A timer is kept for the next exchange, since setting and clearing one for each costs more.
        self._timeout = timeout
        self._deadline = deadline = self._loop.time() + timeout
        if self._timer is not None:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._look_at_time)

    def _look_at_time(self) -> None:
        self._timer = None
        if self._waiting is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look_at_time)
            return
        self._fail(no_answer_in_time(self.peer, self._timeout))
        self.abort()

    def _ended(self) -> UnreachableError:
        return UnreachableError(f"no answer from {self.peer}: the connection has ended", code=NoReply.CLOSED)

    def _refuse(self, what: str, code: str) -> None:
        self._fail(self._bad(what, code))
        self._body = []
        self.abort()

    def _bad(self, what: str, code: str) -> BadResponseError:
        return bad_reply(self.peer, what, code, self._parser.get_status_code(), Headers(self._headers))

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting, self._request = self._waiting, None, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
