"""What a client says about an object when it writes one, and how the replies say it back."""

from __future__ import annotations

import re
from email.utils import formatdate
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from poolcensus.simulator.s3.errors import S3Error, invalid_argument
from poolcensus.simulator.s3.store import Attributes, Encryption

if TYPE_CHECKING:
    from poolcensus.simulator.http import Headers
    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.store import Bucket, StoredObject

META = "x-amz-meta-"
ACL = "x-amz-acl"
STORAGE_CLASS = "x-amz-storage-class"
ENCRYPTION = "x-amz-server-side-encryption"
KMS_KEY = f"{ENCRYPTION}-aws-kms-key-id"
KMS_CONTEXT = f"{ENCRYPTION}-context"
BUCKET_KEY = f"{ENCRYPTION}-bucket-key-enabled"

_KEPT = {
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-type": "Content-Type",
    "expires": "Expires",
}
_OVERRIDES = {f"response-{name}": header for name, header in _KEPT.items()}
OVERRIDES = frozenset(_OVERRIDES)
_AT_ONCE = frozenset(
    {"STANDARD", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "REDUCED_REDUNDANCY"}
)
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_KMS = frozenset({"aws:kms", "aws:kms:dsse"})
_KEY_ID = re.compile(r"[0-9a-f-]{36}|mrk-[0-9a-f]{32}")
_MAX_META = 2048


def read_attributes(call: Call, bucket: Bucket) -> Attributes:
    """Return what the headers of a write say about the object.

    Raises:
        S3Error: they ask for what S3 refuses.
    """
    headers = call.headers
    if headers.get(ACL, "bucket-owner-full-control") != "bucket-owner-full-control":
        raise S3Error("AccessControlListNotSupported")
    kept = {name: headers[name] for name in _KEPT if name in headers}
    kept.setdefault("content-type", "binary/octet-stream")
    # `aws-chunked` says how the body came over the wire; S3 keeps only the codings beside it.
    codings = [text.strip() for text in kept.pop("content-encoding", "").split(",")]
    if coding := ",".join(text for text in codings if text not in ("", "aws-chunked")):
        kept["content-encoding"] = coding
    meta = [(name, value) for name, value in headers.items() if name.startswith(META)]
    if sum(len(name) - len(META) + len(value) for name, value in meta) > _MAX_META:
        raise S3Error("MetadataTooLarge", MaxSizeAllowed=str(_MAX_META))
    described = (*((_KEPT[name], value) for name, value in kept.items()), *sorted(meta))
    return Attributes(described, _read_encryption(call, bucket), read_storage_class(call))


def read_storage_class(call: Call) -> str:
    """Return the storage class that a write asks for.

    Raises:
        S3Error: there is no such class, or its objects can't be read at once.
    """
    name = call.headers.get(STORAGE_CLASS, "STANDARD")
    if name in _ARCHIVED:
        raise S3Error("NotImplemented", Header=STORAGE_CLASS)
    if name not in _AT_ONCE:
        raise S3Error("InvalidStorageClass", StorageClassRequested=name)
    return name


def object_headers(stored: StoredObject) -> Headers:
    """Return the headers that describe an object to its reader."""
    attributes = stored.attributes
    tier: Headers = ()
    if attributes.storage_class != "STANDARD":
        tier = ((STORAGE_CLASS, attributes.storage_class),)
    return (
        ("ETag", f'"{stored.etag}"'),
        ("Last-Modified", formatdate(stored.modified, usegmt=True)),
        ("Accept-Ranges", "bytes"),
        *attributes.headers,
        *attributes.encryption.headers(),
        *tier,
    )


def override(headers: Headers, call: Call) -> Headers:
    """Replace headers by those that the query asks for instead.

    Raises:
        S3Error: a value is none that a header can carry.
    """
    wanted = {_OVERRIDES[name]: value for name, value in call.params.items() if name in _OVERRIDES}
    for name, value in wanted.items():
        # A line break here would let the query write further headers.
        if not (value.isascii() and value.isprintable()):
            raise invalid_argument(f"response-{name.lower()}", value, "Header value cannot be represented.")
    return (*(pair for pair in headers if pair[0] not in wanted), *wanted.items())


def _read_encryption(call: Call, bucket: Bucket) -> Encryption:
    headers = call.headers
    algorithm, key_id = headers.get(ENCRYPTION), headers.get(KMS_KEY)
    if algorithm not in (None, "AES256", *_KMS):
        raise S3Error("InvalidEncryptionAlgorithmError", ArgumentName=ENCRYPTION)
    if algorithm not in _KMS:
        if key_id is not None or KMS_CONTEXT in headers:
            raise invalid_argument(
                ENCRYPTION,
                algorithm or "null",
                "Server Side Encryption with AWS KMS managed key requires HTTP header "
                "x-amz-server-side-encryption : aws:kms",
            )
        return Encryption()
    if key_id is None or _KEY_ID.fullmatch(key_id):
        partition = call.identity.arn.removeprefix("arn:").partition(":")[0]
        key_id = key_id or str(UUID(sha256(f"aws/s3 {bucket.owner}".encode()).hexdigest()[:32]))
        key_id = f"arn:{partition}:kms:{bucket.region}:{bucket.owner}:key/{key_id}"
    return Encryption(
        algorithm or "aws:kms",
        key_id,
        headers.get(KMS_CONTEXT),
        headers.get(BUCKET_KEY, "").lower() == "true",
    )
