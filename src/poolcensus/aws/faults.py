"""What an error of AWS means: from its code and status to the exception's family.

The code is the body's `__type` (JSON) or `Code` (XML); a body that names none counts as its HTTP status.
The lists are those of the AWS SDKs' retry modes and of the services' own references.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NoReturn
from xml.etree import ElementTree as ET

from poolcensus import codec
from poolcensus.errors import (
    AccessDeniedError,
    BadResponseError,
    CallError,
    ClockSkewError,
    ExpiredError,
    RegionDisabledError,
    RegionUnsupportedError,
    ScpDeniedError,
    ServerError,
    ServiceError,
    ThrottledError,
    UnrecognizedCredentialsError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.aws.transport import Reply

_CLASSES: dict[type[CallError], frozenset[str]] = {
    ThrottledError: frozenset(
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
    ServerError: frozenset(
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
    ExpiredError: frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"}),
    ClockSkewError: frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"}),
    AccessDeniedError: frozenset(
        {
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "UnauthorizedAccess",
            "NotAuthorized",
        }
    ),
    RegionDisabledError: frozenset({"OptInRequired", "RegionDisabledException"}),
    UnrecognizedCredentialsError: frozenset(
        {"UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure"}
    ),
    RegionUnsupportedError: frozenset(
        {
            "InvalidAction",
            "OperationNotSupportedException",
            "UnknownOperation",
            "UnknownOperationException",
            "UnknownService",
            "UnsupportedOperation",
            "UnsupportedOperationException",
        }
    ),
}
_BY_CODE = {code: kind for kind, codes in _CLASSES.items() for code in codes}
_BY_STATUS: dict[int, type[CallError]] = {
    401: AccessDeniedError,
    403: AccessDeniedError,
    408: ServerError,
    429: ThrottledError,
    500: ServerError,
    501: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    509: ThrottledError,
}
_SIGNATURE_CODES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
_SPEAKS_OF_THE_DATE = re.compile(
    r"signature (has )?expired|not yet current|request time|too skewed", re.IGNORECASE
)
_SCP = re.compile(r"service control policy", re.IGNORECASE)
_NOT_IN_REGION = re.compile(r"not (supported|available|offered) in (this|the)( \S+)? region", re.IGNORECASE)
# Whatever is assigned to such a name, and whatever follows it that is too long to be a word.
_SECRETS = re.compile(
    r"(?i)((?:security|session)[ _-]?token|secret(?:[ _-]?access)?[ _-]?key|external[ _-]?id)"
    r"(\W{0,3}[:=]\W{0,3}(?=\S)|\W{1,3}(?=\S{16}))\S+"
)
_LONGEST_MESSAGE = 1000


def error_of(reply: Reply) -> CallError:
    """The exception for a reply that is not a success. Never raises for what the body holds."""
    code, message = _json_error(reply.body) or _xml_error(reply.body) or ("", "")
    header_code = reply.headers.get("x-amzn-ErrorType", "")
    return classify(
        _plain_code(code or header_code),
        message,
        status=reply.status,
        headers=reply.headers,
    )


def classify(code: str, message: str, *, status: int, headers: Mapping[str, str]) -> CallError:
    """The exception for an error's code, message, status and headers."""
    kind = _kind(code, message, status)
    if 300 <= status < 400:
        message = "a redirect, which is never followed"
    return kind(
        _readable(message) or f"HTTP status {status} without an error message",
        code=code or str(status),
        status=status,
        request_id=request_id(headers),
        retry_after=_retry_after(headers),
        server_time=server_time(headers),
    )


def _kind(code: str, message: str, status: int) -> type[CallError]:
    if 200 <= status < 400:
        return BadResponseError
    if code in _SIGNATURE_CODES and _SPEAKS_OF_THE_DATE.search(message):
        return ClockSkewError
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is AccessDeniedError and _SCP.search(message):
        return ScpDeniedError
    if kind is None and status >= 500:
        return ServerError
    if kind is None and _NOT_IN_REGION.search(message):
        return RegionUnsupportedError
    return kind or ServiceError


def request_id(headers: Mapping[str, str]) -> str | None:
    """The id that AWS support asks for."""
    return headers.get("x-amzn-RequestId") or headers.get("x-amz-request-id")


def server_time(headers: Mapping[str, str]) -> float | None:
    """The reply's `Date`, in epoch seconds."""
    try:
        moment = parsedate_to_datetime(headers.get("Date", ""))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _plain_code(code: str) -> str:
    # `com.amazon.coral.service#AccessDeniedException` and `AccessDeniedException:http://…` are both
    # forms in which the same code arrives.
    return code.partition(":")[0].rpartition("#")[2].strip()[:200]


def _json_error(body: bytes) -> tuple[str, str] | None:
    try:
        value = codec.loads(body)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    code = value.get("__type") or value.get("code") or value.get("Code")
    message = value.get("message") or value.get("Message") or value.get("errorMessage")
    return (code if isinstance(code, str) else "", message if isinstance(message, str) else "")


def _xml_error(body: bytes) -> tuple[str, str] | None:
    root = parse_xml(body)
    if root is None:
        return None
    code = root.findtext(".//{*}Code") or root.findtext(".//Code")
    message = root.findtext(".//{*}Message") or root.findtext(".//Message")
    return (code or "", message or "")


def parse_xml(body: bytes) -> ET.Element | None:
    """The root of an XML body, or None where it is not XML. A DTD is refused: no service sends one."""
    if body.lstrip()[:1] != b"<":
        return None
    parser = ET.XMLParser(target=_WithoutDtd())  # noqa: S314 - without a DTD there are no entities to expand
    try:
        parser.feed(body)
        root: ET.Element = parser.close()
    except (ET.ParseError, LookupError, ValueError):
        # The last two are for encodings that are not known or can't be read.
        return None
    return root


class _WithoutDtd(ET.TreeBuilder):
    def doctype(self, *_: object) -> NoReturn:
        raise ET.ParseError("a DTD")


def _readable(message: str) -> str:
    return _SECRETS.sub(r"\1\2***", message)[:_LONGEST_MESSAGE]
