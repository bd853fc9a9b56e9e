"""The connections of a run: opened where needed, kept while they are good, closed together."""

from __future__ import annotations

import asyncio
import base64
import resource
import socket
import ssl
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import msgspec

from poolcensus.aws.http1 import Connection, Reply
from poolcensus.aws.tls import trusting
from poolcensus.aws.tunnel import Tunnel
from poolcensus.errors import FatalError, UnreachableError
from poolcensus.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

P = TypeVar("P", bound=asyncio.BaseProtocol)

# AWS closes idle connections after about 20 s: one that is about to be closed isn't worth a call.
_KEEP_ALIVE = 12.0
_ADDRESSES_KEPT = 60.0
_LONGEST_CLOSE = 2.0
# The files of a snapshot, the SDK's data and the lookups of names need some as well.
_FILES_FOR_OTHERS = 16


class _Origin(NamedTuple):
    """Where connections go. `proxy` is the URL of one in between, with its credentials."""

    scheme: str
    host: str
    port: int
    proxy: str | None


class _Route(msgspec.Struct, frozen=True):
    """How a URL is asked for: over which connections, and by which target in the request line."""

    origin: _Origin
    target: str
    extra_headers: str


class Transport:
    """Sends requests and reads replies; knows nothing of signatures or operations.

    Redirects are not followed: they would take the session token to another origin. A reply that ends
    early, is larger than 16 MiB or can't be decompressed is an error and never a short body.
    """

    def __init__(self, *, connect_timeout: float, ca_bundle: str | None) -> None:
        self._connect_timeout = connect_timeout
        self._ca_bundle = ca_bundle
        self._tls: ssl.SSLContext | None = None
        self._idle: defaultdict[_Origin, list[Connection]] = defaultdict(list)
        self._open: set[Connection] = set()
        self._routes: dict[tuple[str, str | None], _Route] = {}
        self._addresses: dict[tuple[str, int], tuple[float, tuple[str, ...]]] = {}
        self._lookups: SingleFlight[tuple[str, int], tuple[str, ...]] = SingleFlight()
        self._contexts: SingleFlight[str, ssl.SSLContext] = SingleFlight()
        self._dialing = 0
        self._most = _most_connections()
        self._closed = False

    @property
    def most_connections(self) -> int:
        """How many may be open at a time, by this process's limit on open files."""
        return self._most

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
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _LONGEST_CLOSE):
                await asyncio.wait(ending)
        self._open.clear()
        self._idle.clear()

    async def send(
        self,
        method: str,
        url: str,
        head: str,
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - the connection has a timer, which costs less than a scope
        proxy: str | None = None,
    ) -> Reply:
        """Send one request and read its reply, both within `timeout` seconds.

        `head` has the headers, the host among them, each a line that ends in CR and LF. Raises
        UnreachableError, CallTimeoutError or BadResponseError.
        """
        route = self._routes.get((url, proxy))
        if route is None:
            route = self._routes[url, proxy] = _route(url, proxy)
        request = (
            f"{method} {route.target} HTTP/1.1\r\n{head}{route.extra_headers}"
            f"accept-encoding: identity\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode("latin-1") + body
        connection = self._idle_connection(route.origin)
        if connection is None:
            started = time.monotonic()
            connection = await self._connect(route.origin, min(timeout, self._connect_timeout))
            timeout = max(timeout - (time.monotonic() - started), 0.01)
        reply = await connection.exchange(request, timeout)
        if connection.reusable and not self._closed:
            connection.idle_since = time.monotonic()
            self._idle[route.origin].append(connection)
        else:
            connection.abort()
        return reply

    def _idle_connection(self, origin: _Origin) -> Connection | None:
        # The one that was used last is the least likely to have been closed meanwhile.
        idle = self._idle[origin]
        oldest = time.monotonic() - _KEEP_ALIVE
        while idle:
            connection = idle.pop()
            if connection.reusable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, origin: _Origin, limit: float) -> Connection:
        if self._closed:
            raise RuntimeError("the transport is closed")
        self._dialing += 1
        try:
            with anyio.fail_after(limit):
                await self._make_room()
                connection = await self._dial(origin)
        except TimeoutError:
            raise UnreachableError(
                f"no answer from {origin.host}: no connection within {limit:g} s", code="ConnectTimeout"
            ) from None
        except ssl.SSLCertVerificationError as error:
            raise UnreachableError(
                f"no answer from {origin.host}: its certificate is not trusted ({error.verify_message};"
                " AWS_CA_BUNDLE names the authorities that are)",
                code="CertificateError",
            ) from error
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            raise UnreachableError(f"no answer from {origin.host}: {why}", code="ConnectError") from error
        finally:
            self._dialing -= 1
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        return connection

    async def _make_room(self) -> None:
        # Connections that are kept for later give way to one that is needed now.
        while len(self._open) + self._dialing > self._most:
            kept = [each for each in self._idle.values() if each]
            if not kept:
                return
            oldest = min(kept, key=lambda each: each[0].idle_since).pop(0)
            oldest.abort()
            await asyncio.wait([oldest.closed])

    async def _dial(self, origin: _Origin) -> Connection:
        if origin.proxy is None:
            tls = await self._tls_context() if origin.scheme == "https" else None
            return await self._open_socket(origin.host, origin.port, tls, lambda: Connection(origin.host))
        proxy = urlsplit(origin.proxy)
        host, secure = proxy.hostname or "", proxy.scheme == "https"
        port = proxy.port or (443 if secure else 80)
        tls = await self._tls_context() if secure else None
        if origin.scheme == "http":
            return await self._open_socket(host, port, tls, lambda: Connection(origin.host))
        tunnel = await self._open_socket(host, port, tls, lambda: Tunnel(origin.host))
        through = False
        try:
            connection = await self._through(tunnel, origin)
            through = True
        finally:
            if not through:
                tunnel.abort()
        return connection

    async def _through(self, tunnel: Tunnel, origin: _Origin) -> Connection:
        """A connection through a proxy to the origin itself, which only the origin can read."""
        authority = f"{_bracketed(origin.host)}:{origin.port}"
        request = (
            f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"
            f"{_proxy_authorization(origin.proxy or '')}\r\n"
        )
        outer = await tunnel.open(request.encode("latin-1"))
        connection = Connection(origin.host)
        inner = await asyncio.get_running_loop().start_tls(
            outer, connection, await self._tls_context(), server_hostname=origin.host
        )
        if inner is None:
            raise ConnectionResetError("the proxy closed the connection")
        connection.connection_made(inner)
        return connection

    async def _open_socket(
        self, host: str, port: int, tls: ssl.SSLContext | None, protocol: Callable[[], P]
    ) -> P:
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        addresses = await self._resolve(host, port)
        for address in addresses:
            try:
                # One that swallows what it is sent must not use up the time of the others.
                with anyio.fail_after(self._connect_timeout / len(addresses)):
                    _, made = await loop.create_connection(
                        protocol, address, port, ssl=tls, server_hostname=host if tls is not None else None
                    )
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
            else:
                return made
        raise failure or OSError("the name has no address")

    async def _resolve(self, host: str, port: int) -> tuple[str, ...]:
        # Hundreds of connections to one host would otherwise be hundreds of lookups in threads.
        known = self._addresses.get((host, port))
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        return await self._lookups.run((host, port), lambda: self._look_up(host, port))

    async def _look_up(self, host: str, port: int) -> tuple[str, ...]:
        try:
            found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror:
            raise UnreachableError(
                f"no answer from {host}: the name does not resolve", code="NameError"
            ) from None
        addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
        self._addresses[host, port] = (time.monotonic() + _ADDRESSES_KEPT, addresses)
        return addresses

    async def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await self._contexts.run(
                "tls", lambda: anyio.to_thread.run_sync(trusting, self._ca_bundle)
            )
        return self._tls


def _most_connections() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        # The lowest number that is free: about as many are in use.
        with socket.socket() as probe:
            used = probe.fileno()
    except OSError as error:
        raise FatalError(
            f"no connection can be opened: {error.strerror or error} (ulimit -n raises the limit)"
        ) from None
    return max(limit - used - _FILES_FOR_OTHERS, 1)


def _route(url: str, proxy: str | None) -> _Route:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = _Origin(parts.scheme, parts.hostname or "", port, proxy)
    if proxy is None or parts.scheme == "https":
        path = parts.path or "/"
        return _Route(origin, f"{path}?{parts.query}" if parts.query else path, "")
    # A proxy that forwards plain HTTP is told the whole URL.
    return _Route(origin, url, _proxy_authorization(proxy))


def _proxy_authorization(proxy: str) -> str:
    parts = urlsplit(proxy)
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"proxy-authorization: Basic {base64.b64encode(pair.encode()).decode('ascii')}\r\n"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


__all__ = ["Reply", "Transport"]
