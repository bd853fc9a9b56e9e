"""The SDK's credential chain, resolved as by boto3, and its failures as one sentence each."""

from __future__ import annotations

import getpass
import logging
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast
from urllib.parse import parse_qsl

from botocore.credentials import AssumeRoleProvider, ProcessProvider
from botocore.exceptions import RefreshWithMFAUnsupportedError

from poolcensus.aws.refusals.redaction import readable, without_secrets
from poolcensus.aws.sdk.chain_failures import explain, without_passwords
from poolcensus.aws.sdk.credential_process import ChainFailure, ProcessWithReasons
from poolcensus.aws.sdk.credential_sources import source_of
from poolcensus.aws.sdk.logs import CALL_LOGGERS
from poolcensus.aws.signing import Credentials
from poolcensus.errors import CallerExpiredError, CredentialsError, FatalError, SettingsError, failed_call_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from botocore.loaders import Loader


class Session(Protocol):
    """The part of botocore's session that is used here. botocore has no types."""

    full_config: Mapping[str, Mapping[str, object]]

    def get_config_variable(self, name: str) -> object: ...
    def instance_variables(self) -> Mapping[str, object]: ...
    def set_config_variable(self, name: str, value: str | bool) -> None: ...
    def get_scoped_config(self) -> Mapping[str, object]: ...
    def get_component(self, name: str) -> object: ...
    def register_component(self, name: str, component: Loader) -> None: ...
    def get_credentials(self) -> SdkCredentials | None: ...


class SdkCredentials(Protocol):
    """The part of botocore's credentials that is used here."""

    def get_frozen_credentials(self) -> _FrozenCredentials: ...


class PreparedRequest(Protocol):
    """The part of an SDK's request that is used here."""

    url: str
    headers: Mapping[str, str | bytes]
    body: str | bytes | None


class _FrozenCredentials(Protocol):
    access_key: str
    secret_key: str
    token: str | None


class _Resolver(Protocol):
    providers: list[object]


class _Builder(Protocol):
    """The part of botocore that makes the credential providers of a source profile."""

    _create_process_provider: Callable[[str], ProcessProvider]


class Found(NamedTuple):
    """Credentials from the chain. `renews` is whether the chain renews them before their end."""

    credentials: Credentials
    renews: bool


# Shorter texts are part of many words.
_SHORTEST_SECRET = 4
_SECRET_KEYS = ("aws_secret_access_key", "aws_session_token", "aws_security_token", "external_id")
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
# The secrets in requests of a chain: those to STS are parameters of a form, those to IAM Identity Center
# headers.
_SECRET_HEADERS = ("X-Amz-Security-Token", "x-amz-sso_bearer_token")
_SECRET_PARAMETERS = frozenset({"ExternalId", "TokenCode", "WebIdentityToken"})
_SSO_KEYS = ("sso_session", "sso_start_url", "sso_account_id")
# Loggers of warnings. Failures that matter are also raised.
_WARN = ("botocore.credentials", "botocore.tokens")


class _ChainLogFilter(logging.Filter):
    """Drops what this thread logs about calls at DEBUG, and about failures."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        if threading.get_ident() != self._thread:
            return True
        if record.name in _WARN:
            return record.levelno < logging.WARNING and not record.exc_info
        return record.levelno > logging.DEBUG


@contextmanager
def _log_filter() -> Iterator[None]:
    """Keep the calls and failures of this thread's chain out of the log during the block.

    A chain may assume a role or call a metadata service. At DEBUG the SDK would log the external ID, and the
    keys and the token of the reply.
    """
    chain_log_filter = _ChainLogFilter()
    loggers = [logging.getLogger(name) for name in (*CALL_LOGGERS, *_WARN)]
    for logger in loggers:
        logger.addFilter(chain_log_filter)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(chain_log_filter)


class SentSecrets:
    """The secrets in the requests that a session has sent. Replies may repeat them."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def note(self, request: PreparedRequest, **_: object) -> None:
        """Record the secrets of a request that is about to be sent."""
        self.found.update(_text(request.headers.get(name, "")) for name in _SECRET_HEADERS)
        form = parse_qsl(_text(request.body or ""))
        self.found.update(value for name, value in form if name in _SECRET_PARAMETERS)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


