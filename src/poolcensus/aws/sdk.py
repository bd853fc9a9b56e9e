"""The SDK, for what it knows best: the credential chain, the configuration, endpoints, request forms.

No request leaves through the SDK's own transport. A client prepares one request for each operation and
region (endpoint rules, FIPS, dualstack, `AWS_ENDPOINT_URL_*`, headers), and calls are made from that.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import botocore.session
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ConfigParseError, ProfileNotFound
from botocore.httpsession import get_cert_path
from botocore.regions import EndpointResolverBuiltins

from poolcensus import partitions
from poolcensus.aws.chain import Chain, Session
from poolcensus.aws.chain_failures import malformed_file, os_error_in_words, without_passwords
from poolcensus.aws.credential_process import Reason
from poolcensus.aws.endpoints import check_endpoints, endpoint_problem
from poolcensus.aws.faults import readable
from poolcensus.aws.sdk_data import read_fast
from poolcensus.aws.signing import RequestTemplate, SdkOperation, is_header_value
from poolcensus.aws.transport.proxies import Proxies
from poolcensus.errors import CredentialsError, FatalError, SettingsError
from poolcensus.flow.singleflight import SingleFlight
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from botocore.loaders import Loader

    from poolcensus.aws.chain import Found
    from poolcensus.aws.signing import Credentials


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


class _PreparedRequest(Protocol):
    """What is used of a request that the SDK is about to send."""

    url: str
    headers: Mapping[str, str | bytes]


class _Session(Session, Protocol):
    """What is used of botocore's session beyond the chain."""

    _config: Mapping[str, Mapping[str, object]]

    def create_client(self, service: str, **options: object) -> _Client: ...
    def register(self, name: str, handler: Callable[..., object]) -> None: ...


Answer = TypeVar("Answer")

