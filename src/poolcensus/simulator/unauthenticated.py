"""The refusals of credentials and signatures: each service has codes of its own for them."""

from __future__ import annotations

from datetime import UTC, datetime

from poolcensus.simulator.refusal import RefusalError


def unknown_key(service: str) -> RefusalError:
    """Return the refusal of credentials that the service does not know in this region."""
    match service:
        case "ec2":
            return RefusalError(
                401, "AuthFailure", "AWS was not able to validate the provided access credentials"
            )
        case "sts":
            return RefusalError(
                403, "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        case "s3":
            return RefusalError(
                403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
            )
        case "account":
            return RefusalError(
                403, "UnrecognizedClientException", "The security token included in the request is invalid."
            )
    return RefusalError(
        400, "UnrecognizedClientException", "The security token included in the request is invalid."
    )


def expired(service: str) -> RefusalError:
    """Return the refusal of credentials whose time is over."""
    match service:
        case "ec2":
            return RefusalError(400, "RequestExpired", "Request has expired.")
        case "sts":
            return RefusalError(403, "ExpiredToken", "The security token included in the request is expired")
        case "s3":
            return RefusalError(400, "ExpiredToken", "The provided token has expired.")
        case "account":
            return RefusalError(
                403, "ExpiredTokenException", "The security token included in the request is expired"
            )
    return RefusalError(400, "ExpiredTokenException", "The security token included in the request is expired")


def missing(service: str) -> RefusalError:
    """Return the refusal of a request without a signature."""
    match service:
        case "s3":
            return RefusalError(403, "AccessDenied", "Access Denied")
        case "sts" | "ec2":
            return RefusalError(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
        case "account":
            return RefusalError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    return RefusalError(400, "MissingAuthenticationTokenException", "Missing Authentication Token")


def mismatch(service: str) -> RefusalError:
    """Return the refusal of a signature that is not the key's."""
    message = (
        "The request signature we calculated does not match the signature you provided. "
        "Check your AWS Secret Access Key and signing method."
    )
    match service:
        case "ec2":
            return RefusalError(
                401, "AuthFailure", "AWS was not able to validate the provided access credentials"
            )
        case "sts" | "s3":
            return RefusalError(403, "SignatureDoesNotMatch", message)
        case "account":
            return RefusalError(403, "InvalidSignatureException", message)
    return RefusalError(400, "InvalidSignatureException", message)


def skewed(service: str, stamp: str, now: float, window: float, *, early: bool) -> RefusalError:
    """Return the refusal of a signature whose date is too far from the server's clock."""
    server = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    edge = datetime.fromtimestamp(now + window if early else now - window, UTC).strftime("%Y%m%dT%H%M%SZ")
    minutes = f"{window / 60:g} min."
    if early:
        message = f"Signature not yet current: {stamp} is still later than {edge} ({server} + {minutes})"
    else:
        message = f"Signature expired: {stamp} is now earlier than {edge} ({server} - {minutes})"
    match service:
        case "s3":
            return RefusalError(
                403,
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
            )
        case "ec2":
            return (
                RefusalError(400, "RequestExpired", message)
                if not early
                else RefusalError(401, "AuthFailure", message)
            )
        case "sts":
            return RefusalError(403, "SignatureDoesNotMatch", message)
        case "account":
            return RefusalError(403, "InvalidSignatureException", message)
    return RefusalError(400, "InvalidSignatureException", message)
