"""The table of refusals: the meaning of AWS's errors, by code, HTTP status and message.

Denials of IAM are parsed by their grammar. For other errors, the first row that matches counts. An error that
matches no row is a ServiceError, whose outcome is not covered.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from poolcensus.aws.refusals.denials import read_denial
from poolcensus.errors import (
    AccessDeniedError,
    BadResponseError,
    CallError,
    ClockSkewError,
    ExpiredError,
    RegionUnsupportedError,
    ScpDeniedError,
    ServerError,
    ServiceError,
    ThrottledError,
    UnrecognizedCredentialsError,
)
from poolcensus.model import Denial
from poolcensus.operations.operation import DENIED, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.operations import Operation

_SDK_RETRIES = "https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"
_COMMON_ERRORS = "https://docs.aws.amazon.com/workspaces/latest/api/CommonErrors.html"
_EC2_ERRORS = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
_STS_ERRORS = "https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"
_WORKSPACES_ERRORS = "https://docs.aws.amazon.com/workspaces/latest/api/API_DescribeWorkspacesPools.html"
_IAM_DENIALS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"
_SIGNATURES = "https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html"
_STS_COMMON_ERRORS = "https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html"

_ABOUT_THE_DATE = re.compile(
    r"signature (has )?expired|not yet current|request time|too skewed", re.IGNORECASE
)

# JSON services append `Exception` to some codes of other services.
BAD_SIGNATURES = frozenset(
    {
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
    }
)
"""The error codes for a wrong secret key, and for truncated keys or tokens."""

TABLE: tuple[Refusal, ...] = (
    Refusal(ScpDeniedError, DENIED, _IAM_DENIALS, re.compile(r"service control policy", re.IGNORECASE)),
    Refusal(AccessDeniedError, DENIED, f"{_COMMON_ERRORS} {_EC2_ERRORS}"),
    Refusal(
        ThrottledError,
        frozenset(
            {
                "Throttling",
                "ThrottlingException",
                "ThrottledException",
                "RequestThrottled",
                "RequestThrottledException",
                "TooManyRequestsException",
                "ProvisionedThroughputExceededException",
                "RequestLimitExceeded",
                "BandwidthLimitExceeded",
                # Organizations sends this one while it is being changed:
                # https://docs.aws.amazon.com/organizations/latest/APIReference/CommonErrors.html
                "ConcurrentModificationException",
                "LimitExceededException",
                "SlowDown",
                "PriorRequestNotComplete",
                "EC2ThrottledException",
                "TransactionInProgressException",
            }
        ),
        _SDK_RETRIES,
    ),
    Refusal(
        ServerError,
        frozenset(
            {
                "RequestTimeout",
                "RequestTimeoutException",
                "InternalError",
                "InternalFailure",
                "InternalServerError",
                "InternalServerException",
                "InternalServiceError",
                "InternalServiceException",
                "ServiceException",
                "ServiceUnavailable",
                "ServiceUnavailableException",
                "Unavailable",
            }
        ),
        f"{_SDK_RETRIES} {_COMMON_ERRORS}",
    ),
    Refusal(
        ExpiredError,
        frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"}),
        f"{_COMMON_ERRORS} {_EC2_ERRORS}",
    ),
    Refusal(ClockSkewError, frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"}), _SDK_RETRIES),
    Refusal(
        ClockSkewError,
        frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"}),
        _SIGNATURES,
        _ABOUT_THE_DATE,
    ),
    # No policy denies these, although most have the status 403.
    Refusal(ServiceError, BAD_SIGNATURES, f"{_SIGNATURES} {_COMMON_ERRORS} {_STS_COMMON_ERRORS}"),
    Refusal(
        # The codes are the same for a region that the account has not enabled and for bad credentials.
        UnrecognizedCredentialsError,
        frozenset(
            {
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                "AuthFailure",
                "OptInRequired",
                "RegionDisabledException",
            }
        ),
        f"{_COMMON_ERRORS} {_EC2_ERRORS} {_STS_ERRORS}",
    ),
    Refusal(
        RegionUnsupportedError,
        frozenset(
            {
                "InvalidAction",
                "OperationNotSupportedException",
                "UnknownOperation",
                "UnknownOperationException",
                "UnsupportedOperation",
                "UnsupportedOperationException",
            }
        ),
        f"{_WORKSPACES_ERRORS} {_COMMON_ERRORS} {_EC2_ERRORS}",
    ),
)
_BY_STATUS: dict[int, type[CallError]] = {
    408: ServerError,
    429: ThrottledError,
    509: ThrottledError,
}


def error_class_of(
    code: str, status: int, message: str, operation: Operation | None = None
) -> type[CallError]:
    """Return the exception class for an error reply."""
    if 200 <= status < 400:
        return BadResponseError
    rows = (*(operation.refusals if operation is not None else ()), *TABLE)
    if (found := _first(rows, code, message)) is not None:
        return found
    if status in {401, 403}:
        return _first(rows, "AccessDenied", message) or AccessDeniedError
    return _BY_STATUS.get(status) or (ServerError if status >= 500 else ServiceError)


def _first(rows: Iterable[Refusal], code: str, message: str) -> type[CallError] | None:
    # A denial of IAM contains names of resources and roles, which may be any text. So it is parsed by its
    # grammar, and never matched against other rows.
    if code in DENIED and (denial := read_denial(message)) is not None:
        return ScpDeniedError if denial.policy == "service control policy" else AccessDeniedError
    for row in rows:
        if code in row.codes and (row.says is None or row.says.search(message)):
            return row.error
    return None


def is_denial(code: str) -> bool:
    """Return whether a code means that the service recognizes the credentials and denies the call."""
    return code in DENIED


def denial_in(message: str) -> Denial | None:
    """Return the denial in a message, or None if it names no policy."""
    found = read_denial(message)
    return None if found is None or found.policy is None else Denial(found.policy, found.explicit)


def is_unexplained(message: str, operation: Operation | None) -> bool:
    """Return whether a message is the operation's refusal that gives no reason."""
    if operation is None or operation.unexplained is None:
        return False
    return read_denial(message) is None and operation.unexplained.search(message) is not None


def in_region(
    kind: type[CallError], message: str, region: str, operation: Operation | None
) -> tuple[type[CallError], str]:
    """Return the exception class and the message of a refusal in a region.

    An unexplained refusal means either a missing permission or a region without the operation. It is taken
    for the latter only if the region is known not to offer the operation.
    """
    if operation is None or kind is not AccessDeniedError or not is_unexplained(message, operation):
        return kind, message
    if not operation.offered_in(region):
        return RegionUnsupportedError, message
    return kind, (
        f"{message} (AWS does not say why: the role may lack {operation.iam_action}, or the operation may not"
        f" be offered in {region})"
    )
