"""The connections of the SDK's clients: one aiohttp session for all, and the meaning of its errors.

It replaces the SDK's own session, which does not check certificates behind a proxy, follows redirects (which
would send the session token to another origin), limits neither the time nor the size of a reply, and loads
the CA bundle again for each client.
"""

from __future__ import annotations

import select
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiobotocore.awsrequest import AioAWSResponse
from yarl import URL

from poolcensus.aws.transport.failures import failure_of
from poolcensus.aws.transport.protocol import (
    CUT_OFF,
    KEEP_ALIVE,
    LARGE_HEAD,
    LARGEST_BODY,
    LARGEST_HEAD,
    NOT_HTTP,
    TOO_LARGE,
    Headers,
    Reply,
    bad_reply,
    decoded,
)
from poolcensus.aws.transport.sdk_call import present_call
from poolcensus.aws.transport.sdk_names import Resolver
from poolcensus.aws.transport.tunnel import basic_credentials
from poolcensus.errors import NoReply, UnreachableError

if TYPE_CHECKING:
    import ssl
    from types import SimpleNamespace

    from botocore.awsrequest import AWSPreparedRequest

    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.aws.transport.sdk_call import SdkCall
    from poolcensus.aws.transport.tls import Trust
    from poolcensus.errors import CallError

# Seconds. The DNS records of AWS's endpoints have a TTL of up to a minute.
_NAMES_KEPT = 60


class Wire:
    """The connections that all clients share."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._tls: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Get ready to connect."""
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            # The callers keep to `most_connections`.
            connector=_Connector(
                limit=0, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=_NAMES_KEPT, resolver=Resolver()
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            auto_decompress=False,
            trace_configs=[tracing],
            max_line_size=LARGEST_HEAD,
            max_field_size=LARGEST_HEAD,
        )

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def prepare(self, template: RequestTemplate) -> None:
        """Load the trusted certificates if the call needs TLS. This takes 20 to 40 ms, in a thread."""
        if self._session is None:
            raise RuntimeError("the transport is closed")
        if self._tls is None and "https" in (
            urlsplit(each or "").scheme for each in (template.url, template.proxy)
        ):
            self._tls = await self._trust.context()

    async def exchange(self, request: AWSPreparedRequest, call: SdkCall) -> Reply:
        """Send a request and return its reply. Raises the same errors as `Transport.send`."""
        host = host_of(request.url)
        while True:
            connection = _Used()
            try:
                return await self._exchange(host, request, call, connection)
            except aiohttp.ClientError as error:
                failure = _failure(host, error, call.timeout)
            # A server may close a kept-alive connection just as the next request is sent. That says nothing
            # about the service, so the request is sent again.
            stale = connection.again and isinstance(failure, UnreachableError)
            if not stale or self._session is None:
                # Raised outside the except block: as its context, aiohttp's error would keep the headers.
                raise failure

    async def _exchange(
        self, host: str, request: AWSPreparedRequest, call: SdkCall, connection: _Used
    ) -> Reply:
        if self._session is None:
            raise RuntimeError("the transport is closed")
        headers = {
            name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
            for name, value in request.headers.items()
        }
        headers["Accept-Encoding"] = "identity"
        proxy_headers: dict[str, str] = {}
        proxy = call.proxy
        if proxy is not None and (credentials := basic_credentials(proxy)) is not None:
            # A proxy that forwards plain HTTP expects them in the request itself.
            plain = urlsplit(request.url).scheme == "http"
            (headers if plain else proxy_headers)["Proxy-Authorization"] = credentials
        async with self._session.request(
            request.method,
            URL(_without_user(request.url), encoded=True),
            headers=headers,
            data=request.body,
            allow_redirects=False,
            timeout=call.timeout,
            ssl=self._tls or True,
            proxy=None if proxy is None else _without_user(proxy),
            proxy_headers=proxy_headers,
            trace_request_ctx=connection,
        ) as response:
            found = Headers(response.raw_headers)
            bad = partial(bad_reply, host, status=response.status, headers=found)
            if response.status < 200:
                # aiohttp takes a switch to another protocol for a reply.
                raise bad(*NOT_HTTP)
            if sum(len(name) + len(value) for name, value in response.raw_headers) > LARGEST_HEAD:
                raise bad(*LARGE_HEAD)
            body = bytearray()
            try:
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > LARGEST_BODY:
                        raise bad(*TOO_LARGE)
            except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError):
                raise bad(*CUT_OFF) from None
            encoding = found.get("content-encoding")
            whole = bytes(body)
            return Reply(response.status, found, whole if encoding is None else decoded(whole, encoding, bad))


