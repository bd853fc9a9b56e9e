"""The attributes of an object, read from the headers of a write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.simulator.s3.errors import S3Error
from poolcensus.simulator.s3.store import ENCRYPTION, KMS_KEY, Attributes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METADATA = "x-amz-meta-"
_ACL = "x-amz-acl"
_STORAGE_CLASS = "x-amz-storage-class"
HEADERS = frozenset({ENCRYPTION, KMS_KEY, METADATA, _ACL, _STORAGE_CLASS})
# These two mean the same here, since every object belongs to the owner of the bucket.
ACLS = frozenset({"private", "bucket-owner-full-control"})
_KEPT = ("cache-control", "content-disposition", "content-language", "expires")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
_MAX_METADATA = 2048


def read_attributes(headers: Mapping[str, str]) -> Attributes:
    """Return the attributes of an object from the headers of a write.

    Raises S3Error if the headers ask for an unknown encryption, or for something that is not simulated.
    """
    encryption, key = headers.get(ENCRYPTION, "AES256"), headers.get(KMS_KEY)
    if encryption not in ("AES256", "aws:kms"):
        raise S3Error("InvalidEncryptionAlgorithmError", ArgumentName=ENCRYPTION)
    if encryption == "AES256" and key is not None:
        raise S3Error("InvalidArgument", f"A KMS key requires {ENCRYPTION}: aws:kms", ArgumentName=KMS_KEY)
    key = key or "alias/aws/s3" if encryption == "aws:kms" else None
    if headers.get(_STORAGE_CLASS, "STANDARD") != "STANDARD":
        raise S3Error("NotImplemented", Header=_STORAGE_CLASS)
    check_acl(headers)
    kept = (*_kept(headers), *_metadata(headers))
    return Attributes(headers.get("content-type", "binary/octet-stream"), encryption, key, kept)


def check_acl(headers: Mapping[str, str]) -> None:
    """Check that the access control list grants access to the bucket's owner only.

    Raises S3Error if it is another one.
    """
    if headers.get(_ACL, "private") not in ACLS:
        raise S3Error("NotImplemented", Header=_ACL)


def _kept(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((name, headers[name]) for name in _KEPT if name in headers)
    # aws-chunked is the encoding of the request, and not of the object.
    encodings = [each.strip() for each in headers.get("content-encoding", "").split(",")]
    if left := [each for each in encodings if each and each.lower() != "aws-chunked"]:
        yield "content-encoding", ",".join(left)


def _metadata(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    found = [(name, value) for name, value in headers.items() if name.startswith(METADATA)]
    size = sum(len(name) - len(METADATA) + len(value) for name, value in found)
    if size > _MAX_METADATA:
        raise S3Error("MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(_MAX_METADATA))
    return found
