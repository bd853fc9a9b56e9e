"""Sends requests to S3 with the asynchronous SDK, where its own way would not be safe.

The SDK does not check host names against certificates, checks no certificates behind a proxy, and follows
redirects, which would send the session token to another origin.

Importing this module imports the asynchronous SDK. Only code that uses S3 does so.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError, ResponseStreamingError

from poolcensus.aws.sdk.data_files import read_fast
from poolcensus.aws.sdk.pseudo_regions import set_region
from poolcensus.aws.transport.sdk_names import Resolver
from poolcensus.storage.base import CONNECTIONS
from poolcensus.storage.s3.refusals import ForeignReplyError, PageError, RedirectedError
from poolcensus.version import TOOL

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.credentials import ReadOnlyCredentials

_ANY_REGION = "us-east-1"
_ATTEMPTS = 5
# Statuses that have a meaning without a body: access is denied, and there is no such object.
_BELIEVED = frozenset({403, 404})


class Client(Protocol):
    """The SDK's client, which has no types. Its operations are methods with the operations' names."""

    meta: _Meta

    async def close(self) -> None: ...


class _Meta(Protocol):
    endpoint_url: str


class Body(Protocol):
    """The part of a reply's body that is used here."""

    def read(self, size: int) -> Awaitable[bytes]: ...
    def close(self) -> None: ...


class _Signing(AioCredentials):  # type: ignore[misc] # the SDK has no types
    """Credentials that are requested again before each signature."""

    def __init__(self, current: Callable[[], Awaitable[ReadOnlyCredentials]]) -> None:
        super().__init__("none", "none")
        self._current = current

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return await self._current()


class _Unredirected:
    """An aiohttp session that follows no redirects. The SDK itself finds the region of a bucket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, *args: object, **options: object) -> Awaitable[aiohttp.ClientResponse]:
        request = cast("Callable[..., Awaitable[aiohttp.ClientResponse]]", self._session.request)
        return request(*args, **options, allow_redirects=False)


class _Connections(AIOHTTPSession):  # type: ignore[misc] # the SDK has no types
    def __init__(self, tls: ssl.SSLContext, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._tls = tls

    def _create_connector(self, proxy_url: str | None) -> aiohttp.TCPConnector:  # noqa: ARG002 - aiobotocore's signature
        return aiohttp.TCPConnector(
            limit=self._max_pool_connections, ssl=self._tls, resolver=Resolver(), **self._connector_args
        )

    async def send(self, request: AWSPreparedRequest) -> AWSResponse:
        response = await super().send(request)
        moved = 300 < response.status_code < 400 and response.status_code != 304
        if moved and request.method == "HEAD" and "x-amz-bucket-region" not in response.headers:
            # The SDK would ask for the bucket's region, be redirected again, and repeat this without end.
            raise RedirectedError
        if response.status_code >= 300:
            body = await _error_body(request, response)
            # Without an error code, the SDK uses the status as the code, and so mistakes a page for S3's
            # reply.
            is_page = request.method != "HEAD" and body and b"Code>" not in body
            if is_page and response.status_code in _BELIEVED:
                raise PageError(status=response.status_code)
        elif request.method == "DELETE" and not await _is_bare(response):
            raise ForeignReplyError
        elif request.method == "HEAD" and _is_page(response):
            # A reply to HEAD has no body that could be checked.
            raise ForeignReplyError
        return response

    async def _get_session(self, proxy_url: str | None) -> _Unredirected:
        return _Unredirected(await super()._get_session(proxy_url))


async def _is_bare(response: AWSResponse) -> bool:
    """Return whether a reply confirms a deletion: by 204, or by 200 without a body, as some services do."""
    if response.status_code == 204:
        return True
    return response.status_code == 200 and not _is_page(response) and not await response.content


def _is_page(response: AWSResponse) -> bool:
    content_type: str = response.headers.get("content-type", "")
    return content_type.lower().startswith("text/html")


async def _error_body(request: AWSPreparedRequest, response: AWSResponse) -> bytes:
    """Return the body of an error. The SDK itself would read it only after its last attempt."""
    try:
        return cast("bytes", await response.content)
    except TimeoutError as error:
        raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
    except aiohttp.ClientError as error:
        raise ConnectionClosedError(endpoint_url=request.url, request=request, error=error) from error


def new_client(
    *,
    profile: str | None,
    endpoint_url: str | None,
    region: str | None,
    credentials: Callable[[], Awaitable[ReadOnlyCredentials]],
    tls: ssl.SSLContext,
    connect_timeout: float,
    read_timeout: float,
) -> AbstractAsyncContextManager[Client]:
    """Return a client of S3 that is not open yet. Blocks, since it reads the SDK's configuration and models.

    `credentials` returns the current credentials. Raises the errors of botocore for a wrong configuration.
    """
    session = AioSession(profile=profile)
    read_fast(session)
    set_region(session)
    # Times stay text. Otherwise, a malformed time that is not even used would raise a ValueError.
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    session.get_component("event_emitter").register_last("before-call.s3", _send_at_once)
    # Otherwise the SDK would go through its credential chain again.
    session._credentials = _Signing(credentials)  # noqa: SLF001 - there is no public way
    config = AioConfig(
        http_session_cls=partial(_Connections, tls),
        user_agent_extra=TOOL,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        # The senders of bodies compute the checksums. The SDK would block the event loop for that, and send
        # the checksum as a trailer, which many compatible services can't read.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client: AbstractAsyncContextManager[Client] = aioboto3.Session(botocore_session=session).client(
        "s3", region_name=region or _ANY_REGION, endpoint_url=endpoint_url, config=config
    )
    return client


def _send_at_once(params: dict[str, dict[str, str]], **_: object) -> None:
    # With "Expect: 100-continue", the SDK would wait without end for a service that ignores it.
    params["headers"].pop("Expect", None)


async def read_body(body: Body, size: int, *, at_least: int) -> bytes:
    """Return at most `size` bytes of a reply. Raises the errors of botocore if the connection breaks.

    Fewer bytes than `at_least` count as a broken connection, too: a reply without a length just ends, and a
    proxy may state the length of what it has received.
    """
    found = bytearray()
    try:
        while len(found) < size and (chunk := await body.read(size - len(found))):
            found += chunk
    except aiohttp.ClientError as error:
        raise ResponseStreamingError(error=error) from error
    finally:
        body.close()
    if len(found) < at_least:
        raise ResponseStreamingError(error=f"{at_least - len(found)} bytes are missing")
    return bytes(found)
