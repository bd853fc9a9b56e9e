"""The error codes of S3 and errors of the SDK: what they mean, and the messages for them."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from poolcensus.aws.refusals.redaction import code_or_status, readable
from poolcensus.errors import CallError


class Reason(NamedTuple):
    """Why a call failed, and what to do about it, both as clauses. They may contain format fields."""

    why: str
    advice: str | None = None


NOT_S3 = Reason("what answered is not S3", "check the network and `endpoint_url`")
"""The reason for a reply that S3 would not send."""

UPLOAD_GONE = frozenset({"NoSuchUpload"})
NO_BUCKET = frozenset({"NoSuchBucket"})
CONFLICT = frozenset({"ConditionalRequestConflict"})
BROKEN = frozenset({"PreconditionFailed", "412"})
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"})
_UNKNOWN_CALLER = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure"})
_DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "403", "AccessDeniedException"})
_UNKNOWN = frozenset({"NotImplemented", "501"})
_ELSEWHERE = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "301",
        "307",
    }
)
_READING = frozenset({"get_object", "head_object", "list_objects_v2"})
_IAM_ACTIONS = {
    "get_object": ("s3:GetObject", "s3:ListBucket"),
    "head_object": ("s3:GetObject", "s3:ListBucket"),
    "put_object": ("s3:PutObject",),
    "create_multipart_upload": ("s3:PutObject",),
    "upload_part": ("s3:PutObject",),
    "complete_multipart_upload": ("s3:PutObject",),
    "delete_object": ("s3:DeleteObject",),
    "list_objects_v2": ("s3:ListBucket",),
    "list_multipart_uploads": ("s3:ListBucketMultipartUploads",),
    "abort_multipart_upload": ("s3:AbortMultipartUpload",),
}


class RedirectedError(BotoCoreError):  # type: ignore[misc] # the SDK has no types
    """The reply is a redirect that names no region of a bucket, so it is not from S3."""

    fmt = "redirected"


class ForeignReplyError(BotoCoreError):  # type: ignore[misc] # the SDK has no types
    """The reply is not from S3, whatever its status."""

    fmt = "not S3"


class PageError(BotoCoreError):  # type: ignore[misc] # the SDK has no types
    """The reply is not from S3: it is an error with a body that has no error code."""

    fmt = "not S3: HTTP {status}"


# By error code, or by HTTP status as text. The first match counts.
_REFUSALS: tuple[tuple[frozenset[str], Reason], ...] = (
    (
        frozenset({"InvalidObjectState"}),
        Reason("the object is in an archive", "restore it with 'aws s3api restore-object', and run again"),
    ),
    (UPLOAD_GONE, Reason("someone has aborted the upload, another run or a lifecycle rule", "run again")),
    (
        BROKEN,
        Reason("the service refuses it, as if it were there already ({code})", "choose another destination"),
    ),
    (
        NO_BUCKET,
        Reason("there is no bucket {bucket}", "create it or choose another destination"),
    ),
    (EXPIRED, Reason("the caller's credentials have expired", "renew them and run again")),
    (
        _UNKNOWN_CALLER,
        Reason("S3 does not accept the caller's credentials ({code})", "check `profile` and AWS_PROFILE"),
    ),
    (frozenset({"RequestTimeTooSkewed"}), Reason("the clock of this machine is wrong", "set it")),
    (frozenset({"SlowDown", "503"}), Reason("S3 asks for fewer calls still", "run again later")),
    (_ELSEWHERE, Reason("the bucket {bucket} is in another region", "name that with AWS_REGION")),
    (
        _UNKNOWN,
        Reason(
            "the service lacks what keeping snapshots takes, perhaps conditional writes", "choose another one"
        ),
    ),
    (_DENIED, Reason("access is denied ({code})", "the caller needs {iam_actions}")),
)
_FAILURES: tuple[tuple[tuple[type[Exception], ...], Reason], ...] = (
    ((ForeignReplyError,), NOT_S3),
    (
        (RedirectedError,),
        Reason("what answered is not S3, it redirects", "check the network and `endpoint_url`"),
    ),
    ((ProxyConnectionError,), Reason("the proxy can't be reached", "check HTTPS_PROXY and HTTP_PROXY")),
    (
        (EndpointConnectionError, ConnectTimeoutError),
        Reason("the service can't be reached", "check the network, the region and `endpoint_url`"),
    ),
    (
        (ReadTimeoutError, TimeoutError),
        Reason("the service did not answer in time", "check the network or choose another destination"),
    ),
    (
        (ParamValidationError,),
        Reason("the SDK refuses the name of the bucket or of the object", "choose another destination"),
    ),
)
# For a page of a proxy, or of a web server in place of S3.
_PAGE = Reason(
    "what answered is not S3: HTTP {status} without an error code", "check the network and `endpoint_url`"
)
_PAGE_FOR_NOW = Reason(
    "HTTP {status} without an error code, perhaps from a proxy", "check the network or run again later"
)
_PASSING = frozenset({429, 500, 502, 503, 504})
# Reasons that OpenSSL gives if the first bytes of a peer are not TLS.
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL"}
)


def refusal_reason(error: Exception, operation: str, *, bucket: str, owner: str | None) -> Reason:
    """Return why a call failed, and what to do.

    `owner` is the account that has to own the bucket, or None.
    """
    if isinstance(error, ClientError):
        return _refusal(error, operation, bucket, owner)
    if isinstance(error, CallError):
        # From the credential chain.
        return Reason(error.message)
    if isinstance(error, SSLError):
        return _tls_failure(error)
    if isinstance(error, PageError):
        return _page(error.kwargs["status"])
    for kinds, reason in _FAILURES:
        if isinstance(error, kinds):
            return reason
    return Reason("the connection broke again and again", "check the network or choose another destination")


def _tls_failure(error: SSLError) -> Reason:
    found = error.kwargs.get("error")
    if isinstance(found, ssl.SSLCertVerificationError):
        return Reason("the certificate of the service is not trusted", "AWS_CA_BUNDLE names whom to trust")
    # aiohttp's error is also an ssl.SSLError, but has no reason. Its cause has.
    cause = found.__cause__ if isinstance(found, BaseException) else None
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    if reason in _NO_TLS:
        return Reason("what answered does not speak TLS", "check the scheme and the port of `endpoint_url`")
    code = reason or type(found).__name__
    return Reason(
        f"no TLS connection with the service can be made ({code})", "check the network and `endpoint_url`"
    )


def _page(status: int) -> Reason:
    page = _PAGE_FOR_NOW if status in _PASSING else _PAGE
    return page._replace(why=page.why.format(status=status))


def _refusal(error: ClientError, operation: str, bucket: str, owner: str | None) -> Reason:
    code, status = code_of(error), _status(error)
    if operation != "head_object" and _is_page(error):
        return _page(status)
    reason = next(
        (reason for codes, reason in _REFUSALS if not codes.isdisjoint({code, str(status)})),
        Reason("S3 answered {code}", "run again or choose another destination"),
    )
    message = _message(error)
    reads = operation in _READING
    if code in _DENIED and _is_of_key(message):
        reason = Reason("the key refuses the caller, who needs {iam_actions} on it")
    elif code.startswith("KMS."):
        key = "the key that the object is encrypted with" if reads else "s3_kms_key"
        reason = Reason("the key can't be used ({code})", f"check {key}")
    elif reads and is_unknown(error):
        reason = Reason("the service does not have this call ({code})", "check `endpoint_url`")
    elif code in _DENIED and owner:
        reason = Reason(reason.why, f"{reason.advice}, and the bucket has to be of account {owner}")
    iam_actions = " and ".join(_iam_actions(operation, message))
    fields = {"code": code, "bucket": bucket, "iam_actions": iam_actions}
    return Reason(reason.why.format_map(fields), reason.advice and reason.advice.format_map(fields))


class S3Denial(NamedTuple):
    """A denial by S3: its code, its message, and the IAM actions of which the caller lacks at least one."""

    code: str
    message: str
    iam_actions: tuple[str, ...]


def denial_of(error: Exception, operation: str) -> S3Denial | None:
    """Return the denial with which a call failed, or None if it failed otherwise."""
    # By the code, since wrong clocks and wrong keys have the same status.
    if not isinstance(error, ClientError) or code_of(error) not in _DENIED:
        return None
    message = _message(error)
    return S3Denial(code_of(error), readable(message), _iam_actions(operation, message))


def _iam_actions(operation: str, message: str) -> tuple[str, ...]:
    """Return the IAM actions of which the caller of a denied operation lacks at least one."""
    if not _is_of_key(message):
        return _IAM_ACTIONS[operation]
    return ("kms:Decrypt",) if operation in _READING else ("kms:GenerateDataKey", "kms:Decrypt")


def _is_of_key(message: str) -> bool:
    """Return whether the denial is about the KMS key of the object."""
    return "kms:" in message


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def code_of(error: ClientError) -> str:
    """Return the error code of the service, or the status if the code is not usable, or an empty text."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code and code_or_status(code, str(_status(error)))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_page(error: ClientError) -> bool:
    """Return whether an error has no S3 error code: its body is other XML, or an HTML page."""
    code, headers = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    # If the SDK can't parse the body, it uses the status as the code.
    return not code or (
        code == str(_status(error)) and headers.get("content-type", "").lower().startswith("text/html")
    )


def is_unknown(error: BaseException | None) -> bool:
    """Return whether the service says that it does not implement the operation."""
    return isinstance(error, ClientError) and not _UNKNOWN.isdisjoint({code_of(error), str(_status(error))})
