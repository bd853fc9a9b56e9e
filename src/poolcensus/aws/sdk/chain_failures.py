"""The table of failures of the SDK's credential chain: the reason and advice, without secrets."""

from __future__ import annotations

import configparser
import errno
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as SESSION_VARIABLES
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    CredentialRetrievalError,
    HTTPClientError,
    InfiniteLoopConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    InvalidIMDSEndpointModeError,
    InvalidMaxRetryAttemptsError,
    InvalidRetryModeError,
    MetadataRetrievalError,
    PartialCredentialsError,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
    UnknownCredentialError,
)
from botocore.exceptions import ConnectionError as SdkConnectionError

from poolcensus.aws.key_log import wrong_key_log
from poolcensus.aws.refusals.redaction import code_or_status
from poolcensus.aws.refusals.table import error_class_of
from poolcensus.aws.sdk.credential_process import ChainFailure
from poolcensus.errors import ThrottledError, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from poolcensus.aws.sdk.credential_sources import Source

_USER_IN_URL = re.compile(r"//[^/@\s]*@")
# Operations whose secrets are known, so that they can be removed from messages. The chain also calls others,
# for instance to refresh tokens.
_WITH_KNOWN_SECRETS = frozenset({"AssumeRole", "AssumeRoleWithWebIdentity", "GetRoleCredentials"})
# The settings of errors that don't name their setting.
_MODES: Mapping[type[Exception], str] = {
    InvalidDefaultsMode: "defaults_mode",
    InvalidIMDSEndpointModeError: "ec2_metadata_service_endpoint_mode",
    InvalidMaxRetryAttemptsError: "max_attempts",
    InvalidRetryModeError: "retry_mode",
}
_NETWORK = " Check the network and the proxy."
_CORRECT = " Correct it in your AWS config."
_SIGN_IN = " Run 'aws sso login --profile {sso}'."
_CHECK_ROLE = " Check role_arn, external_id and the role's trust policy."
_CHECK = " Check the profile in your AWS config, and what it takes its credentials from."


class _Row(NamedTuple):
    errors: tuple[type[Exception], ...]
    why: Callable[[Exception], str]
    advice: str


def explain(error: Exception, sso_profile: str | None, source: Source | None = None) -> tuple[str, str]:
    """Return the reason why the chain failed, and advice.

    `sso_profile` is the profile that signs in with IAM Identity Center, or None. `source` is the source of
    the credentials if it is not a profile.
    """
    if (wrong := wrong_variable(error)) is not None:
        return wrong, ""
    row = next(each for each in _TABLE if isinstance(error, each.errors))
    advice = _advice_on_refusal(error) if isinstance(error, ClientError) else row.advice
    if source is not None:
        advice = {_CHECK: source.check, _CHECK_ROLE: source.check_role}.get(advice, advice)
    elif advice == _CHECK and sso_profile is not None:
        advice = _SIGN_IN
    return row.why(error), advice.format(sso=sso_profile or "NAME")


def wrong_variable(error: Exception) -> str | None:
    """Return a clause that names the wrong environment variable, or AWS config key, and its valid values.

    Return None if the error is not about one. The SDK's own message quotes the value without its name.
    """
    if (wrong := wrong_key_log(error)) is not None or (wrong := _wrong_mode(error)) is not None:
        return wrong
    if not isinstance(error, ValueError):
        return None
    text = str(error)
    if text.startswith("Unsupported host ") and "Can only retrieve metadata from" in text:
        return (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI has a host that the AWS SDK does not allow: it takes"
            " localhost, a loopback address, 169.254.170.2 (ECS), and 169.254.170.23 or [fd00:ec2::23] (EKS)"
        )
    for _, name, _, conversion in SESSION_VARIABLES.values():
        value = os.environ.get(name) if conversion is int and isinstance(name, str) else None
        if value is not None and text.endswith(f": {value!r}"):
            return f"{name} must be a whole number"
    return None


def _wrong_mode(error: Exception) -> str | None:
    setting = next((name for kind, name in _MODES.items() if isinstance(error, kind)), None)
    if setting is None:
        return None
    key, name, _, _ = SESSION_VARIABLES[setting]
    match _kwargs(error).get("valid_modes"):
        case str(modes):
            wanted = f"one of {modes}"
        case list(modes) | tuple(modes):
            wanted = f"one of {', '.join(map(str, modes))}"
        case _:
            wanted = "a whole number from 1"
    return f"{name if name in os.environ else f'{key} in your AWS config'} must be {wanted}"


