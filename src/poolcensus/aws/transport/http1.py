"""One HTTP/1.1 connection: a request, then its reply, then perhaps the next request.

A census makes thousands of short calls of one shape. A general client spends several times what a call
needs on forms of requests that never come up here. httptools parses; this module adds the rules: a reply is
whole, of a bounded size, and belongs to the one request that is under way.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, cast

import httptools
import msgspec
from multidict import CIMultiDict

from poolcensus.errors import BadResponseError, CallTimeoutError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGEST_BODY = 16 * 1024 * 1024
_LARGEST_HEAD = 64 * 1024
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_ENCODING = b"content-encoding"
_ENCODING_LENGTH = len(_ENCODING)


class Headers(Mapping[str, str]):
    """The headers of a reply, whose names are found without regard to case.

    They are decoded when the first is asked for: of most replies that is none.
    """

    def __init__(self, raw: Sequence[tuple[bytes, bytes]]) -> None:
        self._raw = raw

    @cached_property
    def _decoded(self) -> CIMultiDict[str]:
        return CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._raw)

    def __getitem__(self, name: str) -> str:
        return self._decoded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded)

    def __len__(self) -> int:
        return len(self._decoded)


class Reply(msgspec.Struct, frozen=True):
    """A whole reply. Header names are found without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """A connection that has been opened. `peer` names the other end in messages."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timeout = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._reusable = True
        self._begun = False
        self._head_is_whole = False
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._body: list[bytes] = []
        self._body_size = 0

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._reusable and self._waiting is None and not self.closed.done()

    async def exchange(self, request: bytes, timeout: float) -> Reply:  # noqa: ASYNC109 - a timer, not a scope
        """Send a request and return its reply, within `timeout` seconds.

        Raises UnreachableError, CallTimeoutError or BadResponseError. The connection is then closed, as it
        is where the caller is cancelled.
        """
        transport = self._transport
        if transport is None or not self.reusable:
            raise UnreachableError(f"no answer from {self.peer}: the connection has ended", code="Closed")
        waiting: asyncio.Future[Reply] = self._loop.create_future()
        self._waiting = waiting
        self._limit(timeout)
        transport.write(request)
        whole = False
        try:
            reply = await waiting
            whole = True
        finally:
            self._waiting = None
            if not whole:
                self.abort()
        return reply

    def abort(self) -> None:
        """Close at once, without regard to what is under way."""
        self._reusable = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Other loops have transports of their own, which are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._reusable = False
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting is not None:
            if self._begun and exc is None and self._ends_with_connection():
                self._complete()
            elif self._begun:
                self._fail(self._bad("was cut off", "TruncatedReply"))
            else:
                why = getattr(exc, "strerror", None) or "it closed the connection without a reply"
                self._fail(UnreachableError(f"no answer from {self.peer}: {why}", code="ConnectionClosed"))
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            # Nothing was asked: what comes now would be taken for the reply to the next request.
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._waiting is not None:
                self._fail(self._bad("is not HTTP", "BrokenReply"))
            self.abort()

    def on_message_begin(self) -> None:
        if self._waiting is None:
            self._reusable = False
        self._begun = True
        self._head_is_whole = False
        self._headers = []
        self._head_size = 0
        self._body = []
        self._body_size = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > _LARGEST_HEAD:
            self._refuse("has headers of more than 64 KiB", "OversizedReply")
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._head_is_whole = True

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > LARGEST_BODY:
            self._refuse(f"is larger than {LARGEST_BODY >> 20} MiB", "OversizedReply")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._reusable = self._reusable and self._parser.should_keep_alive()
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
                # Its length tells nearly every other name from it, without a copy of each.
                if len(name) == _ENCODING_LENGTH and name.lower() == _ENCODING:
                    # One that is there twice was repeated on the way, and not applied twice.
                    body = self._decoded(body, value.decode("latin-1").strip().lower())
                    break
        except BadResponseError as error:
            waiting.set_exception(error)
        else:
            waiting.set_result(Reply(self._parser.get_status_code(), Headers(self._headers), body))

    def _decoded(self, body: bytes, encoding: str) -> bytes:
        if encoding == "identity":
            return body
        if encoding not in {"gzip", "x-gzip", "deflate"}:
            raise self._bad(f"has an encoding that was not asked for ({encoding[:40]})", "BrokenReply")
        inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            decoded = inflate.decompress(body, LARGEST_BODY + 1)
        except zlib.error:
            raise self._bad("can't be decompressed", "BrokenReply") from None
        if len(decoded) > LARGEST_BODY:
            raise self._bad(f"is larger than {LARGEST_BODY >> 20} MiB", "OversizedReply")
        if not inflate.eof:
            raise self._bad("was cut off", "TruncatedReply")
        return decoded

    def _ends_with_connection(self) -> bool:
        """Whether the reply has no length of its own: it then ends where the connection does."""
        names = {name.lower() for name, _ in self._headers}
        return self._head_is_whole and not {b"content-length", b"transfer-encoding"} & names

    def _limit(self, timeout: float) -> None:
        # A timer outlives its exchange and serves the next: setting and clearing one for each costs more.
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
        why = f"{self.peer} did not answer within {round(self._timeout, 1):g} s"
        self._fail(CallTimeoutError(why, code="Timeout"))
        self.abort()

    def _refuse(self, what: str, code: str) -> None:
        self._fail(self._bad(what, code))
        self._body = []
        self.abort()

    def _bad(self, what: str, code: str) -> BadResponseError:
        return BadResponseError(
            f"the reply from {self.peer} {what}",
            code=code,
            status=self._parser.get_status_code() or None,
            request_id=Headers(self._headers).get("x-amzn-requestid"),
        )

    def _fail(self, error: Exception) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
