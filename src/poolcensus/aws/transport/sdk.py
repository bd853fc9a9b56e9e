"""A transport over aioboto3, with a client for each service and region.

The clients resolve the endpoint of a call, form its request and sign it. They share the connections of
`sdk_connections`, and read each call's body and credentials from `sdk_call`.

Importing this module imports the asynchronous SDK.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, cast

import aioboto3
import aiohttp
import anyio
import anyio.to_thread
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from poolcensus.aws.sdk.limits import reading_in_time
from poolcensus.aws.sdk.logs import CALL_LOGGERS
from poolcensus.aws.transport.failures import LIMITS, failure_of
from poolcensus.aws.transport.protocol import LONGEST_CLOSE, no_answer_in_time
from poolcensus.aws.transport.sdk_call import CALL, REPLY, CallLogFilter, SdkCall, new_session
from poolcensus.aws.transport.sdk_connections import Sender, Wire, host_of
from poolcensus.errors import FatalError, SettingsError, reason_of
from poolcensus.flow.singleflight import SingleFlight
from poolcensus.loops import in_thread
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from aiobotocore.session import AioSession

    from poolcensus.aws.signing import Credentials, RequestTemplate, SdkOperation
    from poolcensus.aws.transport.protocol import Reply
    from poolcensus.aws.transport.tls import Trust


class _Client(Protocol):
    """A client of the SDK, which has no types. Its operations are methods."""


class _ClientKey(NamedTuple):
    service: str
    region: str


class SdkTransport:
    """A `Transport` that uses aioboto3's clients.

    `connect_timeout` limits the connection to a host, including its TLS handshake, in seconds.
    """

    def __init__(
        self, *, profile: str | None, endpoint_url: str | None, connect_timeout: float, trust: Trust
    ) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._connect_timeout = connect_timeout
        self._session: AioSession | None = None
        self._clients: dict[_ClientKey, _Client] = {}
        self._making: SingleFlight[_ClientKey, None] = SingleFlight()
        self._one_thread = anyio.CapacityLimiter(1)
        # The limiter doesn't count a thread that still works for a caller that was cancelled.
        self._lock = threading.Lock()
        self._wire = Wire(trust)
        self._log_filter = CallLogFilter()

    async def __aenter__(self) -> Self:
        for name in CALL_LOGGERS:
            logging.getLogger(name).addFilter(self._log_filter)
        self._wire.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for name in CALL_LOGGERS:
            logging.getLogger(name).removeFilter(self._log_filter)
        with anyio.CancelScope(shield=True, deadline=anyio.current_time() + LONGEST_CLOSE):
            await self._wire.close()

    async def send(
        self,
        template: RequestTemplate,
        body: bytes,
        credentials: Credentials,
        stamp: str,
        *,
        timeout: float,  # noqa: ASYNC109 - the protocol's
    ) -> Reply:
        client = await self._client(_ClientKey(template.operation.service, template.operation.region))
        await self._wire.prepare(template)
        limits = aiohttp.ClientTimeout(
            total=None,
            # `connect` includes the lookup of the name, and `sock_connect` is for an address.
            connect=min(2 * self._connect_timeout, timeout),
            sock_connect=min(self._connect_timeout, timeout),
        )
        before = CALL.set(SdkCall(body, credentials, stamp, limits, template.proxy))
        try:
            with anyio.move_on_after(timeout):
                return await _answer(client, template.operation)
        finally:
            CALL.reset(before)
        raise no_answer_in_time(host_of(template.url), timeout)

    async def _client(self, key: _ClientKey) -> _Client:
        if key not in self._clients:
            await self._making.run(key, lambda: self._make(key))
        return self._clients[key]

    async def _make(self, key: _ClientKey) -> None:
        # Inside the limiter, so that the time limit is for this client alone.
        async with self._one_thread:
            with reading_in_time():
                self._clients[key] = await in_thread(self._new_client, key)

    def _new_client(self, key: _ClientKey) -> _Client:
        """Return a new client. It has no connection of its own, and belongs to no event loop.

        Creating one reads files for many milliseconds, and the SDK does that inside a coroutine. So the
        coroutine runs in an event loop of this thread.
        """

        async def _enter_in_thread() -> _Client:
            if self._session is None:
                self._session = new_session(self._profile)
            opening: AbstractAsyncContextManager[_Client] = aioboto3.Session(
                botocore_session=self._session
            ).client(
                key.service,
                region_name=key.region,
                endpoint_url=self._endpoint_url,
                config=AioConfig(
                    http_session_cls=partial(Sender, self._wire),
                    user_agent_extra=TOOL,
                    # The caller retries, and counts retries.
                    retries={"mode": "standard", "total_max_attempts": 1},
                    # Methods are called without arguments, since bodies come from the operation.
                    parameter_validation=False,
                ),
                # Each call is signed with its own credentials. Without these, the SDK would walk its chain.
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
            raise FatalError(f"The AWS SDK's own files can't be read: {reason_of(error)}.") from None
        # For malformed sections the SDK raises AttributeError, KeyError and more.
        except Exception as error:  # noqa: BLE001 - the SDK raises anything on a malformed section
            raise _no_client(key, f"your AWS config is malformed ({type(error).__name__})") from None


async def _answer(client: _Client, operation: SdkOperation) -> Reply:
    method: Callable[[], Awaitable[Mapping[str, Reply]]] = getattr(client, operation.method)
    try:
        return (await method())[REPLY]
    except ClientError as error:
        # The SDK raises it for a status of 300 or more.
        return cast("Mapping[str, Reply]", error.response)[REPLY]
    except BotoCoreError as error:
        raise _no_client(_ClientKey(operation.service, operation.region), str(error)) from None


def _no_client(key: _ClientKey, why: str) -> SettingsError:
    return SettingsError(f"no client for {key.service} in {key.region} can be made: {why}")
