"""Opens connections: name lookup, TCP, the proxy's CONNECT, and TLS, each with a time limit of its own."""

from __future__ import annotations

import asyncio
import math
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

import anyio
from aiohappyeyeballs import start_connection

from poolcensus.aws.transport.addresses import Addresses, HostPort
from poolcensus.aws.transport.failures import LIMITS, failure_of
from poolcensus.aws.transport.http1 import Connection, Outbox, new_buffer
from poolcensus.aws.transport.secured import Secured
from poolcensus.aws.transport.tunnel import Tunnel, proxy_authorization
from poolcensus.errors import CallError, NoReply, NoSuchNameError, UnreachableError, copy_of_error
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from aiohappyeyeballs import AddrInfoType

    from poolcensus.aws.transport.tls import Trust

P = TypeVar("P", Connection, Tunnel)

# Seconds until the next address is tried. RFC 8305 recommends 250 ms and allows 2 s. The farthest regions are
# 300 ms away: with less than that, each connection to them would open a second socket for nothing.
_NEXT_ADDRESS_AFTER = 0.5
# Seconds: two round trips of 300 ms, a lost packet that is sent again after 1 and 2 s, and CPU time. A
# handshake takes 1 to 2 ms of CPU, and a thousand of them may run at the same time on a shared machine.
TLS_TIMEOUT = 10.0


class Origin(NamedTuple):
    """The other end of connections. `proxy` is the URL of a proxy, with its credentials, or None."""

    scheme: str
    host: str
    port: int
    proxy: str | None


