"""Calls through aioboto3: a client for each service and region, and credentials chosen for each call.

The clients know where a call goes, form its request and sign it. What a call says is the project's own body,
so that both transports send the same, and its reply comes back as it came over the wire: the SDK's parsers
take a page that is not JSON for one without pools. The clients share one session of aiohttp, since the SDK's
own checks no certificate behind a proxy, follows redirects, which would take the session token to another
origin, bounds neither a reply's time nor its size, and loads the CA bundle anew for each client.

Importing this imports the asynchronous SDK.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, cast
from urllib.parse import urlsplit, urlunsplit

import aioboto3
import aiohttp
import anyio
import anyio.to_thread
import botocore
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.auth import SigV4Auth
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError
from yarl import URL

from poolcensus.aws.sdk_data import read_fast
from poolcensus.aws.sdk_logs import TELL_OF_CALLS
from poolcensus.aws.transport.failures import LIMITS, failure_of
from poolcensus.aws.transport.files import most_connections
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
from poolcensus.aws.transport.tls import trusting
from poolcensus.aws.transport.tunnel import basic_credentials
from poolcensus.errors import FatalError, SettingsError, UnreachableError
from poolcensus.flow.singleflight import SingleFlight
from poolcensus.version import TOOL

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import SimpleNamespace, TracebackType

    from botocore.awsrequest import AWSPreparedRequest, AWSRequest

    from poolcensus.aws.signing import Credentials, RequestTemplate, SdkOperation
    from poolcensus.errors import CallError

# AWS closes idle connections after about 20 s: one that is about to be closed isn't worth a call.
_KEEP_ALIVE = 12.0
# AWS's names live for up to a minute.
_NAMES_KEPT = 60
_LONGEST_CLOSE = 2.0


class _Client(Protocol):
    """The SDK's client, which has no types. Its operations are methods."""


class _ClientKey(NamedTuple):
    service: str
    region: str


class _Call(NamedTuple):
    """What the SDK is not told by the arguments of a method."""

    body: bytes
    credentials: Credentials
    stamp: str
    timeout: aiohttp.ClientTimeout
    proxy: str | None


# A call's handlers run in the task that makes it, and see what this holds there: the credentials of thousands
# of calls over one client can't be mixed up.
_CALL: ContextVar[_Call | None] = ContextVar("call", default=None)


class SdkTransport:
    """Calls by aioboto3's clients: see the protocol `Transport`.

    `connect_timeout` limits connecting to a host with its TLS handshake.
    """

    def __init__(
        self, *, profile: str | None, endpoint_url: str | None, connect_timeout: float, ca_bundle: str | None
    ) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._connect_timeout = connect_timeout
        self._ca_bundle = ca_bundle
        self._most = most_connections()
        self._session: AioSession | None = None
        self._clients: dict[_ClientKey, _Client] = {}
        self._making: SingleFlight[_ClientKey, None] = SingleFlight()
        self._one_thread = anyio.CapacityLimiter(1)
        # The limiter doesn't count a thread that a caller who was cancelled has left at work.
        self._lock = threading.Lock()
        self._wire = _Wire(ca_bundle)
        self._log_filter = _CallLogFilter()

    @property
    def most_connections(self) -> int:
        return self._most

    async def __aenter__(self) -> Self:
        for name in TELL_OF_CALLS:
            logging.getLogger(name).addFilter(self._log_filter)
        self._wire.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in TELL_OF_CALLS:
            logging.getLogger(name).removeFilter(self._log_filter)
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _LONGEST_CLOSE):
            await self._wire.close()

    async def send(
        self,
        template: RequestTemplate,
        body: bytes,
        body_digest: str,  # noqa: ARG002 - the SDK computes its own
        credentials: Credentials,
        stamp: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the protocol's
    ) -> Reply:
        client = await self._client(_ClientKey(template.operation.service, template.operation.region))
        await self._wire.prepare(template)
        limits = aiohttp.ClientTimeout(
            total=None,
            # A name is looked up within the one, and an address has to answer within the other.
            connect=min(2 * self._connect_timeout, timeout),
            sock_connect=min(self._connect_timeout, timeout),
        )
        before = _CALL.set(_Call(body, credentials, stamp, limits, template.proxy))
        try:
            with anyio.move_on_after(timeout):
                return await _answer(client, template.operation)
        finally:
            _CALL.reset(before)
        raise no_answer_in_time(_host(template.url), timeout)

    async def _client(self, key: _ClientKey) -> _Client:
        if key not in self._clients:
            await self._making.run(key, lambda: self._make(key))
        return self._clients[key]

    async def _make(self, key: _ClientKey) -> None:
        self._clients[key] = await anyio.to_thread.run_sync(
            self._new_client, key, limiter=self._one_thread, abandon_on_cancel=True
        )

    def _new_client(self, key: _ClientKey) -> _Client:
        """Return a client, which has no connection of its own and belongs to no loop.

        Making one takes files and many milliseconds, which the SDK spends inside its coroutine: so that runs
        in a loop of this thread.
        """

        async def _enter_in_thread() -> _Client:
            if self._session is None:
                self._session = _new_session(self._profile)
            opening: AbstractAsyncContextManager[_Client] = aioboto3.Session(
                botocore_session=self._session
            ).client(
                key.service,
                region_name=key.region,
                endpoint_url=self._endpoint_url,
                config=AioConfig(
                    http_session_cls=partial(_Sender, self._wire),
                    user_agent_extra=TOOL,
                    # Whoever calls tries again, and counts it.
                    retries={"mode": "standard", "total_max_attempts": 1},
                    # Methods are called without arguments: bodies come from the operation.
                    parameter_validation=False,
                ),
                # Each call is signed with its own: the chain is not to be walked for it.
                aws_access_key_id="none",
                aws_secret_access_key="none",  # noqa: S106 - a placeholder
            )
            return await opening.__aenter__()

        try:
            with self._lock:
                return asyncio.run(_enter_in_thread())
        except BotoCoreError as error:
            raise _no_client(key, str(error)) from None
        except OSError as error:
            if error.errno in LIMITS:
                raise failure_of(f"{key.service} in {key.region}", error) from None
            raise FatalError(f"The AWS SDK's own files can't be read: {error.strerror or error}.") from None
        # The SDK trips over sections of any shape in as many ways: AttributeError, KeyError and more.
        except Exception as error:  # noqa: BLE001 - the SDK raises anything on a malformed section
            raise _no_client(key, f"your AWS config is malformed ({type(error).__name__})") from None


