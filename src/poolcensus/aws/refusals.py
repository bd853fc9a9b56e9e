"""The table of refusals: what an error of AWS means, by its code, its status and the shape of its message.

Rows are tried from the top, and the first that fits counts. What no row knows is an error of the service,
which covers nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from poolcensus import partitions
from poolcensus.errors import (
    AccessDeniedError,
    BadResponseError,
    CallError,
    ClockSkewError,
    ExpiredError,
    NotEntitledError,
    RegionUnsupportedError,
    ScpDeniedError,
    ServerError,
    ServiceError,
    ThrottledError,
    UnrecognizedCredentialsError,
)
from poolcensus.model import Denial

_SDK_RETRIES = "https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"
_COMMON_ERRORS = "https://docs.aws.amazon.com/workspaces/latest/api/CommonErrors.html"
_EC2_ERRORS = "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"
_STS_ERRORS = "https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"
_WORKSPACES_ERRORS = "https://docs.aws.amazon.com/workspaces/latest/api/API_DescribeWorkspacesPools.html"
_IAM_DENIALS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html"
_SIGNATURES = "https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html"
_END_OF_SUPPORT = "https://docs.aws.amazon.com/workspaces/latest/adminguide/wsp-pools-end-of-support.html"
_SEEN_IN_TERRAFORM = "https://github.com/hashicorp/terraform-provider-aws/pull/49668"

_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess", "NotAuthorized"}
)
# How IAM begins every denial by a policy; EC2 puts a sentence of its own before it. A denial names resources
# and roles, whose names are anybody's choice: what begins like this is never read as another kind of refusal.
_DENIAL = r"User: \S+ is not authorized to perform: "
_REASON = r"(?s:.*)(?P<how>because no|with an explicit deny in (?:an?|the)) "
_BY_POLICY = re.compile(rf"\A\s*(?:You are not authorized to perform this operation\.\s+)?{_DENIAL}")
_BY_SCP = re.compile(rf"{_BY_POLICY.pattern}{_REASON}service control policy\b")
_POLICY = re.compile(
    rf"{_DENIAL}{_REASON}(?P<policy>(?:identity-based|resource-based|sessions?|service control|"
    r"resource control|VPC endpoint|role trust) policy|permissions boundary)\b"
)
_NOT_ENTITLED = re.compile(
    r"WorkSpaces Pools is no longer available to new customers|/wsp-pools-end-of-support\b", re.IGNORECASE
)
# WorkSpaces sends this where Pools was never launched in the region, and where a role lacks the permission.
_NEUTRAL = re.compile(r"/workspaces-access-control\b")
_ABOUT_THE_DATE = re.compile(
    r"signature (has )?expired|not yet current|request time|too skewed", re.IGNORECASE
)


class Row(NamedTuple):
    """One kind of refusal. Without `says` the code alone decides.

    `source` has the pages where it is documented, or where it was seen.
    """

    error: type[CallError]
    codes: frozenset[str]
    source: str
    says: re.Pattern[str] | None = None


TABLE: tuple[Row, ...] = (
    Row(ScpDeniedError, _DENIED, _IAM_DENIALS, _BY_SCP),
    Row(AccessDeniedError, _DENIED, _IAM_DENIALS, _BY_POLICY),
    Row(NotEntitledError, _DENIED, f"{_END_OF_SUPPORT} {_SEEN_IN_TERRAFORM}", _NOT_ENTITLED),
    Row(ScpDeniedError, _DENIED, _IAM_DENIALS, re.compile(r"service control policy", re.IGNORECASE)),
    Row(AccessDeniedError, _DENIED, f"{_COMMON_ERRORS} {_EC2_ERRORS}"),
    Row(
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
                "LimitExceededException",
                "SlowDown",
                "PriorRequestNotComplete",
                "EC2ThrottledException",
                "TransactionInProgressException",
            }
        ),
        _SDK_RETRIES,
    ),
    Row(
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
    Row(
        ExpiredError,
        frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"}),
        f"{_COMMON_ERRORS} {_EC2_ERRORS}",
    ),
    Row(ClockSkewError, frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"}), _SDK_RETRIES),
    Row(
        ClockSkewError,
        frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"}),
        _SIGNATURES,
        _ABOUT_THE_DATE,
    ),
    Row(
        # The codes of a region that the account has not enabled are also those of keys that are no good.
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
    Row(
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


def kind_of(code: str, status: int, message: str) -> type[CallError]:
    """Return the class of the error for a reply that is not the operation's result."""
    if 200 <= status < 400:
        return BadResponseError
    if (found := _in_table(code, message)) is not None:
        return found
    if status in {401, 403}:
        return _in_table("AccessDenied", message) or AccessDeniedError
    return _BY_STATUS.get(status) or (ServerError if status >= 500 else ServiceError)


def _in_table(code: str, message: str) -> type[CallError] | None:
    for row in TABLE:
        if code in row.codes and (row.says is None or row.says.search(message)):
            return row.error
    return None


def is_denial(code: str) -> bool:
    """Whether a code says that a service knows who asks, and does not allow it."""
    return code in _DENIED


def denial_in(message: str) -> Denial | None:
    """Return the denial that a message tells of, or None where it names no policy."""
    found = _POLICY.search(message)
    if found is None:
        return None
    # IAM's own page has "a sessions policy".
    return Denial(found["policy"].replace("sessions ", "session "), explicit=found["how"] != "because no")


def is_unexplained(message: str) -> bool:
    """Whether a refusal is the neutral one of WorkSpaces, which does not say why."""
    return _BY_POLICY.search(message) is None and _NEUTRAL.search(message) is not None


def in_region(kind: type[CallError], message: str, region: str) -> tuple[type[CallError], str]:
    """Return what a refusal means in a region, and its message.

    WorkSpaces has one neutral refusal for a missing permission and for a region without Pools. It is believed
    to be the latter only where the catalogue says that Pools is not offered.
    """
    if kind is not AccessDeniedError or not is_unexplained(message):
        return kind, message
    if partitions.lacks_pools(region):
        return RegionUnsupportedError, message
    return kind, (
        f"{message} (WorkSpaces does not say why: the role may lack workspaces:DescribeWorkspacesPools, or"
        f" Pools may not be offered in {region})"
    )