class Dialer:
    """Opens connections. The addresses of a host are raced (RFC 8305), so that a dead one costs little time.

    `connect_timeout` separately limits the lookup of a name, the connection to any of its addresses, and the
    time that a proxy takes to connect. `tls_timeout` limits a TLS handshake. Both are in seconds.
    """

    def __init__(self, *, connect_timeout: float, tls_timeout: float, trust: Trust) -> None:
        self._connect_timeout = connect_timeout
        self._tls_timeout = tls_timeout
        self._trust = trust
        self._buffer = new_buffer()
        self._outbox = Outbox()
        self._addresses = Addresses()
        self._first_races: SingleFlight[HostPort, None] = SingleFlight()

    async def dial(self, origin: Origin, deadline: float) -> Connection:
        """Return a new connection to an origin, opened before `deadline` on the loop's clock.

        Raises UnreachableError, or LocalLimitError if this machine lacks something for the connection. If a
        phase exceeds its time limit, the code says which one: NameTimeout, ConnectTimeout or TLSTimeout.
        """
        secure = origin.scheme == "https"
        if origin.proxy is None:
            peer = HostPort(origin.host, origin.port)
            return await self._open(peer, self._new_connection(origin.host), secure=secure, deadline=deadline)
        proxy = urlsplit(origin.proxy)
        by_tls = proxy.scheme == "https"
        peer = HostPort(proxy.hostname or "", proxy.port or (443 if by_tls else 80))
        with _naming_proxy(peer):
            if not secure:
                return await self._open(
                    peer, self._new_connection(origin.host), secure=by_tls, deadline=deadline
                )
            tunnel = await self._open(peer, Tunnel(origin.host), secure=by_tls, deadline=deadline)
        through = False
        try:
            connection = await self._through(tunnel, origin, deadline)
            through = True
        finally:
            if not through:
                tunnel.abort()
        return connection

    def _new_connection(self, host: str) -> Connection:
        return Connection(host, self._buffer, self._outbox)

    async def _through(self, tunnel: Tunnel, origin: Origin, deadline: float) -> Connection:
        """Return a connection to the origin through a tunnel, with TLS from end to end."""
        host = origin.host
        authority = f"{_bracketed(host)}:{origin.port}"
        request = (
            f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"
            f"{proxy_authorization(origin.proxy or '')}\r\n"
        )
        tls = await self._trust.context()
        with _phase(
            host, "no connection by the proxy", NoReply.CONNECT_TIMEOUT, self._connect_timeout, deadline
        ):
            outer = await tunnel.open(request.encode("latin-1"))
        connection = self._new_connection(host)
        secured = self._secured(connection, tls, host)
        outer.set_protocol(secured)
        secured.connection_made(outer)
        try:
            with self._handshake_limit(host, deadline):
                await secured.handshake()
        except OSError as error:
            raise failure_of(host, error) from error
        return connection

    async def _open(self, peer: HostPort, protocol: P, *, secure: bool, deadline: float) -> P:
        host = peer.host
        # Loaded before there is a socket, which would have to wait for it.
        tls = await self._trust.context() if secure else None
        secured = None if tls is None else self._secured(protocol, tls, host)
        sock, address = await self._connect(peer, deadline)
        lowest = secured or protocol
        whole = False
        try:
            await asyncio.get_running_loop().create_connection(lambda: lowest, sock=sock)
            if secured is not None:
                with self._handshake_limit(host, deadline):
                    await secured.handshake()
            whole = True
        except OSError as error:
            self._addresses.failed(peer, address)
            raise failure_of(host, error) from error
        except UnreachableError:
            self._addresses.failed(peer, address)
            raise
        finally:
            if not whole:
                lowest.abort()
        return protocol

    def _secured(self, protocol: Connection | Tunnel, tls: ssl.SSLContext, host: str) -> Secured:
        try:
            return Secured(protocol, tls, host, self._buffer)
        except ValueError as error:
            # UnicodeError is a ValueError: labels of a name may be too long or empty.
            raise NoSuchNameError(
                f"no answer from {host}: the host name is not valid", code=NoReply.NAME
            ) from error

    def _handshake_limit(self, host: str, deadline: float) -> AbstractContextManager[None]:
        return _phase(host, "no TLS handshake", NoReply.TLS_TIMEOUT, self._tls_timeout, deadline)

    async def _connect(self, peer: HostPort, deadline: float) -> tuple[socket.socket, AddrInfoType]:
        addresses = await self._look_up(peer, deadline)
        if len(addresses) == 1 or self._addresses.has_answered(peer):
            return await self._race(peer, addresses, deadline)
        # While no address is known to answer, a race may hold a socket for each address. So only one race
        # runs at a time, and the other callers wait for it: hundreds of races would use up the descriptors.
        won: list[tuple[socket.socket, AddrInfoType]] = []

        async def first_race() -> None:
            won.append(await self._race(peer, addresses, deadline))

        with _phase(peer.host, "no connection", NoReply.CONNECT_TIMEOUT, math.inf, deadline):
            await self._first_races.run(peer, first_race)
        if won:
            return won[0]
        return await self._race(peer, await self._look_up(peer, deadline), deadline)

    async def _race(
        self, peer: HostPort, addresses: Sequence[AddrInfoType], deadline: float
    ) -> tuple[socket.socket, AddrInfoType]:
        tried: dict[socket.socket, AddrInfoType] = {}
        failures: list[OSError] = []

        def open_socket(address: AddrInfoType) -> socket.socket:
            try:
                made = socket.socket(*address[:3])
            except OSError as error:
                failures.append(error)
                raise
            tried[made] = address
            return made

        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        try:
            with _phase(peer.host, "no connection", NoReply.CONNECT_TIMEOUT, self._connect_timeout, deadline):
                sock = await start_connection(
                    addresses,
                    happy_eyeballs_delay=_NEXT_ADDRESS_AFTER,
                    interleave=0,
                    socket_factory=open_socket,
                )
                # `start_connection` loses a cancellation that comes while it ends the other attempts. That of
                # a cancel scope is delivered again, so only other cancellations are handled here.
                in_scope = anyio.current_effective_deadline() == -math.inf
                if task is not None and task.cancelling() > cancelled and not in_scope:
                    sock.close()
                    raise asyncio.CancelledError
        except OSError as error:
            self._addresses.failed(peer)
            raise failure_of(peer.host, error) from error
        except UnreachableError:
            self._addresses.failed(peer)
            # The other addresses may not have been tried at all, because no socket could be made.
            for failure in failures:
                if failure.errno in LIMITS:
                    raise failure_of(peer.host, failure) from failure
            raise
        winner = tried[sock]
        before = list(tried.values())
        self._addresses.answered(peer, winner, before[: before.index(winner)])
        return sock, winner

    async def _look_up(self, peer: HostPort, deadline: float) -> Sequence[AddrInfoType]:
        try:
            with _phase(peer.host, "no address", NoReply.NAME_TIMEOUT, self._connect_timeout, deadline):
                return await self._addresses.of(peer)
        except OSError as error:
            raise failure_of(peer.host, error) from error


@contextmanager
def _phase(host: str, what: str, code: NoReply, limit: float, deadline: float) -> Iterator[None]:
    """Limit the time of a block, in seconds. Raises UnreachableError if it does not end in time."""
    limit = max(min(limit, deadline - anyio.current_time()), 0)
    with anyio.move_on_after(limit) as scope:
        yield
    # Not by catching TimeoutError, which is also raised when the system gives up a connection.
    if scope.cancelled_caught:
        raise UnreachableError(f"no answer from {host}: {what} within {round(limit, 1):g} s", code=code)


@contextmanager
def _naming_proxy(peer: HostPort) -> Iterator[None]:
    """Make errors in a block name the proxy and its port in place of the host alone."""
    try:
        yield
    except CallError as error:
        # A copy, since calls that wait for the same proxy share the error.
        named = copy_of_error(error)
        place = f"the proxy {_bracketed(peer.host)}:{peer.port}"
        named.message = error.message.replace(f" {peer.host}:", f" {place}:", 1)
        named.args = (named.message,)
        raise named from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