def _no_client(key: _ClientKey, why: str) -> SettingsError:
    return SettingsError(f"no client for {key.service} in {key.region} can be made: {why}")


def _new_session(profile: str | None) -> AioSession:
    session = AioSession(profile=profile)
    read_fast(session)
    # Tokens of the global STS endpoint are refused in opt-in regions.
    session.set_config_variable("sts_regional_endpoints", "regional")
    session.register_component("response_parser_factory", _AsItCame())
    events = session.get_component("event_emitter")
    events.register_last("before-call", _set_body)
    events.register_first("choose-signer", _sign_nothing)
    events.register_last("before-sign", _sign)
    return session


async def _answer(client: _Client, operation: SdkOperation) -> Reply:
    method: Callable[[], Awaitable[Mapping[str, Reply]]] = getattr(client, operation.method)
    try:
        return (await method())[_REPLY]
    except ClientError as error:
        # A status of 300 or more.
        return cast("Mapping[str, Reply]", error.response)[_REPLY]
    except BotoCoreError as error:
        raise _no_client(_ClientKey(operation.service, operation.region), str(error)) from None


def _call() -> _Call:
    call = _CALL.get()
    if call is None:
        raise RuntimeError("the SDK runs a call's handler outside the call's task")
    return call


def _set_body(params: dict[str, object], **_: object) -> None:
    params["body"] = _call().body


def _sign_nothing(**_: object) -> object:
    # The SDK's signer takes the credentials of a call in its context, and no time: `_sign` is told both.
    return botocore.UNSIGNED


def _sign(request: AWSRequest, signing_name: str, region_name: str, **_: object) -> None:
    found = request.context.get("signing", {})
    _Signature(
        _call(), found.get("signing_name") or signing_name, found.get("region") or region_name
    ).add_auth(request)


class _Signature(SigV4Auth):  # type: ignore[misc] # the SDK has no types
    """The SDK's signature, by the clock that follows the service's."""

    def __init__(self, call: _Call, service: str, region: str) -> None:
        keys = call.credentials
        super().__init__(
            ReadOnlyCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token),
            service,
            region,
        )
        self._stamp = call.stamp

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._stamp
        super()._modify_request_before_signing(request)


_REPLY = "Reply"


class _AsItCame:
    """What the SDK parses replies with: it leaves them as they are."""

    def create_parser(self, protocol: str) -> Self:  # noqa: ARG002 - the SDK's signature
        return self

    async def parse(self, response: Mapping[str, object], shape: object) -> dict[str, Reply]:  # noqa: ARG002 - aiobotocore's signature
        status, headers, body = response["status_code"], response["headers"], response["body"]
        return {_REPLY: Reply(cast("int", status), cast("Mapping[str, str]", headers), cast("bytes", body))}


