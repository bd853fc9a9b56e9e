"""A session of the SDK: its configuration, its credential chain, and its request templates."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Protocol, cast

import botocore.session
from botocore.exceptions import BotoCoreError, ConfigParseError, ProfileNotFound
from botocore.httpsession import get_cert_path

from poolcensus import partitions
from poolcensus.aws.sdk.chain import Chain, SentSecrets
from poolcensus.aws.sdk.chain_failures import malformed_file, os_error_in_words
from poolcensus.aws.sdk.credential_process import ChainFailure
from poolcensus.aws.sdk.data_files import read_fast
from poolcensus.aws.sdk.endpoints import check_endpoints
from poolcensus.aws.sdk.proxies import Proxies
from poolcensus.aws.sdk.pseudo_regions import set_region
from poolcensus.aws.sdk.request_forms import ClientSession, RequestForms
from poolcensus.aws.signing import is_header_value
from poolcensus.errors import FatalError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolcensus.aws.sdk.chain import PreparedRequest


class _Session(ClientSession, Protocol):
    """The part of botocore's session that is only used here."""

    _config: Mapping[str, Mapping[str, object]]

    def register(self, name: str, handler: Callable[..., object]) -> None: ...


# A label of a host name. The SDK's own pattern also allows a line break at the end.
_REGION = re.compile(r"(?!-)[a-zA-Z0-9-]{1,63}(?<!-)")


class SdkSession:
    """A session of the SDK, for one thread at a time. Its methods block, and so does creating it.

    `parsed` is the configuration if it has been read before. Raises SettingsError if the configuration is not
    valid, and another FatalError if the system can't read its files.
    """

    def __init__(
        self,
        profile: str | None,
        endpoint_url: str | None,
        parsed: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        self._profile = profile
        self._endpoint_url = endpoint_url
        self._parsed = parsed
        self._proxies = Proxies()
        self._sent = SentSecrets()
        self._session = self._open_session()
        self.chain = Chain(self._session, self._open_session, self._sent)
        self.forms = RequestForms(self._session, endpoint_url, self._proxies)

    def parsed_with(self, name: str) -> Mapping[str, Mapping[str, object]]:
        """Return the parsed configuration. Raises SettingsError if it has no profile with this name."""
        parsed = self._session.full_config
        if name not in parsed.get("profiles", {}):
            raise SettingsError(profile_not_found(name))
        return parsed

    def _open_session(self) -> _Session:
        try:
            session = cast("_Session", botocore.session.Session(profile=self._profile))
            if self._parsed is not None:
                # Parsing the files of a thousand profiles takes a tenth of a second. A version of the SDK
                # without this attribute parses them again, and so does a session that is opened later.
                session._config, self._parsed = self._parsed, None  # noqa: SLF001 - there is no public way
            session.get_scoped_config()
            read_fast(session)
            # Tokens of the global STS endpoint are refused in opt-in regions.
            session.set_config_variable("sts_regional_endpoints", "regional")
            # The clients of the chain itself send requests with its credentials.
            session.register("before-send", _refuse_unfit_headers)
            session.register("before-send", self._refuse_unfit_proxy)
            session.register("before-send", self._sent.note)
            region = _region(session)
            if region is not None:
                session.set_config_variable("region", region)
            if self._endpoint_url is None:
                check_endpoints(session)
        except SettingsError:
            raise
        except ProfileNotFound as error:
            raise SettingsError(profile_not_found(error.kwargs["profile"])) from None
        except ConfigParseError as error:
            raise SettingsError(f"{_capitalized(malformed_file(error))}. Correct it there.") from None
        except BotoCoreError as error:
            raise SettingsError(f"The AWS config can't be read: {error}.") from None
        except OSError as error:
            raise FatalError(f"The AWS config can't be read: {os_error_in_words(error)}.") from None
        # If a section has anything else where the SDK expects a string, it raises TypeError, AttributeError,
        # …
        except Exception as error:  # noqa: BLE001 - the SDK raises anything on a malformed section
            raise SettingsError(
                f"The AWS config is malformed ({type(error).__name__}). Correct the profile's section there."
            ) from None
        return session

    def _refuse_unfit_proxy(self, request: PreparedRequest, **_: object) -> None:
        self._proxies.of(request.url)

    @property
    def region(self) -> str | None:
        """The region in the caller's configuration, or None."""
        region = self._session.get_config_variable("region")
        return None if region is None else str(region)

    @property
    def ca_bundle(self) -> str | None:
        """The file or folder of trusted certificates."""
        configured = self._session.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        if configured is not None and not isinstance(configured, str):
            raise SettingsError("ca_bundle in your AWS config is not the path of a file or folder.")
        path = get_cert_path(configured or True)
        return str(path) if path else None


def _region(session: _Session) -> str | None:
    """Return the configured region, or else one in the partition of the configured role, or None."""
    set_region(session)
    region = session.get_config_variable("region")
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


def _refuse_unfit_headers(request: PreparedRequest, **_: object) -> None:
    for value in request.headers.values():
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        if not is_header_value(text):
            raise ChainFailure(
                "the credentials that it assumes a role with hold a character that can't stand in a header,"
                " such as a line break"
            )


def profile_not_found(name: str) -> str:
    """Return the message for a profile that does not exist."""
    return (
        f"Profile \"{name}\" not found in your AWS config. Run 'aws configure list-profiles' to see the"
        " available ones."
    )


def _capitalized(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
