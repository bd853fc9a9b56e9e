"""The data of the simulated S3: buckets, their objects, and multipart uploads in progress."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import md5, sha256
from typing import TYPE_CHECKING

from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.simulator.http import Headers
    from poolcensus.simulator.s3.call import S3Call
    from poolcensus.simulator.s3.checksums import Checksum

ENCRYPTION = "x-amz-server-side-encryption"
KMS_KEY = f"{ENCRYPTION}-aws-kms-key-id"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is stored with the body of an object. The encryption is stated, but nothing is encrypted.

    `kept` are the headers that a read returns as they were sent, including metadata.
    """

    content_type: str
    encryption: str
    kms_key: str | None
    kept: Headers = ()

    def encrypted_as(self, other: Attributes) -> Attributes:
        """Return these attributes with the encryption of `other`."""
        return replace(self, encryption=other.encryption, kms_key=other.kms_key)

    def headers(self) -> Headers:
        """Return the headers that state the encryption."""
        key: Headers = () if self.kms_key is None else ((KMS_KEY, self.kms_key),)
        return ((ENCRYPTION, self.encryption), *key)

    def etag(self, digest: bytes) -> str:
        """Return the ETag of content with this MD5. With KMS encryption the ETag is not the MD5."""
        if self.kms_key is None:
            return digest.hex()
        return md5(digest + self.kms_key.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object. `etag` has no quotes; `modified` is in whole epoch seconds."""

    key: str
    body: bytes
    etag: str
    modified: int
    attributes: Attributes
    checksum: Checksum | None


@dataclass(frozen=True, slots=True)
class Part:
    """An uploaded part."""

    number: int
    body: bytes
    digest: bytes
    etag: str
    modified: int
    checksum: Checksum | None


@dataclass(slots=True)
class Upload:
    """A multipart upload. `algorithm` is None if the client asked for no checksum."""

    upload_id: str
    key: str
    initiated: int
    attributes: Attributes
    algorithm: str | None
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """A bucket."""

    name: str
    owner: str
    region: str
    created: int
    objects: dict[str, StoredObject] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """The keys of the objects, sorted. Strings sort in the order of their UTF-8."""
        return sorted(self.objects)

    def find(self, key: str) -> StoredObject:
        """Return an object.

        Raises S3Error if there is no such object.
        """
        found = self.objects.get(key)
        if found is None:
            raise S3Error("NoSuchKey", Key=key)
        return found

    def upload(self, call: S3Call) -> Upload:
        """Return the upload that a call names.

        Raises S3Error if there is no such upload.
        """
        found = self.uploads.get(call.params["uploadId"])
        if found is None or found.key != call.key:
            raise S3Error("NoSuchUpload", UploadId=call.params["uploadId"])
        return found


class Store:
    """All buckets."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.buckets: dict[str, Bucket] = {}
        self.begun = 0
        self._clock = clock

    def now(self) -> int:
        """Return the time in whole seconds, as S3 stores it."""
        return int(self._clock())

    def reach(self, call: S3Call) -> Bucket:
        """Return the bucket that a call names.

        Raises S3Error if there is no such bucket, or if its owner is not the caller or not the expected one.
        """
        expected_owner = call.headers.get("x-amz-expected-bucket-owner")
        if expected_owner is not None and not (len(expected_owner) == 12 and expected_owner.isdecimal()):
            raise S3Error("InvalidBucketOwnerAWSAccountID")
        found = self.bucket(call.bucket, call.account_id)
        if expected_owner not in (None, found.owner):
            raise S3Error("AccessDenied")
        return found

    def bucket(self, name: str, account_id: str) -> Bucket:
        """Return a bucket of an account.

        Raises S3Error if there is no such bucket, or if it belongs to another account.
        """
        found = self.buckets.get(name)
        if found is None:
            raise S3Error("NoSuchBucket", BucketName=name)
        if found.owner != account_id:
            raise S3Error("AccessDenied")
        return found


def timestamp(seconds: int) -> str:
    """Return a time in the format of S3's XML."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def owner(account_id: str) -> list[tuple[str, str]]:
    """Return the elements that name an account as an owner: its canonical user ID."""
    return [("ID", sha256(account_id.encode()).hexdigest())]
