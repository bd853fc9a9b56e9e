"""The SDK, for what it knows best: the credential chain, the configuration, endpoints, request forms.

No request leaves through the SDK's own transport. A client prepares one request for each operation and
region (endpoint rules, FIPS, dualstack, `AWS_ENDPOINT_URL_*`, headers), and calls are made from that.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, cast

import aioboto3
import anyio.to_thread
from aiobotocore.config import AioConfig
from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound
from botocore.httpsession import get_cert_path
from yarl import URL

from poolcensus.aws.proxies import Proxies
from poolcensus.aws.signing import Credentials, RequestTemplate
from poolcensus.errors import CredentialsError, SettingsError
from poolcensus.singleflight import SingleFlight
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


class _ConfigStore(Protocol):
    """What is used of botocore's session, which has no types."""

    def get_config_variable(self, name: str) -> str | None: ...
    def set_config_variable(self, name: str, value: str) -> None: ...
    async def get_credentials(self) -> _SdkCredentials | None: ...

    _credentials: _SdkCredentials | None


class _SdkCredentials(Protocol):
    async def get_frozen_credentials(self) -> _FrozenCredentials: ...


class _FrozenCredentials(Protocol):
    access_key: str
    secret_key: str
    token: str | None


# A chain may call STS (a role, a web identity), read files and run a process.
_CHAIN_ERRORS = (BotoCoreError, ClientError, OSError, ValueError)
_HOP_HEADERS = frozenset({"content-length", "host", "connection", "expect"})


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request that the SDK has formed and nobody has signed or sent."""

    template: RequestTemplate
    body: bytes


class Sdk:
    """One session of the SDK: who the caller is configured to be, and how requests look."""

    def __init__(self, *, profile: str | None, endpoint_url: str | None) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._session: aioboto3.Session | None = None
        self._credentials: _SdkCredentials | None = None
        self._proxies = Proxies()
        self._prepared: dict[tuple[str, str, str], PreparedRequest] = {}
        self._one_thread = anyio.CapacityLimiter(1)
        self._flights: SingleFlight[tuple[str, str, str], PreparedRequest] = SingleFlight()

    async def open(self) -> None:
        """Read the SDK's configuration. Raises SettingsError where it can't be read."""
        # A session takes some 40 ms of file reading: not on the event loop.
        self._session = await anyio.to_thread.run_sync(self._open_session)

    def _open_session(self) -> aioboto3.Session:
        try:
            session = aioboto3.Session(profile_name=self._profile)
            core = _core(session)
            # Tokens of the global STS endpoint are refused in opt-in regions.
            core.set_config_variable("sts_regional_endpoints", "regional")
        except ProfileNotFound as error:
            raise SettingsError(f"{error}: name one of your AWS configuration with --profile") from None
        except BotoCoreError as error:
            raise SettingsError(f"the AWS configuration can't be read: {error}") from None
        return session

    @property
    def region(self) -> str | None:
        """The region of the caller's configuration, if it names one."""
        name = _core(self._opened).get_config_variable("region")
        return name or os.environ.get("AWS_REGION")

    @property
    def ca_bundle(self) -> str | None:
        """The file or folder of the authorities that are trusted."""
        configured = _core(self._opened).get_config_variable("ca_bundle")
        path = get_cert_path(configured or True)
        return str(path) if path else None

    async def caller_credentials(self) -> tuple[Credentials, float]:
        """The caller's credentials as the chain has them now, and until when they may be kept.

        The time is on the monotonic clock; it is short for credentials that the chain renews itself.
        Raises CredentialsError where the chain finds none or can't renew what it found.
        """
        try:
            if self._credentials is None:
                self._credentials = await _core(self._opened).get_credentials()
            found = self._credentials
            frozen = await found.get_frozen_credentials() if found is not None else None
        except _CHAIN_ERRORS as error:
            raise CredentialsError(f"the caller's credentials can't be had: {error}") from None
        if frozen is None:
            raise CredentialsError(
                f"no AWS credentials: {NoCredentialsError()} (set AWS_PROFILE or --profile, or sign in with"
                " 'aws sso login')"
            )
        renews = hasattr(found, "refresh_needed")
        until = time.monotonic() + 10.0 if renews else float("inf")
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or None), until

    def forget_caller_credentials(self) -> None:
        """Walk the chain anew next time: the service says that what it gave has expired."""
        self._credentials = None
        # The SDK's session keeps what it found, and has no public way to drop it.
        _core(self._opened)._credentials = None  # noqa: SLF001 - see above

    async def template(
        self, service: str, region: str, operation: str, sample: Mapping[str, object] | None = None
    ) -> RequestTemplate:
        """What every call of an operation in a region has in common.

        `operation` is the SDK's method name. `sample` holds values for the required parameters; they
        are validated and then forgotten with the body.
        """
        key = (service, region, operation)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = await self._flights.run(key, lambda: self._prepare(*key, sample or {}))
            self._prepared[key] = prepared
        return prepared.template

    async def _prepare(
        self, service: str, region: str, operation: str, parameters: Mapping[str, object]
    ) -> PreparedRequest:
        # Making a client reads files, and so does its first request: it has a thread and a loop of its
        # own. One at a time, since the SDK's session is not made for several threads.
        def prepare() -> PreparedRequest:
            return asyncio.run(self._prepare_in_thread(service, region, operation, parameters))

        return await anyio.to_thread.run_sync(prepare, limiter=self._one_thread)

    async def _prepare_in_thread(
        self, service: str, region: str, operation: str, parameters: Mapping[str, object]
    ) -> PreparedRequest:
        captured: list[Mapping[str, object]] = []

        def capture(params: Mapping[str, object], **_: object) -> tuple[AWSResponse, dict[str, object]]:
            captured.append(params)
            return AWSResponse(None, 200, {}, None), {}

        try:
            async with self._opened.client(
                service,
                region_name=region,
                endpoint_url=self._endpoint_url,
                config=AioConfig(user_agent_extra=TOOL),
                # Nothing is signed here: the chain is not to be walked for it.
                aws_access_key_id="none",
                aws_secret_access_key="none",  # noqa: S106 - a placeholder
            ) as client:
                # A `before-call` handler that answers takes the place of signing and sending.
                client.meta.events.register("before-call", capture)
                await getattr(client, operation)(**parameters)
                signing_name = client.meta.service_model.signing_name
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(f"no request for {service} in {region} can be formed: {error}") from None
        return self._prepared_from(captured[0], region, signing_name)

    def _prepared_from(
        self, request: Mapping[str, object], region: str, signing_name: str
    ) -> PreparedRequest:
        context = cast("Mapping[str, Mapping[str, str]]", request["context"])
        signing = context.get("signing", {})
        raw_headers = cast("Mapping[str, str | bytes]", request["headers"])
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in raw_headers.items()
            if name.lower() not in _HOP_HEADERS
        }
        url = URL(cast("str", request["url"]), encoded=True)
        body = request["body"]
        return PreparedRequest(
            RequestTemplate(
                method=cast("str", request["method"]),
                url=url,
                host=url.raw_authority if url.explicit_port else str(url.raw_host),
                path=url.raw_path or "/",
                headers=headers,
                service=signing.get("signing_name") or signing_name,
                region=signing.get("region") or region,
                proxy=self._proxies.of(str(url)),
            ),
            body if isinstance(body, bytes) else b"",
        )

    @property
    def _opened(self) -> aioboto3.Session:
        if self._session is None:
            raise RuntimeError("the SDK's session is not open")
        return self._session

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._session = self._credentials = None
        self._prepared.clear()


def _core(session: aioboto3.Session) -> _ConfigStore:
    # aioboto3 has no public way to the session underneath, which holds configuration and the chain.
    return cast("_ConfigStore", session._session)  # noqa: SLF001 - see above
