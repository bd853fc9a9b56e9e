"""Forms request templates with the SDK: one request for each operation and region, which is never sent."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.regions import EndpointResolverBuiltins

from poolcensus.aws.refusals.redaction import readable
from poolcensus.aws.sdk.chain import Session
from poolcensus.aws.sdk.chain_failures import os_error_in_words, without_passwords, wrong_variable
from poolcensus.aws.sdk.endpoints import endpoint_problem
from poolcensus.aws.signing import RequestTemplate
from poolcensus.errors import FatalError, SettingsError
from poolcensus.version import TOOL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from botocore.loaders import Loader

    from poolcensus.aws.sdk.proxies import Proxies
    from poolcensus.aws.signing import SdkOperation

_HOP_HEADERS = frozenset({"content-length", "host", "connection", "expect"})


class _Client(Protocol):
    """The part of botocore's clients that is used here. Their operations are methods."""

    meta: _ClientMeta

    def close(self) -> None: ...


class _ClientMeta(Protocol):
    events: _Events
    service_model: _ServiceModel


class _Events(Protocol):
    def register(self, name: str, handler: Callable[..., object]) -> None: ...


class _ServiceModel(Protocol):
    signing_name: str


class ClientSession(Session, Protocol):
    """The part of botocore's session that is used to form requests."""

    def create_client(self, service: str, **options: object) -> _Client: ...


class _RegionlessClient:
    """A client of the SDK that forms requests for any region.

    A client for each region would take milliseconds each. They would differ only in the region that is passed
    to the endpoint rules.
    """

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._regions: list[str] = []
        self._captured: Mapping[str, object] = {}
        events = client.meta.events
        # Handlers are expected to change the rules' built-in values in place:
        # https://github.com/boto/botocore/blob/1.40.61/botocore/regions.py#L660
        events.register("before-endpoint-resolution", self._ask_about_region)
        # If a `before-call` handler returns a reply, the SDK neither signs nor sends the request.
        events.register("before-call", self._capture)

    @property
    def signing_name(self) -> str:
        """The name of the service in signatures, if the endpoint rules don't set another one."""
        return self._client.meta.service_model.signing_name

    def request(self, region: str, method: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
        """Return the request that the SDK would send. Raises whatever the SDK raises."""
        self._regions = [region]
        getattr(self._client, method)(**parameters)
        return self._captured

    @property
    def unasked(self) -> bool:
        """Whether the last request was formed without resolving the endpoint of its region."""
        return bool(self._regions)

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _ask_about_region(self, builtins: dict[str, object], **_: object) -> None:
        builtins[EndpointResolverBuiltins.AWS_REGION] = self._regions.pop()

    def _capture(self, params: Mapping[str, object], **_: object) -> tuple[AWSResponse, dict[str, object]]:
        self._captured = params
        return AWSResponse(None, 200, {}, None), {}


class RequestForms:
    """Forms requests with one client for each service. Its methods block."""

    def __init__(self, session: ClientSession, endpoint_url: str | None, proxies: Proxies) -> None:
        self._session = session
        self._endpoint_url = endpoint_url
        self._proxies = proxies
        self._clients: dict[str, _RegionlessClient] = {}
        # A thread may still be working for a caller that was cancelled.
        self._forming = threading.Lock()

    def close(self) -> None:
        """Close the clients."""
        # A copy, since a thread may still add one.
        for client in list(self._clients.values()):
            client.close()
        self._clients.clear()

    def form(self, operation: SdkOperation, parameters: Mapping[str, object]) -> RequestTemplate:
        """Return the request template of an operation. The parameters are validated and not kept.

        Raises SettingsError if no request can be formed, and FatalError if the SDK's files can't be read.
        """
        service, region = operation.service, operation.region
        try:
            with self._forming:
                client = self._clients.get(service)
                if client is None:
                    client = self._clients[service] = self._client(service, region)
                request = client.request(region, operation.method, parameters)
                unasked = client.unasked
        except OSError as error:
            raise FatalError(f"The AWS SDK's own files can't be read: {os_error_in_words(error)}.") from None
        # For custom models, plugins and malformed sections the SDK raises KeyError, AttributeError, TypeError
        # and more.
        except Exception as error:  # noqa: BLE001 - models and plugins raise anything
            raise self._unformed(service, region, error) from None
        if unasked:
            raise RuntimeError("the SDK formed a request without asking for its region's endpoint")
        try:
            return self._template_from(request, operation, client.signing_name)
        except ValueError as error:
            raise self._unformed(service, region, error, str(error)) from None

    def _unformed(self, service: str, region: str, error: Exception, why: str | None = None) -> SettingsError:
        """Return the error for a request that can't be formed, without messages that may quote a value."""
        model = self._custom_model(service)
        if why is None:
            why = wrong_variable(error)
        if why is None and isinstance(error, BotoCoreError):
            why = readable(without_passwords(str(error))).rstrip(".")
        if why is None and model is not None:
            why = f"the service model in {model} is of no use ({type(error).__name__}). Remove it"
        if why is None and str(error).startswith("Invalid endpoint"):
            why = "its endpoint URL is not valid"
        if why is None:
            why = f"the profile's section in your AWS config is malformed ({type(error).__name__})"
        return SettingsError(f"no request for {service} in {region} can be formed: {why}")

    def _custom_model(self, service: str) -> str | None:
        """Return the folder of a custom model of a service, which the SDK prefers to its own, or None."""
        loader = cast("Loader", self._session.get_component("data_loader"))
        for path in loader.search_paths:
            folder = os.path.join(path, service)  # noqa: PTH118 - the SDK's paths are text
            if path != loader.BUILTIN_DATA_PATH and os.path.isdir(folder):  # noqa: PTH112 - the SDK's paths are text
                return folder
        return None

    def _client(self, service: str, region: str) -> _RegionlessClient:
        return _RegionlessClient(
            self._session.create_client(
                service,
                region_name=region,
                endpoint_url=self._endpoint_url,
                config=Config(user_agent_extra=TOOL),
                # Nothing is signed here. Without these, the SDK would resolve its credential chain.
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