class Chain:
    """The credential chain of one profile. Its methods block."""

    def __init__(self, session: Session, new_session: Callable[[], Session], sent: SentSecrets) -> None:
        self._session: Session | None = session
        self._new_session = new_session
        self._config = session
        self._credentials: SdkCredentials | None = None
        self._is_forgotten = False
        self._sent = sent
        self._ask_mfa = _AskMfa()
        # A thread may still be resolving the chain for a caller that was cancelled. The SDK's session is not
        # thread-safe.
        self._walking = threading.Lock()

    def walk(self) -> Found:
        """Return the credentials that the chain has now.

        Raises CredentialsError if it finds no credentials or can't renew them. The first time it raises
        SettingsError for a setting that is not valid.
        """
        try:
            with self._walking, _log_filter():
                found = self._walk()
        except FatalError as error:
            if isinstance(error, SettingsError) and not self._ask_mfa.again:
                raise
            # Later, a configuration that can't be read any more is no reason to end the run.
            raise CredentialsError(error.problem, advice=error.advice) from None
        # The chain runs plugins and programs, and reads replies and files of any content. For these it raises
        # RuntimeError, TypeError, KeyError, IndexError and more.
        except Exception as error:  # noqa: BLE001 - plugins raise anything
            raise self._explained(error) from None
        self._ask_mfa.again = True
        return found

    def forget(self) -> None:
        """Resolve the chain again next time, because a service refused the credentials as expired."""
        # Only a flag, since another thread may be resolving the chain.
        self._is_forgotten = True

    @property
    def where(self) -> str:
        """The end of a clause that names the profile, or an empty string if there is no profile."""
        name = self._profile()
        return f" for profile {name}" if name is not None else ""

    def _walk(self) -> Found:
        if self._is_forgotten:
            # A new session, since a session keeps its credentials, and its providers remember visited
            # profiles.
            self._is_forgotten, self._session, self._credentials = False, None, None
        if self._credentials is None:
            if self._session is None:
                self._session = self._config = self._new_session()
            _adapt(cast("_Resolver", self._session.get_component("credential_provider")), self._ask_mfa)
            self._credentials = self._session.get_credentials()
        if self._credentials is None:
            named = self._config.get_config_variable("profile")
            where = f" for profile {named}" if named is not None else ""
            name = named or "NAME"
            raise CredentialsError(
                f"No AWS credentials found{where}.",
                advice=f"Set AWS_PROFILE, pass `profile`, or run 'aws sso login --profile {name}'.",
            )
        frozen = self._credentials.get_frozen_credentials()
        try:
            credentials = Credentials(frozen.access_key, frozen.secret_key, frozen.token or None)
        except ValueError as error:
            raise ChainFailure(f"{error}. Copy it anew, without a line break or a blank") from None
        return Found(credentials, hasattr(self._credentials, "refresh_needed"))

    def _profile(self) -> str | None:
        named = self._config.get_config_variable("profile")
        if named is not None:
            return str(named)
        return "default" if "default" in self._profiles() else None

    def _profiles(self) -> Mapping[str, object]:
        return self._config.full_config.get("profiles", {})

    def _explained(self, error: Exception) -> CredentialsError:
        """Return the error for a person: what went wrong, for which profile, and what to do."""
        source = source_of(
            error,
            getattr(self._credentials, "method", None),
            (section for _, section in self._sections()),
            names_profile=self._config.instance_variables().get("profile") is not None,
        )
        why, advice = explain(error, self._sso_profile(), source)
        where = self.where if source is None else f" from {source.name}"
        problem = f"Could not get credentials{where}: {self._without_secrets(why).rstrip('. ')}."
        failure = CredentialsError(problem, advice=advice.strip() or None)
        failure.failed_call = failed_call_of(CallerExpiredError.of_chain(failure))
        return failure

    def _sso_profile(self) -> str | None:
        """Return the profile that has to sign in: this one or one of its source profiles, or None."""
        for name, section in self._sections():
            if any(key in section for key in _SSO_KEYS):
                return name
        return None

    def _sections(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Yield the profile's name and section, then those of its source profiles."""
        profiles, name, seen = self._profiles(), self._profile(), set[object]()
        while isinstance(name, str) and name not in seen:
            seen.add(name)
            section = profiles.get(name)
            if not isinstance(section, dict):
                return
            yield name, section
            name = section.get("source_profile")

    def _without_secrets(self, text: str) -> str:
        """Return a text as one line, without the secrets of the configuration and of the chain's requests."""
        sections = [each for each in self._profiles().values() if isinstance(each, dict)]
        secrets = [section.get(key) for section in sections for key in _SECRET_KEYS]
        secrets += [*map(os.environ.get, _SECRET_VARIABLES), *self._sent.found]
        known = [each for each in secrets if isinstance(each, str) and len(each) >= _SHORTEST_SECRET]
        return readable(without_passwords(" ".join(without_secrets(text, known).split())))


def _adapt(resolver: _Resolver, ask_mfa: _AskMfa) -> None:
    """Make the chain run programs and ask for MFA codes with this package's code, which explains failures.

    The SDK has no public interface for this. A version with other names keeps its own behaviour.
    """
    for at, provider in enumerate(resolver.providers):
        if isinstance(provider, ProcessProvider):
            resolver.providers[at] = ProcessWithReasons.of(provider)
        elif isinstance(provider, AssumeRoleProvider):
            provider._prompter = ask_mfa  # noqa: SLF001 - there is no public way
            builder: _Builder | None = getattr(provider, "_profile_provider_builder", None)
            if builder is not None and hasattr(builder, "_create_process_provider"):
                create = builder._create_process_provider  # noqa: SLF001 - there is no public way
                builder._create_process_provider = _with_reasons(create)  # noqa: SLF001 - there is no public way


def _with_reasons(create: Callable[[str], ProcessProvider]) -> Callable[[str], ProcessProvider]:
    return lambda name: ProcessWithReasons.of(create(name))


class _AskMfa:
    """Asks a person for an MFA code, the first time that a chain is resolved, and if there is a terminal."""

    def __init__(self) -> None:
        self.again = False

    def __call__(self, prompt: str) -> str:
        if self.again:
            # By now the progress display uses the terminal, and the person may have left.
            raise RefreshWithMFAUnsupportedError
        if not _has_terminal():
            raise ChainFailure(
                "its role needs an MFA code, and there is no terminal to ask for it on. Use a profile without"
                " mfa_serial, or credentials of a session that was begun with a code ('aws sts"
                " get-session-token')"
            )
        try:
            return getpass.getpass(prompt)
        except EOFError:
            raise ChainFailure("its role needs an MFA code, and none was given") from None


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return sys.stdin is not None and sys.stdin.isatty()
    return True
