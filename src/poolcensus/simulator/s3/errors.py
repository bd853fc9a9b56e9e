"""The error codes of S3, with the HTTP status and the message of each."""

from __future__ import annotations

from poolcensus.simulator.refusal import RefusalError

_KNOWN: dict[str, tuple[int, str]] = {
    "AccessDenied": (403, "Access Denied"),
    "BadDigest": (400, "The checksum you specified did not match what we received."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty"),
    "BucketAlreadyExists": (409, "The requested bucket name is not available."),
    "BucketAlreadyOwnedByYou": (409, "The bucket you tried to create already exists, and you own it."),
    "ConditionalRequestConflict": (
        409,
        "The conditional request cannot succeed due to a conflicting operation against this resource.",
    ),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size"),
    "IncompleteBody": (400, "You did not provide the number of bytes specified by the HTTP header"),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidBucketOwnerAWSAccountID": (400, "The expected bucket owner must be an AWS Account ID"),
    "InvalidDigest": (400, "The Content-MD5 you specified was invalid."),
    "InvalidEncryptionAlgorithmError": (400, "The encryption method specified is not supported"),
    "InvalidPart": (400, "One or more of the specified parts could not be found."),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order."),
    "InvalidRange": (416, "The requested range is not satisfiable"),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "KeyTooLongError": (400, "Your key is too long"),
    "MalformedTrailerError": (
        400,
        "The request contained trailing data that was not well-formed or is not what was announced.",
    ),
    "MalformedXML": (400, "The XML you provided was not well-formed"),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size"),
    "NoSuchBucket": (404, "The specified bucket does not exist"),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchUpload": (404, "The specified upload does not exist."),
    "NotImplemented": (501, "A header you provided implies functionality that is not implemented"),
    "PreconditionFailed": (412, "At least one of the pre-conditions you specified did not hold"),
}


class S3Error(RefusalError):
    """S3 answers a request with an error. `details` are further elements of the reply."""

    def __init__(self, code: str, message: str | None = None, /, **details: str) -> None:
        status, default = _KNOWN[code]
        super().__init__(status, code, default if message is None else message, details)


def invalid_argument(name: str, value: str, message: str) -> S3Error:
    """Return the error for an invalid argument."""
    return S3Error("InvalidArgument", message, ArgumentName=name, ArgumentValue=value)
