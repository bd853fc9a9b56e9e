"""The project's own transport: opens connections as needed, keeps them alive, and closes them together."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import anyio
import msgspec

from poolcensus.aws.signing import sign
from poolcensus.aws.transport.dialing import TLS_TIMEOUT, Dialer, Origin
from poolcensus.aws.transport.files import most_connections
from poolcensus.aws.transport.protocol import KEEP_ALIVE, LONGEST_CLOSE, no_answer_in_time
from poolcensus.aws.transport.tunnel import proxy_authorization
from poolcensus.errors import CallTimeoutError, LocalLimitError, UnreachableError

if TYPE_CHECKING:
    from types import TracebackType

    from poolcensus.aws.signing import Credentials, RequestTemplate
    from poolcensus.aws.transport.http1 import Connection
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.aws.transport.tls import Trust


class _Route(msgspec.Struct, frozen=True):
    """How a URL is requested: over which connections, and with which target in the request line."""

    origin: Origin
    target: str
    extra_headers: str


class FastTransport:
    """A `Transport` with the project's own connections and signatures."""

    def __init__(self, *, connect_timeout: float, trust: Trust, tls_timeout: float = TLS_TIMEOUT) -> None:
        self._dialer = Dialer(connect_timeout=connect_timeout, tls_timeout=tls_timeout, trust=trust)
        self._idle: defaultdict[Origin, list[Connection]] = defaultdict(list)
        self._open: set[Connection] = set()
        self._routes: dict[tuple[str, str | None], _Route] = {}
        self._dialing = 0
        self._most = most_connections()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        ending = [connection.closed for connection in self._open]
        for connection in self._open:
            connection.abort()
        if ending:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + LONGEST_CLOSE):
                await asyncio.wait(ending)
        self._open.clear()
        self._idle.clear()

    async def send(
        self,
        template: RequestTemplate,
        body: bytes,
        credentials: Credentials,
        stamp: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the connection has a timer, which costs less than a scope
    ) -> Reply:
        url, proxy = template.url, template.proxy
        route = self._routes.get((url, proxy))
        if route is None:
            route = self._routes[url, proxy] = _route(url, proxy)
        request = (
            f"{template.method} {route.target} HTTP/1.1\r\n"
            f"{sign(template, body, credentials, stamp)}{route.extra_headers}"
            f"accept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode("latin-1") + body
        began = time.monotonic()
        idle = self._idle[route.origin]
        connection = _usable(idle, began - KEEP_ALIVE)
        is_kept = connection is not None
        left = timeout
        while True:
            if connection is None:
                loop_time = asyncio.get_running_loop().time
                deadline = loop_time() + timeout - (time.monotonic() - began)
                connection = await self._connect(route.origin, deadline)
                left = max(deadline - loop_time(), 0.01)
            try:
                reply = await connection.exchange(request, left)
            except CallTimeoutError as error:
                # The timeout includes the time to connect.
                raise no_answer_in_time(connection.peer, timeout) from error
            except UnreachableError:
                # A server may close a kept-alive connection just as the next request is sent. That says
                # nothing about the service, unlike a new connection that ends in this way.
                if not is_kept or self._closed:
                    raise
                connection, is_kept = None, False
                continue
            if connection.reusable and not self._closed:
                connection.idle_since = time.monotonic()
                idle.append(connection)
            else:
                connection.abort()
            return reply

    async def _connect(self, origin: Origin, deadline: float) -> Connection:
        if self._closed:
            raise RuntimeError("the transport is closed")
        self._dialing += 1
        try:
            await self._make_room()
            connection = await self._dial(origin, deadline)
        finally:
            self._dialing -= 1
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def _dial(self, origin: Origin, deadline: float) -> Connection:
        try:
            return await self._dialer.dial(origin, deadline)
        except LocalLimitError:
            if not await self._close_idle():
                raise
        return await self._dialer.dial(origin, deadline)

    async def _close_idle(self) -> bool:
        """Close the idle connections. Return whether there were any open ones."""
        kept = [each for idle in self._idle.values() for each in idle]
        for idle in self._idle.values():
            idle.clear()
        ending = [each for each in kept if not each.closed.done()]
        for each in ending:
            each.abort()
        if ending:
            await asyncio.wait([each.closed for each in ending])
        return bool(ending)

    async def _make_room(self) -> None:
        # Idle connections give way to one that is needed now.
        while len(self._open) + self._dialing > self._most:
            kept = [each for each in self._idle.values() if each]
            if not kept:
                return
            oldest = min(kept, key=lambda each: each[0].idle_since).pop(0)
            oldest.abort()
            await asyncio.wait([oldest.closed])


def _usable(idle: list[Connection], oldest: float) -> Connection | None:
    """Take the idle connection that was used last, which is the least likely to have been closed."""
    while idle:
        connection = idle.pop()
        if connection.reusable and connection.idle_since > oldest:
            return connection
        connection.abort()
    return None


def _route(url: str, proxy: str | None) -> _Route:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = Origin(parts.scheme, parts.hostname or "", port, proxy)
    if proxy is None or parts.scheme == "https":
        path = parts.path or "/"
        return _Route(origin, f"{path}?{parts.query}" if parts.query else path, "")
    # For plain HTTP, a proxy gets the whole URL in the request line.
    return _Route(origin, url, proxy_authorization(proxy))