class _CallLogFilter(logging.Filter):
    """Lets through what is not logged by a call of ours, and what is no detail."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _CALL.get() is None or record.levelno > logging.DEBUG


class _Body(NamedTuple):
    """A body that has been read, in the form in which the SDK reads bodies."""

    content: bytes

    async def read(self) -> bytes:
        return self.content


class _Sender:
    """What a client of the SDK sends its requests with, in the place of the SDK's own class."""

    def __init__(self, wire: _Wire, **_: object) -> None:
        self._wire = wire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is this client's alone."""

    async def close(self) -> None:
        """Nothing is this client's alone."""

    async def send(self, request: AWSPreparedRequest) -> AioAWSResponse:
        reply = await self._wire.exchange(request, _call())
        return AioAWSResponse(request.url, reply.status, reply.headers, _Body(reply.body))


class _Used:
    """The connection that a request was sent over: whether it had been used before."""

    __slots__ = ("again",)

    def __init__(self) -> None:
        self.again = False


async def _note_reuse(
    session: aiohttp.ClientSession,  # noqa: ARG001 - aiohttp's signature
    context: SimpleNamespace,
    parameters: aiohttp.TraceConnectionReuseconnParams,  # noqa: ARG001 - aiohttp's signature
) -> None:
    context.trace_request_ctx.again = True


class _Wire:
    """The connections that all clients share."""

    def __init__(self, ca_bundle: str | None) -> None:
        self._ca_bundle = ca_bundle
        self._tls: ssl.SSLContext | None = None
        self._contexts: SingleFlight[str, ssl.SSLContext] = SingleFlight()
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Be ready to connect."""
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        self._session = aiohttp.ClientSession(
            # Whoever calls keeps to `most_connections`.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ttl_dns_cache=_NAMES_KEPT),
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
        """Load the authorities that are trusted, where they are needed. That takes a thread 20 to 40 ms."""
        if self._session is None:
            raise RuntimeError("the transport is closed")
        if self._tls is None and "https" in (
            urlsplit(each or "").scheme for each in (template.url, template.proxy)
        ):
            self._tls = await self._contexts.run(
                "tls",
                lambda: anyio.to_thread.run_sync(trusting, self._ca_bundle, abandon_on_cancel=True),
            )

    async def exchange(self, request: AWSPreparedRequest, call: _Call) -> Reply:
        """Send a request and return its reply. Raises what a transport's `send` raises."""
        host = _host(request.url)
        while True:
            connection = _Used()
            try:
                return await self._exchange(host, request, call, connection)
            except aiohttp.ClientError as error:
                failure = _failure(host, error, call.timeout)
            # A server may close a connection that it has kept just as the next request is on its way. That
            # says nothing about the service, and the request goes out again.
            stale = connection.again and isinstance(failure, UnreachableError)
            if not stale or self._session is None:
                # Outside: the error knows the request's headers.
                raise failure

    async def _exchange(
        self, host: str, request: AWSPreparedRequest, call: _Call, connection: _Used
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
            # A proxy that forwards plain HTTP reads them in the request itself.
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


def _failure(host: str, error: aiohttp.ClientError, limits: aiohttp.ClientTimeout) -> CallError:
    """Return what an error of aiohttp means, before there is a reply."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            certificate = error.certificate_error
            return failure_of(error.host, certificate if isinstance(certificate, OSError) else error)
        case aiohttp.ClientConnectorError():
            return failure_of(error.host, error.os_error)
        case aiohttp.ServerTimeoutError():
            code, why = "ConnectTimeout", f"no connection within {round(limits.sock_connect or 0, 1):g} s"
        case aiohttp.ClientHttpProxyError():
            code, why = "ProxyError", f"the proxy refused the connection with status {error.status}"
        case aiohttp.ClientResponseError() if error.request_info.method == "CONNECT":
            code, why = "ProxyError", "the proxy's answer is not HTTP"
        case aiohttp.ClientResponseError():
            return bad_reply(host, *NOT_HTTP, status=0, headers={})
        case aiohttp.ServerDisconnectedError() if not isinstance(error.message, str):
            # It has come in part.
            return bad_reply(host, *CUT_OFF, status=0, headers={})
        case aiohttp.ServerDisconnectedError():
            code, why = "ConnectionClosed", "it closed the connection without a reply"
        case OSError():
            code, why = "ConnectionClosed", error.strerror or "the connection has ended"
        case _:
            code, why = "ConnectionClosed", "the connection has ended"
    return UnreachableError(f"no answer from {host}: {why}", code=code)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
