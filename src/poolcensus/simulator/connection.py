"""HTTP/1.1 server connections.

A request that can be answered at once is answered inside `buffer_updated`, without a task. Pipelined requests
are answered in the order in which they were sent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from poolcensus.simulator.http import Abort, Answer, Cut, Delayed, Drip, Hang, Message, Response, Stream
from poolcensus.simulator.reply_head import BODILESS, reply_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_BODY = 1 << 30
# The most bytes of a request's head, and of its trailers: many times what AWS accepts.
MAX_HEAD = 1 << 18
_JOIN_LIMIT = 1 << 16
# Headers that are left out when a head is parsed again, since they have been acted upon.
_ANSWERED = frozenset({b"upgrade", b"expect"})
# The longest time without any data, and the longest from the end of a reply to the end of the next request.
IDLE_SECONDS = 60.0
REQUEST_SECONDS = 3600.0


class Application(Protocol):
    """What answers the requests of a connection. All connections receive into the same `buffer`."""

    buffer: memoryview

    def handle(self, message: Message) -> Answer | Delayed:
        """Return the answer to a request."""

    def http_date(self) -> str:
        """Return the time of the simulated clock in the format of a Date header."""

    def opened(self, connection: Connection) -> None:
        """Record that a connection was opened."""

    def closed(self, connection: Connection) -> None:
        """Record that a connection was closed."""

    def moved(self, received: int, sent: int) -> None:
        """Count the bytes that were received and sent."""


@lru_cache(maxsize=512)
def _header_name(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _joined(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers, the values of repeated names joined with commas, as SigV4 signs them."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = _header_name(name), value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


def _sent_body(message: Message, response: Response) -> bytes:
    """Return the body to send. A reply to HEAD has none, although its head states the length."""
    return b"" if message.method == "HEAD" or response.status in BODILESS else response.body


def _reset(transport: asyncio.Transport) -> None:
    """Close the connection with a reset (RST), not with an end of file."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        # macOS accepts no socket options for a connection that the client has closed.
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Connection(asyncio.BufferedProtocol):
    """One client connection."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._parser = httptools.HttpRequestParser(self)
        self._message = Message()
        self._raw: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0
        self._head_size = 0
        self._waiting: deque[Message] = deque()
        self._busy = False
        self._keep_alive = True
        self._refused = False
        self._timer: asyncio.Handle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._heard = 0.0
        self._awaited_since = 0.0
        self._release: Callable[[], None] | None = None
        self._stream: Iterator[bytes] | None = None
        self._chunked = False
        self._writable = True
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve the connection."""
        # The transports of other event loops are not instances of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._heard = self._awaited_since = asyncio.get_running_loop().time()
        self._await_request(IDLE_SECONDS)
        self._application.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the requests and replies that are left, and cancel the timers."""
        del exc
        self._transport = None
        self._waiting.clear()
        self._stream = None
        for timer in (self._timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._idle_timer = None
        self._release_answer()
        self._application.closed(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer for received data. All connections share it: each parses its data at once."""
        del sizehint
        return self._application.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parse received data, and answer the requests that are complete."""
        self._application.moved(nbytes, 0)
        self._heard = asyncio.get_running_loop().time()
        if not self._refused:
            begun = self._message
            self._parse(self._application.buffer[:nbytes])
            if self._message is begun and not begun.headers:
                # All of the data belongs to a head, or to empty lines before it.
                self._head_size += nbytes
                if self._head_size > MAX_HEAD:
                    self._refuse(431)
        # Not in a callback of the parser, which would turn an error of the application into a parse error.
        self._drain()

    def pause_writing(self) -> None:
        """Stop reading, too, so that a client that does not read its replies can't fill the memory."""
        self._writable = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on reading, and sending the stream if there is one."""
        self._writable = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        if self._stream is not None and self._timer is None:
            self._pump()

    def abort(self) -> None:
        """Reset the connection."""
        if self._transport is not None:
            self._transport.abort()

    def on_message_begin(self) -> None:
        """Start a request. The parser calls this method and the other `on_` methods."""
        self._message = Message()
        self._raw = []
        self._body = []
        self._size = 0
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        """Add a piece of the request target."""
        self._message.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header, or a trailer after the body."""
        if self._message.headers:
            self._head_size += len(name) + len(value)
            if self._head_size > MAX_HEAD:
                if not self._refused:
                    self._refuse(431)
                return
        self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        """Set the headers of the request. Send 100 Continue if the client waits for it."""
        headers = {_header_name(name): value.decode("latin-1") for name, value in self._raw}
        if len(headers) != len(self._raw):
            headers = _joined(self._raw)
        self._message.headers = headers
        self._head_size = 0
        if (
            "expect" in headers
            and headers["expect"].lower() == "100-continue"
            and self._transport is not None
            and not self._busy
        ):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Add a piece of the body."""
        self._size += len(body)
        if self._size <= MAX_BODY:
            self._body.append(body)
        elif not self._refused:
            self._refuse(413)

    def on_message_complete(self) -> None:
        """Queue the request."""
        message = self._message
        message.method = self._parser.get_method().decode("ascii")
        message.keep_alive = self._parser.should_keep_alive()
        message.is_http10 = self._parser.get_http_version() == "1.0"
        message.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._awaited_since = self._heard
        self._waiting.append(message)

    def _parse(self, data: memoryview | bytes) -> None:
        while data:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                message = self._waiting.pop()
                if message.method == "CONNECT":
                    self._refuse(501)
                    return
                # The parser takes the body for data of the other protocol. Parse the request again without
                # the offer.
                self._parser = httptools.HttpRequestParser(self)
                data = self._head_without_upgrade(message) + data[offer.args[0] :]
            except httptools.HttpParserError:
                self._refuse(400)
                return
            else:
                return

    def _head_without_upgrade(self, message: Message) -> bytes:
        """Return the head of the message, which was parsed last, without its Upgrade header."""
        version = b"1.0" if message.is_http10 else b"1.1"
        lines = [b"%b: %b\r\n" % each for each in self._raw if each[0].lower() not in _ANSWERED]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (
            message.method.encode(),
            message.target,
            version,
            b"".join(lines),
        )

    def _await_request(self, seconds: float) -> None:
        self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close the connection if it is idle for too long, or else check again later."""
        if self._transport is None:
            return
        now = asyncio.get_running_loop().time()
        if self._busy or self._transport.get_write_buffer_size():
            self._heard = self._awaited_since = now
        left = min(self._heard + IDLE_SECONDS, self._awaited_since + REQUEST_SECONDS) - now
        if left > 0:
            self._await_request(left)
        else:
            self._transport.close()

    def _answer(self, message: Message) -> None:
        self._keep_alive = message.keep_alive
        answer = self._application.handle(message) if not message.refusal else Response(message.refusal)
        if isinstance(answer, Response):
            self._send(message, answer)
            return
        self._busy = True
        if isinstance(answer, Delayed):
            self._release = answer.release
            due = answer.answer
            if isinstance(due, Hang):
                return
            self._timer = asyncio.get_running_loop().call_later(answer.seconds, self._deliver, message, due)
        else:
            self._deliver(message, answer)

    def _deliver(self, message: Message, answer: Answer) -> None:
        """Send an answer that is delayed or is not a plain response."""
        self._timer = None
        transport = self._transport
        if transport is None or isinstance(answer, Hang):
            return
        if isinstance(answer, Abort):
            _reset(transport)
        elif isinstance(answer, Response):
            self._release_answer()
            self._send(message, answer)
            self._next()
        elif isinstance(answer, Cut):
            self._release_answer()
            body = _sent_body(message, answer.response)
            self._write(self._head(message, answer.response, answer.claimed) + body)
            transport.close()
        elif isinstance(answer, Drip):
            self._write(self._head(message, answer.response, len(answer.response.body)))
            body = _sent_body(message, answer.response)
            self._timer = asyncio.get_running_loop().call_later(
                answer.seconds, self._drip, body, answer.seconds, 0
            )
        else:
            self._release_answer()
            self._start(message, answer)

    def _send(self, message: Message, response: Response) -> None:
        head = self._head(message, response, len(response.body))
        body = _sent_body(message, response)
        if len(body) < _JOIN_LIMIT:
            self._write(head + body)
        else:
            self._write(head)
            self._write(body)
        if not message.keep_alive and self._transport is not None:
            self._transport.close()

    def _next(self) -> None:
        self._busy = False
        self._heard = self._awaited_since = asyncio.get_running_loop().time()
        if not self._keep_alive and self._transport is not None:
            self._transport.close()
        self._drain()

    def _drain(self) -> None:
        while self._waiting and not self._busy and self._keep_alive and self._transport is not None:
            self._answer(self._waiting.popleft())

    def _drip(self, body: bytes, seconds: float, position: int) -> None:
        if position < len(body):
            self._write(body[position : position + 1])
            self._timer = asyncio.get_running_loop().call_later(
                seconds, self._drip, body, seconds, position + 1
            )
            return
        self._timer = None
        self._release_answer()
        self._next()

    def _start(self, message: Message, stream: Stream) -> None:
        self._chunked = stream.length is None and not message.is_http10
        if stream.length is None and message.is_http10:
            # The end of the body is the end of the connection.
            message.keep_alive = self._keep_alive = False
        self._write(self._head(message, Response(stream.status, b"", stream.headers), stream.length))
        if message.method == "HEAD":
            self._next()
            return
        self._stream = iter(stream.chunks)
        self._pump()

    def _pump(self) -> None:
        """Write one piece of the stream, and schedule the next if the transport accepts more.

        Otherwise a client that reads as fast as this writes would keep the event loop busy.
        """
        self._timer = None
        if not self._writable or self._stream is None or self._transport is None:
            return
        chunk = next(self._stream, None)
        if chunk is None:
            self._stream = None
            if self._chunked:
                self._write(b"0\r\n\r\n")
            self._next()
            return
        if chunk:
            self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)
        self._timer = asyncio.get_running_loop().call_soon(self._pump)

    def _head(self, message: Message, response: Response, length: int | None) -> bytes:
        return reply_head(message, response.status, response.headers, length, self._application.http_date())

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)
            self._application.moved(0, len(data))

    def _release_answer(self) -> None:
        if self._release is not None:
            release, self._release = self._release, None
            release()

    def _refuse(self, status: int) -> None:
        """Queue an error reply with this status. The connection closes after it.

        The requests before it are answered first.
        """
        self._refused = True
        self._body = []
        self._waiting.append(Message(refusal=status, keep_alive=False))