def malformed_file(error: Exception) -> str:
    """Return which config file is malformed, and at which line. The SDK would quote the line itself."""
    path, cause = _kwargs(error).get("path"), _kwargs(error).get("error")
    line = getattr(cause, "lineno", None)
    if line is None and isinstance(cause, configparser.ParsingError) and cause.errors:
        line = cause.errors[0][0]
    where = f" at line {line}" if line is not None else ""
    return f"the AWS config file {path} is malformed{where}"


def without_passwords(text: str) -> str:
    """Return a text without the user names and passwords of its URLs."""
    return _USER_IN_URL.sub("//***@", text)


def os_error_in_words(error: Exception) -> str:
    """Return the system's message, and the file that it is about."""
    if not isinstance(error, OSError):
        return str(error)
    name = f"{error.filename}: " if error.filename is not None else ""
    advice = " (ulimit -n raises the limit on open files)" if error.errno == errno.EMFILE else ""
    return f"{name}{reason_of(error)}{advice}"


def _kwargs(error: Exception) -> dict[str, object]:
    return getattr(error, "kwargs", {})


def _always(text: str) -> Callable[[Exception], str]:
    """Return a function that returns this text for every error."""
    return lambda _: text


def _refusal(error: Exception) -> str:
    response = getattr(error, "response", {})
    operation = getattr(error, "operation_name", "a call")
    said = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    code = code_or_status(str(said.get("Code", "")), str(status))
    if operation not in _WITH_KNOWN_SECRETS:
        return f"{operation} failed ({code})"
    return f"{operation} failed: {said.get('Message') or 'no message'} ({code})"


def _advice_on_refusal(error: ClientError) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if issubclass(error_class_of(code, status, ""), ThrottledError):
        return " Run again in a minute."
    if error.operation_name.startswith("AssumeRole"):
        return _CHECK_ROLE
    return _CHECK


def _missing(error: Exception) -> str:
    return f"{_kwargs(error).get('cred_var')} is missing"


def _of_a_service(error: Exception) -> str:
    text = str(_kwargs(error).get("error_msg", error))
    # The SDK's message quotes the reply.
    found = re.search(r"\bReceived non 200 response (\d+) from container metadata\b", text)
    return f"the container's credential service answered with status {found[1]}" if found else text


def _unsent(error: Exception) -> str:
    # The SDK wraps any error of sending a request, and quotes headers that can't be sent.
    cause = _kwargs(error).get("error")
    return str(error) if cause is None else f"a request could not be sent ({type(cause).__name__})"


def _malformed(error: Exception) -> str:
    # The messages of these errors may quote a secret.
    if isinstance(error, RuntimeError) and "expired" in str(error):
        return "the credentials that were found have expired (or the clock of this machine is wrong)"
    return f"the credentials, or what leads to them, are malformed ({type(error).__name__})"


# The first row that matches counts.
_TABLE: tuple[_Row, ...] = (
    _Row((ChainFailure,), str, ""),
    _Row(
        (RefreshWithMFAUnsupportedError,),
        _always("its session has ended, and a new one needs an MFA code"),
        " Run again to be asked for it.",
    ),
    _Row((ClientError,), _refusal, _CHECK),
    _Row(
        (UnauthorizedSSOTokenError, TokenRetrievalError),
        _always("the SSO session has expired or is not valid"),
        _SIGN_IN,
    ),
    _Row((SSOError,), _always("there is no SSO session"), _SIGN_IN),
    _Row((ConfigParseError,), malformed_file, _CORRECT),
    _Row((PartialCredentialsError,), _missing, " Set it, or remove what it belongs to."),
    _Row((InvalidConfigError, InfiniteLoopConfigError, UnknownCredentialError), str, _CORRECT),
    _Row((MetadataRetrievalError,), _of_a_service, _NETWORK),
    _Row((CredentialRetrievalError,), _of_a_service, _CHECK),
    _Row((SdkConnectionError,), str, _NETWORK),
    _Row((HTTPClientError,), _unsent, _NETWORK),
    _Row((BotoCoreError,), str, _CHECK),
    _Row((OSError,), os_error_in_words, _CHECK),
    _Row((Exception,), _malformed, _CHECK),
)
