"""Refusals of credentials and signatures. Each service has its own error codes for them."""

from __future__ import annotations

from datetime import UTC, datetime

from poolcensus.simulator.refusal import OTHERS, RefusalError, by_service

_INVALID = "The security token included in the request is invalid."
_OVER = "The security token included in the request is expired"
_NOT_VALIDATED = (401, "AuthFailure", "AWS was not able to validate the provided access credentials")
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method."
)
_UNKNOWN_KEY = {
    "ec2": _NOT_VALIDATED,
    "sts": (403, "InvalidClientTokenId", _INVALID),
    "s3": (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."),
    "account": (403, "UnrecognizedClientException", _INVALID),
    OTHERS: (400, "UnrecognizedClientException", _INVALID),
}
_EXPIRED = {
    "ec2": (400, "RequestExpired", "Request has expired."),
    "sts": (403, "ExpiredToken", _OVER),
    "s3": (400, "ExpiredToken", "The provided token has expired."),
    "account": (403, "ExpiredTokenException", _OVER),
    OTHERS: (400, "ExpiredTokenException", _OVER),
}
_MISSING_TOKEN = (403, "MissingAuthenticationToken", "Request is missing Authentication Token")
_MISSING = {
    "s3": (403, "AccessDenied", "Access Denied"),
    "sts": _MISSING_TOKEN,
    "ec2": _MISSING_TOKEN,
    "account": (403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
    OTHERS: (400, "MissingAuthenticationTokenException", "Missing Authentication Token"),
}
# https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
_UNREADABLE = {
    "ec2": (400, "IncompleteSignature"),
    "sts": (400, "IncompleteSignature"),
    "s3": (400, "AuthorizationHeaderMalformed"),
    "account": (403, "IncompleteSignatureException"),
    OTHERS: (400, "IncompleteSignatureException"),
}
_HOST = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
_NOT_THE_KEYS = {
    "ec2": _NOT_VALIDATED,
    "sts": (403, "SignatureDoesNotMatch", _MISMATCH),
    "s3": (403, "SignatureDoesNotMatch", _MISMATCH),
    "account": (403, "InvalidSignatureException", _MISMATCH),
    OTHERS: (400, "InvalidSignatureException", _MISMATCH),
}


def unknown_key(service: str) -> RefusalError:
    """Return the refusal of credentials that the service does not know in this region."""
    return by_service(_UNKNOWN_KEY, service)


def wrong_token(service: str, *, given: bool) -> RefusalError:
    """Return the refusal of a session token that does not belong to the access key.

    `given` is whether the request has a session token.
    """
    if service == "s3" and given:
        return RefusalError(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    return unknown_key(service)


def expired(service: str) -> RefusalError:
    """Return the refusal of credentials that have expired."""
    return by_service(_EXPIRED, service)


def missing(service: str) -> RefusalError:
    """Return the refusal of a request without a signature."""
    return by_service(_MISSING, service)


def unreadable(service: str, message: str, *, presigned: bool) -> RefusalError:
    """Return the refusal of a malformed signature."""
    if service == "s3" and presigned:
        return RefusalError(400, "AuthorizationQueryParametersError", message)
    status, code = _UNREADABLE.get(service, _UNREADABLE[OTHERS])
    return RefusalError(status, code, message)


def undated(service: str, stamp: str, *, presigned: bool) -> RefusalError:
    """Return the refusal of a signature whose timestamp is malformed."""
    if service != "s3":
        message = f"Date must be in ISO-8601 'basic format'. Got '{stamp}'."
        return unreadable(service, message, presigned=presigned)
    if presigned:
        message = "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        return unreadable(service, message, presigned=True)
    return RefusalError(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")


def not_signed(service: str, headers: list[str]) -> RefusalError:
    """Return the refusal of a request whose signature does not cover these headers.

    S3 requires the host and the `x-amz-` headers to be signed, all other services only the host.
    """
    if service == "s3":
        message = "There were headers present in the request which were not signed"
        return RefusalError(403, "AccessDenied", message, {"HeadersNotSigned": ", ".join(headers)})
    status, code, _ = _NOT_THE_KEYS.get(service, _NOT_THE_KEYS[OTHERS])
    return RefusalError(status, code, _HOST)


def mismatch(service: str) -> RefusalError:
    """Return the refusal of a signature that does not match."""
    return by_service(_NOT_THE_KEYS, service)


def skewed(service: str, stamp: str, now: float, window: float, *, early: bool) -> RefusalError:
    """Return the refusal of a signature whose timestamp is too far from the server's clock.

    `early` is whether the timestamp is in the future.
    """
    server, edge = (
        datetime.fromtimestamp(each, UTC).strftime("%Y%m%dT%H%M%SZ")
        for each in (now, now + window if early else now - window)
    )
    minutes = f"{window / 60:g} min."
    if early:
        message = f"Signature not yet current: {stamp} is still later than {edge} ({server} + {minutes})"
    else:
        message = f"Signature expired: {stamp} is now earlier than {edge} ({server} - {minutes})"
    table = {
        "s3": (
            403,
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
        ),
        "ec2": (401, "AuthFailure", message) if early else (400, "RequestExpired", message),
        "sts": (403, "SignatureDoesNotMatch", message),
        "account": (403, "InvalidSignatureException", message),
        OTHERS: (400, "InvalidSignatureException", message),
    }
    return by_service(table, service)
