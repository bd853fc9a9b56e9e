"""The SDK, for what it knows best: the credential chain, the configuration, endpoints, request forms.

No request leaves through the SDK's own transport. A client prepares one request for each operation and
region (endpoint rules, FIPS, dualstack, `AWS_ENDPOINT_URL_*`, headers), and calls are made from that.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound
from botocore.httpsession import get_cert_path
from botocore.regions import EndpointResolverBuiltins

from poolcensus.aws.proxies import Proxies
from poolcensus.aws.sdk_data import Data, DataFiles
from poolcensus.aws.signing import Credentials, RequestTemplate
from poolcensus.errors import CredentialsError, FatalError, SettingsError
from poolcensus.singleflight import SingleFlight
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from botocore.loaders import Loader


class _Client(Protocol):
    """What is used of botocore's clients, which have no types. Its operations are methods."""

    meta: _ClientMeta

    def close(self) -> None: ...


class _ClientMeta(Protocol):
    events: _Events
    service_model: _ServiceModel


class _Events(Protocol):
    def register(self, name: str, handler: Callable[..., object]) -> None: ...


class _ServiceModel(Protocol):
    signing_name: str


class _Session(Protocol):
    """What is used of botocore's session, which has no types."""

    def get_config_variable(self, name: str) -> str | None: ...
    def set_config_variable(self, name: str, value: str) -> None: ...
    def get_scoped_config(self) -> Mapping[str, object]: ...
    def get_component(self, name: str) -> Loader: ...
    def register_component(self, name: str, component: object) -> None: ...
    def get_credentials(self) -> _SdkCredentials | None: ...
    def create_client(self, service: str, **options: object) -> _Client: ...

    _credentials: _SdkCredentials | None


class _SdkCredentials(Protocol):
    def get_frozen_credentials(self) -> _FrozenCredentials: ...


class _FrozenCredentials(Protocol):
    access_key: str
    secret_key: str
    token: str | None


Answer = TypeVar("Answer")

# A chain may call STS (a role, a web identity), read files and run a process.
_CHAIN_ERRORS = (BotoCoreError, ClientError, OSError, ValueError)
# Long enough for a person who is asked for an MFA code.
_LONGEST_CHAIN = 120.0
_TELL_OF_CALLS = ("botocore.auth", "botocore.endpoint", "botocore.parsers", "botocore.utils")
_HOP_HEADERS = frozenset({"content-length", "host", "connection", "expect"})


