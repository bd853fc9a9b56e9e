"""HTTP for every call to AWS: one connection pool, one TLS context, replies read whole or not at all."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import aiohttp
import anyio.to_thread

from poolcensus.errors import BadResponseError, CallTimeoutError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from yarl import URL

_LARGEST_BODY = 16 * 1024 * 1024
_CHUNK = 64 * 1024
# AWS closes idle connections after about 20 s: one that is about to be closed isn't worth a call.
_KEEP_ALIVE = 12.0
_SKIPPED_HEADERS = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. Header names are as aiohttp compares them: without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests and reads replies; knows nothing of signatures or operations.

    Redirects are never followed: aiohttp would take the session token along to another origin. A reply
    that ends early, grows past 16 MiB or can't be decompressed is an error, not a short body.
    """

    def __init__(self, *, connect_timeout: float, ca_bundle: str | None) -> None:
        self._connect_timeout = connect_timeout
        self._ca_bundle = ca_bundle
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Loading the CA bundle takes 20 to 40 ms: once, and off the event loop.
        context = await anyio.to_thread.run_sync(self._tls_context)
        connector = aiohttp.TCPConnector(
            limit=0, ssl=context, ttl_dns_cache=300, keepalive_timeout=_KEEP_ALIVE
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            skip_auto_headers=_SKIPPED_HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_timeout),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            with anyio.CancelScope(shield=True, deadline=anyio.current_time() + 2):
                await session.close()

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout: float,  # noqa: ASYNC109 - aiohttp cancels its own timer; a scope around each call costs more
        proxy: str | None = None,
    ) -> Reply:
        """Send one request and read its reply, both within `timeout` seconds.

        Raises UnreachableError, CallTimeoutError or BadResponseError.
        """
        session = self._session
        if session is None:
            raise RuntimeError("the transport is closed")
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=self._connect_timeout)
        try:
            async with session.request(
                method, url, data=body, headers=headers, allow_redirects=False, timeout=limits, proxy=proxy
            ) as response:
                return Reply(response.status, response.headers, await _whole_body(response))
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientSSLError) as error:
            raise UnreachableError(_describe(url, error), code=type(error).__name__) from error
        except TimeoutError as error:
            message = f"{url.host} did not answer within {timeout:g} s"
            raise CallTimeoutError(message, code="Timeout") from error
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            message = f"{url.host} sent a reply that is cut off or not HTTP"
            raise BadResponseError(message, code="BrokenReply") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(_describe(url, error), code=type(error).__name__) from error

    def _tls_context(self) -> ssl.SSLContext:
        if self._ca_bundle is not None and os.path.isdir(self._ca_bundle):  # noqa: PTH112 - in a worker thread
            return ssl.create_default_context(capath=self._ca_bundle)
        return ssl.create_default_context(cafile=self._ca_bundle)


async def _whole_body(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length <= _LARGEST_BODY and "Content-Encoding" not in response.headers:
        return await response.read()
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(_CHUNK):
        size += len(chunk)
        if size > _LARGEST_BODY:
            raise BadResponseError(
                f"a reply of more than {_LARGEST_BODY} bytes", code="OversizedReply", status=response.status
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _describe(url: URL, error: BaseException) -> str:
    match error:
        case aiohttp.ConnectionTimeoutError():
            why = "it did not answer"
        case aiohttp.ClientConnectorDNSError():
            why = "the name does not resolve"
        case aiohttp.ClientConnectorCertificateError():
            why = f"its certificate is not trusted ({error.certificate_error})"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            why = "the proxy refused or did not answer"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError():
            why = "it closed the connection without a reply"
        case OSError(strerror=str(text)) if text:
            why = text
        case _:
            why = type(error).__name__
    return f"no answer from {url.host}: {why}"