class _Connector(aiohttp.TCPConnector):
    """aiohttp's connector, except that connections with unexpected data are not used again.

    aiohttp would take such data for the reply to the next request.
    """

    async def _get(
        self, key: aiohttp.client_reqrep.ConnectionKey, traces: list[aiohttp.tracing.Trace]
    ) -> aiohttp.connector.Connection | None:
        while (connection := await super()._get(key, traces)) is not None:
            if _is_silent(connection):
                return connection
            connection.close()
        return None


def _is_silent(connection: aiohttp.connector.Connection) -> bool:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or protocol.should_close or transport is None:
        return False
    unread = select.poll()
    unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return not unread.poll(0)


class Sender:
    """Sends the requests of one SDK client, in place of the SDK's own class."""

    def __init__(self, wire: Wire, **_: object) -> None:
        self._wire = wire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is this client's alone."""

    async def close(self) -> None:
        """Nothing is this client's alone."""

    async def send(self, request: AWSPreparedRequest) -> AioAWSResponse:
        reply = await self._wire.exchange(request, present_call())
        return AioAWSResponse(request.url, reply.status, reply.headers, _Body(reply.body))


class _Body(NamedTuple):
    """A body that has been read, with the interface that the SDK expects."""

    content: bytes

    async def read(self) -> bytes:
        return self.content


class _Used:
    """Whether the connection of a request had been used before."""

    __slots__ = ("again",)

    def __init__(self) -> None:
        self.again = False


async def _note_reuse(
    session: aiohttp.ClientSession,  # noqa: ARG001 - aiohttp's signature
    context: SimpleNamespace,
    parameters: aiohttp.TraceConnectionReuseconnParams,  # noqa: ARG001 - aiohttp's signature
) -> None:
    context.trace_request_ctx.again = True


def _failure(host: str, error: aiohttp.ClientError, limits: aiohttp.ClientTimeout) -> CallError:
    """Return the error for an exception that aiohttp raises before there is a reply."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            certificate = error.certificate_error
            return failure_of(error.host, certificate if isinstance(certificate, OSError) else error)
        case aiohttp.ClientConnectorError():
            return failure_of(error.host, error.os_error)
        case aiohttp.ServerTimeoutError():
            code, why = (
                NoReply.CONNECT_TIMEOUT,
                f"no connection within {round(limits.sock_connect or 0, 1):g} s",
            )
        case aiohttp.ClientHttpProxyError():
            code, why = NoReply.PROXY, f"the proxy refused the connection with status {error.status}"
        case aiohttp.ClientResponseError() if error.request_info.method == "CONNECT":
            code, why = NoReply.PROXY, "the proxy's answer is not HTTP"
        case aiohttp.ClientResponseError():
            return bad_reply(host, *NOT_HTTP, status=0, headers={})
        case aiohttp.ServerDisconnectedError() if not isinstance(error.message, str):
            # A part of the reply has come.
            return bad_reply(host, *CUT_OFF, status=0, headers={})
        case aiohttp.ServerDisconnectedError():
            code, why = NoReply.CONNECTION_CLOSED, "it closed the connection without a reply"
        case OSError():
            code, why = NoReply.CONNECTION_CLOSED, error.strerror or "the connection has ended"
        case _:
            code, why = NoReply.CONNECTION_CLOSED, "the connection has ended"
    return UnreachableError(f"no answer from {host}: {why}", code=code)


def host_of(url: str) -> str:
    """Return the host of a URL."""
    return urlsplit(url).hostname or ""


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
