"""The SDK, for what it knows best: the credential chain, the configuration, endpoints, request forms.

No request leaves through the SDK's own transport. A client prepares one request for each operation and
region (endpoint rules, FIPS, dualstack, `AWS_ENDPOINT_URL_*`, headers), and calls are made from that.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Protocol, Self, TypeVar, cast

import anyio
import anyio.to_thread
import botocore.session
from botocore.exceptions import BotoCoreError, ConfigParseError, ProfileNotFound
from botocore.httpsession import get_cert_path

from poolcensus import partitions
from poolcensus.aws.chain import Chain
from poolcensus.aws.chain_failures import malformed_file, os_error_in_words
from poolcensus.aws.credential_process import Reason
from poolcensus.aws.endpoints import check_endpoints
from poolcensus.aws.request_forms import ClientSession, RequestForms
from poolcensus.aws.sdk_data import read_fast
from poolcensus.aws.signing import RequestTemplate, SdkOperation, is_header_value
from poolcensus.aws.transport.proxies import Proxies
from poolcensus.errors import CredentialsError, FatalError, SettingsError
from poolcensus.flow.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from poolcensus.aws.chain import Found
    from poolcensus.aws.signing import Credentials


class _PreparedRequest(Protocol):
    """What is used of a request that the SDK is about to send."""

    url: str
    headers: Mapping[str, str | bytes]


class _Session(ClientSession, Protocol):
    """What is used of botocore's session beyond the chain."""

    _config: Mapping[str, Mapping[str, object]]

    def register(self, name: str, handler: Callable[..., object]) -> None: ...


Answer = TypeVar("Answer")

# Long enough for a person who is asked for an MFA code.
_LONGEST_CHAIN = 120.0
# The chain itself says when it renews; asking it takes a thread.
_KEPT = 10.0
# A label of a host name, as the SDK has it, but for the line break that it lets pass at the end.
_REGION = re.compile(r"(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")


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
        self._forms: RequestForms | None = None
        self._templates: dict[tuple[str, str, str], RequestTemplate] = {}
        self._one_thread = anyio.CapacityLimiter(1)
        self._flights: SingleFlight[tuple[str, str, str], RequestTemplate] = SingleFlight()

    async def open(self) -> None:
        """Read the SDK's configuration. Raises SettingsError where it can't be read."""
        self._session = session = await self._in_thread(self._open_session)
        self._chain = Chain(session, self._open_session)
        self._forms = RequestForms(session, self._endpoint_url, self._proxies)

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
            forms = self._opened_forms
            template = await self._flights.run(
                key, lambda: self._in_thread(lambda: forms.form(SdkOperation(*key), sample or {}))
            )
            self._templates[key] = template
        return template

    @property
    def _opened_chain(self) -> Chain:
        if self._chain is None:
            raise RuntimeError("the SDK's session is not open")
        return self._chain

    @property
    def _opened_forms(self) -> RequestForms:
        if self._forms is None:
            raise RuntimeError("the SDK's session is not open")
        return self._forms

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
        if self._forms is not None:
            self._forms.close()
        self._session = self._chain = self._forms = None
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