# Long enough for a person who is asked for an MFA code.
_LONGEST_CHAIN = 120.0
# The chain itself says when it renews; asking it takes a thread.
_KEPT = 10.0
# A label of a host name, as the SDK has it, but for the line break that it lets pass at the end.
_REGION = re.compile(r"(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")
_HOP_HEADERS = frozenset({"content-length", "host", "connection", "expect"})


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
        """Return the request as the SDK would send it. Raises whatever the SDK raises."""
        self._regions = [region]
        getattr(self._client, operation)(**parameters)
        return self._captured

    @property
    def unasked(self) -> bool:
        """Whether the last request was formed without the endpoint rules of its region."""
        return bool(self._regions)

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

    def __init__(
        self,
        *,
        profile: str | None,
        endpoint_url: str | None,
        parsed: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._parsed = parsed
        self._session: _Session | None = None
        self._chain: Chain | None = None
        self._proxies = Proxies()
        self._clients: dict[str, _RegionlessClient] = {}
        self._templates: dict[tuple[str, str, str], RequestTemplate] = {}
        self._one_thread = anyio.CapacityLimiter(1)
        # The limiter doesn't count a thread that a caller who was cancelled has left at work.
        self._forming = threading.Lock()
        self._flights: SingleFlight[tuple[str, str, str], RequestTemplate] = SingleFlight()

    async def open(self) -> None:
        """Read the SDK's configuration. Raises SettingsError where it can't be read."""
        self._session = session = await self._in_thread(self._open_session)
        self._chain = Chain(session, self._open_session)

    def of_profile(self, name: str) -> Sdk:
        """Return a session of another profile, to be opened, which does not read the configuration again.

        Raises SettingsError for a profile that is not there.
        """
        parsed = self._opened.full_config
        if name not in parsed.get("profiles", {}):
            raise SettingsError(profile_not_found(ProfileNotFound(profile=name)))
        return Sdk(profile=name, endpoint_url=self._endpoint_url, parsed=parsed)

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        # A chain's process may hang: whoever is cancelled meanwhile doesn't wait for it.
        return await anyio.to_thread.run_sync(work, limiter=self._one_thread, abandon_on_cancel=True)

    def _open_session(self) -> _Session:
        try:
            session = cast("_Session", botocore.session.Session(profile=self._profile))
            if self._parsed is not None:
                # The files of a thousand profiles take a tenth of a second to parse. An SDK that keeps them
                # elsewhere reads them again, as does a session that is opened anew.
                session._config, self._parsed = self._parsed, None  # noqa: SLF001 - there is no public way
            session.get_scoped_config()
            read_fast(session)
            # Tokens of the global STS endpoint are refused in opt-in regions.
            session.set_config_variable("sts_regional_endpoints", "regional")
            # The chain's own clients send what it has found.
            session.register("before-send", _refuse_unfit_headers)
            session.register("before-send", self._refuse_unfit_proxy)
            region = _region(session)
            if region is not None:
                session.set_config_variable("region", region)
            if self._endpoint_url is None:
                check_endpoints(session)
        except SettingsError:
            raise
        except ProfileNotFound as error:
            raise SettingsError(profile_not_found(error)) from None
        except ConfigParseError as error:
            raise SettingsError(f"{_capitalized(malformed_file(error))}. Correct it there.") from None
        except BotoCoreError as error:
            raise SettingsError(f"The AWS config can't be read: {error}.") from None
        except OSError as error:
            raise FatalError(f"The AWS config can't be read: {os_error_in_words(error)}.") from None
        # A section may hold anything where the SDK expects a text: it raises TypeError, AttributeError, …
        except Exception as error:  # noqa: BLE001 - the SDK raises anything on a malformed section
            raise SettingsError(
                f"The AWS config is malformed ({type(error).__name__}). Correct the profile's section there."
            ) from None
        return session

    def _refuse_unfit_proxy(self, request: _PreparedRequest, **_: object) -> None:
        self._proxies.of(request.url)

    @property
    def region(self) -> str | None:
        """The region of the caller's configuration, if it names one."""
        region = self._opened.get_config_variable("region")
        return None if region is None else str(region)

    @property
    def ca_bundle(self) -> str | None:
        """The file or folder of the authorities that are trusted, found as the SDK finds it."""
        configured = self._opened.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if configured is not None and not isinstance(configured, str):
            raise SettingsError("ca_bundle in your AWS config is not the path of a file or folder.")
        path = get_cert_path(configured or True)
        return str(path) if path else None

    async def caller_credentials(self) -> tuple[Credentials, float]:
        """Return the caller's credentials as the chain has them now, and until when they may be kept.

        The time is on the monotonic clock; it is short for credentials that the chain renews itself.
        Raises CredentialsError where the chain finds none, can't renew what it found, or takes two minutes,
        and SettingsError where its first call would go through a proxy of no use.
        """
        try:
            with anyio.fail_after(_LONGEST_CHAIN):
                found = await self._in_thread(self._walk_chain)
        except TimeoutError:
            raise CredentialsError(
                f"Could not get credentials{self._opened_chain.where}: nothing after {_LONGEST_CHAIN:g} s."
                " Look for a credential_process that waits, or a metadata service that doesn't answer."
            ) from None
        return found.credentials, time.monotonic() + _KEPT if found.renews else float("inf")

    def _walk_chain(self) -> Found:
        return self._opened_chain.walk()

    def forget_caller_credentials(self) -> None:
        """Walk the chain anew next time: the service says that what it gave has expired."""
        self._opened_chain.forget()

    async def template(
        self, service: str, region: str, operation: str, sample: Mapping[str, object] | None = None
    ) -> RequestTemplate:
        """Return what every call of an operation in a region has in common.

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
                unasked = client.unasked
        except OSError as error:
            raise FatalError(f"The AWS SDK's own files can't be read: {os_error_in_words(error)}.") from None
        # Models that a customer has left, plugins, and sections of any shape, which it trips over in as many
        # ways: KeyError, AttributeError, TypeError and more.
        except Exception as error:  # noqa: BLE001 - models and plugins raise anything
            raise self._unformed(service, region, error) from None
        if unasked:
            raise RuntimeError("the SDK formed a request without asking for its region's endpoint")
        try:
            return self._template_from(request, SdkOperation(service, region, operation), client.signing_name)
        except ValueError as error:
            raise self._unformed(service, region, error, str(error)) from None

    def _unformed(self, service: str, region: str, error: Exception, why: str | None = None) -> SettingsError:
        """Why there is no request. Texts that may quote a value are left out."""
        model = self._leftover_model(service)
        if why is None and isinstance(error, BotoCoreError):
            why = readable(without_passwords(str(error))).rstrip(".")
        if why is None and model is not None:
            why = f"the service model in {model} is of no use ({type(error).__name__}). Remove it"
        if why is None and str(error).startswith("Invalid endpoint"):
            why = "its endpoint URL is not valid"
        if why is None:
            why = f"the profile's section in your AWS config is malformed ({type(error).__name__})"
        return SettingsError(f"no request for {service} in {region} can be formed: {why}")

    def _leftover_model(self, service: str) -> str | None:
        """Return the folder of a model that a customer has put before the SDK's own, if there is one."""
        loader = cast("Loader", self._opened.get_component("data_loader"))
        for path in loader.search_paths:
            folder = os.path.join(path, service)  # noqa: PTH118 - the SDK's paths are text
            if path != loader.BUILTIN_DATA_PATH and os.path.isdir(folder):  # noqa: PTH112 - the SDK's paths are text
                return folder
        return None

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
        self, request: Mapping[str, object], operation: SdkOperation, signing_name: str
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
        if (problem := endpoint_problem(url)) is not None:
            raise ValueError(f"its endpoint URL {problem}")
        return RequestTemplate(
            method=cast("str", request["method"]),
            url=url,
            host=parts.netloc.rpartition("@")[2],
            path=parts.path or "/",
            headers=headers,
            service=signing.get("signing_name") or signing_name,
            region=signing.get("region") or operation.region,
            proxy=self._proxies.of(url),
            operation=operation,
        )

    @property
    def _opened_chain(self) -> Chain:
        if self._chain is None:
            raise RuntimeError("the SDK's session is not open")
        return self._chain

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
        self._session = self._chain = None
        # A thread whose caller was cancelled may be about to add one.
        for client in list(self._clients.values()):
            client.close()
        self._clients.clear()
        self._templates.clear()


def _region(session: _Session) -> str | None:
    """Return the region to begin with: the configured one, or one of the partition of the role."""
    configured = session.get_config_variable("region")
    region = configured or os.environ.get("AWS_REGION")
    if region:
        if not isinstance(region, str) or not _REGION.fullmatch(region):
            raise SettingsError(
                "The region of your AWS config is not the name of a region. Correct AWS_REGION,"
                " AWS_DEFAULT_REGION, or the region of the profile."
            )
        return region
    role = session.get_scoped_config().get("role_arn") or os.environ.get("AWS_ROLE_ARN")
    partition = role.split(":")[1] if isinstance(role, str) and role.count(":") >= 5 else ""
    known = partitions.partitions().get(partition)
    return known.sts if known is not None else None


def _refuse_unfit_headers(request: _PreparedRequest, **_: object) -> None:
    for value in request.headers.values():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if not is_header_value(text):
            raise Reason(
                "the credentials that it assumes a role with hold a character that can't stand in a header,"
                " such as a line break"
            )


def profile_not_found(error: ProfileNotFound) -> str:
    """Return the sentence for a profile that is not there."""
    name = error.kwargs.get("profile")
    return (
        f"Profile \"{name}\" not found in your AWS config. Run 'aws configure list-profiles' to see the"
        " available ones."
    )


def _capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
