"""The SDK's credential chain, walked as boto3 walks it, and its failures in one sentence each."""

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

from poolcensus.aws.refusals.redaction import readable, without
from poolcensus.aws.sdk.chain_failures import explain, without_passwords
from poolcensus.aws.sdk.credential_process import ChainFailure, ProcessWithReasons
from poolcensus.aws.sdk.credential_sources import source_of
from poolcensus.aws.sdk.logs import TELL_OF_CALLS
from poolcensus.aws.signing import Credentials
from poolcensus.errors import CallerExpiredError, CredentialsError, FatalError, SettingsError, failed_call_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from botocore.loaders import Loader


class Session(Protocol):
    """What is used of botocore's session, which has no types."""

    full_config: Mapping[str, Mapping[str, object]]

    def get_config_variable(self, name: str) -> object: ...
    def instance_variables(self) -> Mapping[str, object]: ...
    def set_config_variable(self, name: str, value: str | bool) -> None: ...
    def get_scoped_config(self) -> Mapping[str, object]: ...
    def get_component(self, name: str) -> object: ...
    def register_component(self, name: str, component: Loader) -> None: ...
    def get_credentials(self) -> SdkCredentials | None: ...


class SdkCredentials(Protocol):
    """What is used of botocore's credentials, which have no types."""

    def get_frozen_credentials(self) -> _FrozenCredentials: ...


class PreparedRequest(Protocol):
    """What is used of a request that the SDK is about to send."""

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
    """What makes the providers of the profile that a role is assumed from."""

    _create_process_provider: Callable[[str], ProcessProvider]


class Found(NamedTuple):
    """Credentials of the chain. `renews` says that the chain gets new ones before they end."""

    credentials: Credentials
    renews: bool


# What is shorter is part of many words.
_SHORTEST_SECRET = 4
_SECRET_KEYS = ("aws_secret_access_key", "aws_session_token", "aws_security_token", "external_id")
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
)
# What the calls of a chain send of secrets: those of STS in a form, that of IAM Identity Center in a header.
_SECRET_HEADERS = ("X-Amz-Security-Token", "x-amz-sso_bearer_token")
_SECRET_PARAMETERS = frozenset({"ExternalId", "TokenCode", "WebIdentityToken"})
_SSO_KEYS = ("sso_session", "sso_start_url", "sso_account_id")
# What they warn of is raised too, where it matters.
_WARN = ("botocore.credentials", "botocore.tokens")


class _ChainLogFilter(logging.Filter):
    """Lets through what other threads log, and what is neither a detail of a call nor a failure."""

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
    """Keep the calls of this thread's chain, and its failures with their tracebacks, out of the log.

    A chain may assume a role or ask a metadata service. The SDK would log its external id, and the keys and
    the token of the reply, for a program that has only asked for its own log at DEBUG.
    """
    chain_log_filter = _ChainLogFilter()
    loggers = [logging.getLogger(name) for name in (*TELL_OF_CALLS, *_WARN)]
    for logger in loggers:
        logger.addFilter(chain_log_filter)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(chain_log_filter)


class SentSecrets:
    """The secrets in the requests that a session has sent, which their answers may repeat."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def note(self, request: PreparedRequest, **_: object) -> None:
        """Note those of a request that is about to be sent."""
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
        # Whoever was cancelled may have left a thread that still walks: the SDK's session is for one.
        self._walking = threading.Lock()

    def walk(self) -> Found:
        """Return the credentials that the chain has now.

        Raises CredentialsError where it finds none, or can't renew what it found, and SettingsError where the
        first of all walks finds a setting of no use.
        """
        try:
            with self._walking, _log_filter():
                found = self._walk()
        except FatalError as error:
            if isinstance(error, SettingsError) and not self._ask_mfa.again:
                raise
            # Also of a configuration that can't be read any more, which is then no reason to end a run.
            raise CredentialsError(error.problem, advice=error.advice) from None
        # The chain runs other people's code: plugins, programs, answers and files of any shape, for which it
        # raises RuntimeError, TypeError, KeyError, IndexError and more.
        except Exception as error:  # noqa: BLE001 - plugins raise anything
            raise self._explained(error) from None
        self._ask_mfa.again = True
        return found

    def forget(self) -> None:
        """Walk the chain anew next time: the service says that what it gave has expired."""
        # Not dropped here: another thread may be walking.
        self._is_forgotten = True

    @property
    def where(self) -> str:
        """The profile whose credentials these are, as the end of a clause; empty where there is none."""
        name = self._profile()
        return f" for profile {name}" if name is not None else ""

    def _walk(self) -> Found:
        if self._is_forgotten:
            # A session keeps what it found, and its providers remember which profiles they have been at.
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
        """Return what a person is told: what went wrong, for which profile, and what to do."""
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
        """Return the profile that has to sign in: this one, or the one that its role is assumed from."""
        for name, section in self._sections():
            if any(key in section for key in _SSO_KEYS):
                return name
        return None

    def _sections(self) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Yield the profile by name, then those that its role is assumed from."""
        profiles, name, seen = self._profiles(), self._profile(), set[object]()
        while isinstance(name, str) and name not in seen:
            seen.add(name)
            section = profiles.get(name)
            if not isinstance(section, dict):
                return
            yield name, section
            name = section.get("source_profile")

    def _without_secrets(self, text: str) -> str:
        """Return the text in one line, without secrets of this machine's configuration and of the calls."""
        sections = [each for each in self._profiles().values() if isinstance(each, dict)]
        secrets = [section.get(key) for section in sections for key in _SECRET_KEYS]
        secrets += [*map(os.environ.get, _SECRET_VARIABLES), *self._sent.found]
        known = [each for each in secrets if isinstance(each, str) and len(each) >= _SHORTEST_SECRET]
        return readable(without_passwords(" ".join(without(text, known).split())))


def _adapt(resolver: _Resolver, ask_mfa: _AskMfa) -> None:
    """Let the chain run programs and ask for codes in ways whose failures can be explained.

    The SDK has no public way for it. In a version that calls these otherwise, its own ways stay.
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
    """Asks a person for an MFA code, once a chain and where there is a terminal."""

    def __init__(self) -> None:
        self.again = False

    def __call__(self, prompt: str) -> str:
        if self.again:
            # The progress display has the terminal by now, and a person may have left.
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