class _NotOfThisThread(logging.Filter):
    """Lets through what other threads log, and what is no detail of a call."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or threading.get_ident() != self._thread


@contextmanager
def _calls_untold() -> Iterator[None]:
    """Keeps the calls that this thread makes through the SDK out of a log at DEBUG.

    A chain may assume a role or ask a metadata service. The SDK would log its external id, and the keys and
    the token of the reply, for a program that has only asked for its own log at DEBUG.
    """
    untold = _NotOfThisThread()
    loggers = [logging.getLogger(name) for name in _TELL_OF_CALLS]
    for logger in loggers:
        logger.addFilter(untold)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(untold)


class _RegionlessClient:
    """A client of the SDK that is asked how its requests look in one region after the other.

    A client for each region would cost milliseconds each, for what differs in nothing but the region that
    the endpoint rules are asked about.
    """

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._regions: list[str] = []
        self._captured: Mapping[str, object] = {}
        events = client.meta.events
        # Handlers are expected to change the rules' built-in values in place:
        # https://github.com/boto/botocore/blob/1.40.61/botocore/regions.py#L660
        events.register("before-endpoint-resolution", self._ask_about_region)
        # A `before-call` handler that answers takes the place of signing and sending.
        events.register("before-call", self._capture)

    @property
    def signing_name(self) -> str:
        """What signatures call the service, where the endpoint's rules don't say."""
        return self._client.meta.service_model.signing_name

    def request(self, region: str, operation: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        """The request as the SDK would send it. Raises BotoCoreError and ValueError."""
        self._regions = [region]
        getattr(self._client, operation)(**parameters)
        if self._regions:
            raise RuntimeError("the SDK formed a request without asking for its region's endpoint")
        return self._captured

    def close(self) -> None:
        """Let go of it."""
        self._client.close()

    def _ask_about_region(self, builtins: dict[str, object], **_: object) -> None:
        builtins[EndpointResolverBuiltins.AWS_REGION] = self._regions.pop()

    def _capture(self, params: Mapping[str, object], **_: object) -> tuple[AWSResponse, dict[str, object]]:
        self._captured = params
        return AWSResponse(None, 200, {}, None), {}


class Sdk:
    """One session of the SDK: who the caller is configured to be, and how requests look.

    All that it does may read files, and the chain may call a service or run a process: it happens in a
    thread, one thing at a time, since the SDK's session is not made for several threads.
    """

    def __init__(self, *, profile: str | None, endpoint_url: str | None) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._session: _Session | None = None
        self._credentials: _SdkCredentials | None = None
        self._proxies = Proxies()
        self._clients: dict[str, _RegionlessClient] = {}
        self._templates: dict[tuple[str, str, str], RequestTemplate] = {}
        self._one_thread = anyio.CapacityLimiter(1)
        # The limiter doesn't count a thread that a caller who was cancelled has left at work.
        self._forming = threading.Lock()
        self._flights: SingleFlight[tuple[str, str, str], RequestTemplate] = SingleFlight()

    async def open(self) -> None:
        """Read the SDK's configuration. Raises SettingsError where it can't be read."""
        self._session = await self._in_thread(self._open_session)

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        # A chain's process may hang: whoever is cancelled meanwhile doesn't wait for it.
        return await anyio.to_thread.run_sync(work, limiter=self._one_thread, abandon_on_cancel=True)

    def _open_session(self) -> _Session:
        try:
            session = cast("_Session", botocore.session.Session(profile=self._profile))
            session.get_scoped_config()
            paths = session.get_component("data_loader").search_paths
            data = Data(paths, DataFiles(), include_default_search_paths=False)
            session.register_component("data_loader", data)
            # Tokens of the global STS endpoint are refused in opt-in regions.
            session.set_config_variable("sts_regional_endpoints", "regional")
        except ProfileNotFound as error:
            raise SettingsError(f"{error}: name one of your AWS configuration with --profile") from None
        except BotoCoreError as error:
            raise SettingsError(f"the AWS configuration can't be read: {error}") from None
        except OSError as error:
            raise FatalError(f"the AWS configuration can't be read: {_in_words(error)}") from None
        return session

    @property
    def region(self) -> str | None:
        """The region of the caller's configuration, if it names one."""
        return self._opened.get_config_variable("region") or os.environ.get("AWS_REGION")

    @property
    def ca_bundle(self) -> str | None:
        """The file or folder of the authorities that are trusted."""
        path = get_cert_path(self._opened.get_config_variable("ca_bundle") or True)
        return str(path) if path else None

    async def caller_credentials(self) -> tuple[Credentials, float]:
        """The caller's credentials as the chain has them now, and until when they may be kept.

        The time is on the monotonic clock; it is short for credentials that the chain renews itself.
        Raises CredentialsError where the chain finds none, can't renew what it found, or takes two minutes.
        """
        try:
            with anyio.fail_after(_LONGEST_CHAIN):
                frozen = await self._in_thread(self._walk_chain)
        except TimeoutError:
            raise CredentialsError(
                f"the caller's credentials can't be had: nothing after {_LONGEST_CHAIN:g} s (is there a"
                " credential_process that waits, or a metadata service that doesn't answer?)"
            ) from None
        except _CHAIN_ERRORS as error:
            why = _in_words(error) if isinstance(error, OSError) else error
            raise CredentialsError(f"the caller's credentials can't be had: {why}") from None
        if frozen is None:
            raise CredentialsError(
                f"no AWS credentials: {NoCredentialsError()} (set AWS_PROFILE or --profile, or sign in with"
                " 'aws sso login')"
            )
        renews = hasattr(self._credentials, "refresh_needed")
        until = time.monotonic() + 10.0 if renews else float("inf")
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or None), until

    def _walk_chain(self) -> _FrozenCredentials | None:
        with _calls_untold():
            if self._credentials is None:
                self._credentials = self._opened.get_credentials()
            return self._credentials.get_frozen_credentials() if self._credentials is not None else None

    def forget_caller_credentials(self) -> None:
        """Walk the chain anew next time: the service says that what it gave has expired."""
        self._credentials = None
        # The SDK's session keeps what it found, and has no public way to drop it.
        self._opened._credentials = None  # noqa: SLF001 - see above

    async def template(
        self, service: str, region: str, operation: str, sample: Mapping[str, object] | None = None
    ) -> RequestTemplate:
        """What every call of an operation in a region has in common.

        `operation` is the SDK's method name. `sample` holds values for the required parameters; they
        are validated and then forgotten with the body.
        """
        key = (service, region, operation)
        template = self._templates.get(key)
        if template is None:
            template = await self._flights.run(
                key, lambda: self._in_thread(lambda: self._form(*key, sample or {}))
            )
            self._templates[key] = template
        return template

    def _form(
        self, service: str, region: str, operation: str, parameters: Mapping[str, object]
    ) -> RequestTemplate:
        try:
            with self._forming:
                client = self._clients.get(service)
                if client is None:
                    client = self._clients[service] = self._client(service, region)
                request = client.request(region, operation, parameters)
            return self._template_from(request, region, client.signing_name)
        except (BotoCoreError, ValueError) as error:
            raise SettingsError(f"no request for {service} in {region} can be formed: {error}") from None
        except OSError as error:
            raise FatalError(f"the AWS SDK's own files can't be read: {_in_words(error)}") from None

    def _client(self, service: str, region: str) -> _RegionlessClient:
        return _RegionlessClient(
            self._opened.create_client(
                service,
                region_name=region,
                endpoint_url=self._endpoint_url,
                config=Config(user_agent_extra=TOOL),
                # Nothing is signed here: the chain is not to be walked for it.
                aws_access_key_id="none",
                aws_secret_access_key="none",  # noqa: S106 - a placeholder
            )
        )

    def _template_from(
        self, request: Mapping[str, object], region: str, signing_name: str
    ) -> RequestTemplate:
        context = cast("Mapping[str, Mapping[str, str]]", request["context"])
        signing = context.get("signing", {})
        raw_headers = cast("Mapping[str, str | bytes]", request["headers"])
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else str(value)
            for name, value in raw_headers.items()
            if name.lower() not in _HOP_HEADERS
        }
        url = cast("str", request["url"])
        parts = urlsplit(url)
        if parts.port == 0:  # reading it raises ValueError for any other that is none
            raise ValueError("port 0")
        return RequestTemplate(
            method=cast("str", request["method"]),
            url=url,
            host=parts.netloc.rpartition("@")[2],
            path=parts.path or "/",
            headers=headers,
            service=signing.get("signing_name") or signing_name,
            region=signing.get("region") or region,
            proxy=self._proxies.of(url),
        )

    @property
    def _opened(self) -> _Session:
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
        # A thread whose caller was cancelled may be about to add one.
        for client in list(self._clients.values()):
            client.close()
        self._clients.clear()
        self._templates.clear()


def _in_words(error: OSError) -> str:
    name = f"{error.filename}: " if error.filename is not None else ""
    advice = " (ulimit -n raises the limit on open files)" if error.errno == errno.EMFILE else ""
    return f"{name}{error.strerror or error}{advice}"
