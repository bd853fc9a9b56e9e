"""What the simulated S3 holds: buckets, their objects, and multipart uploads that are under way."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from hashlib import md5, sha256
from typing import TYPE_CHECKING

from poolcensus.simulator.s3.errors import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.simulator.http import Headers
    from poolcensus.simulator.s3.call import Call
    from poolcensus.simulator.s3.checksums import Checksum, Kind


@dataclass(frozen=True, slots=True)
class Encryption:
    """How an object is encrypted at rest, for those who ask; nothing is."""

    algorithm: str = "AES256"
    key_id: str | None = None
    context: str | None = None
    bucket_key: bool = False

    def headers(self) -> Headers:
        """Return the headers that state it."""
        found = [("x-amz-server-side-encryption", self.algorithm)]
        if self.key_id is not None:
            found.append(("x-amz-server-side-encryption-aws-kms-key-id", self.key_id))
        if self.bucket_key:
            found.append(("x-amz-server-side-encryption-bucket-key-enabled", "true"))
        return tuple(found)

    def etag(self, digest: bytes) -> str:
        """Return the ETag of content with this MD5: S3's is something else where KMS encrypts."""
        if self.key_id is None:
            return digest.hex()
        return md5(digest + self.key_id.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Attributes:
    """What goes with an object besides its bytes. `headers` come back as they are."""

    headers: Headers
    encryption: Encryption
    storage_class: str = "STANDARD"


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
    """A multipart upload. Without an `algorithm` the client asked for no checksum."""

    upload_id: str
    key: str
    initiated: int
    initiator: str
    attributes: Attributes
    algorithm: str | None
    kind: Kind
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """A bucket. `keys` are those of `objects`, sorted; as strings they sort as their UTF-8 does."""

    name: str
    owner: str
    region: str
    created: int
    objects: dict[str, StoredObject] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def find(self, key: str) -> StoredObject:
        """Return an object.

        Raises:
            S3Error: there is none.
        """
        found = self.objects.get(key)
        if found is None:
            raise S3Error("NoSuchKey", Key=key)
        return found

    def upload(self, key: str, upload_id: str) -> Upload:
        """Return an upload that is under way.

        Raises:
            S3Error: there is none.
        """
        found = self.uploads.get(upload_id)
        if found is None or found.key != key:
            raise S3Error("NoSuchUpload", UploadId=upload_id)
        return found


class Store:
    """All buckets. Whatever adds or removes bytes goes through here, where they are counted."""

    def __init__(self, clock: Callable[[], float], max_bytes: int | None) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._clock = clock
        self._max_bytes = max_bytes
        self._used = 0
        self._uploads = 0

    @property
    def used(self) -> int:
        """The bytes of all objects and of all parts that are not an object yet."""
        return self._used

    def now(self) -> int:
        """Return the time as S3 keeps it: in whole seconds."""
        return int(self._clock())

    def reach(self, call: Call) -> Bucket:
        """Return the bucket that a call is about.

        Raises:
            S3Error: there is none, or the caller may not use it.
        """
        return self.bucket(call, call.bucket, call.headers.get("x-amz-expected-bucket-owner"))

    def bucket(self, call: Call, name: str, expected_owner: str | None) -> Bucket:
        """Return a bucket by its name; the rest is as for `reach`."""
        if expected_owner is not None and not (len(expected_owner) == 12 and expected_owner.isdecimal()):
            raise S3Error("InvalidBucketOwnerAWSAccountID")
        found = self.buckets.get(name)
        if found is None:
            raise S3Error("NoSuchBucket", BucketName=name)
        if found.owner != call.account_id or expected_owner not in (None, found.owner):
            raise S3Error("AccessDenied")
        return found

    def put(self, bucket: Bucket, stored: StoredObject) -> None:
        """Add an object, or replace the one with its key.

        Raises:
            S3Error: it does not fit.
        """
        previous = bucket.objects.get(stored.key)
        self._count(len(stored.body) - (0 if previous is None else len(previous.body)))
        if previous is None:
            insort(bucket.keys, stored.key)
        bucket.objects[stored.key] = stored

    def remove(self, bucket: Bucket, key: str) -> None:
        """Remove an object, where there is one."""
        previous = bucket.objects.pop(key, None)
        if previous is not None:
            del bucket.keys[bisect_left(bucket.keys, key)]
            self._count(-len(previous.body))

    def begin(
        self, bucket: Bucket, call: Call, attributes: Attributes, algorithm: str | None, kind: Kind
    ) -> Upload:
        """Begin a multipart upload."""
        self._uploads += 1
        upload_id = sha256(f"{bucket.name}/{call.key}#{self._uploads}".encode()).hexdigest()
        upload = Upload(upload_id, call.key, self.now(), call.identity.arn, attributes, algorithm, kind)
        bucket.uploads[upload_id] = upload
        return upload

    def put_part(self, upload: Upload, part: Part) -> None:
        """Add a part, or replace the one with its number.

        Raises:
            S3Error: it does not fit.
        """
        previous = upload.parts.get(part.number)
        self._count(len(part.body) - (0 if previous is None else len(previous.body)))
        upload.parts[part.number] = part

    def abort(self, bucket: Bucket, upload: Upload) -> None:
        """Drop an upload and its parts."""
        del bucket.uploads[upload.upload_id]
        self._count(-sum(len(part.body) for part in upload.parts.values()))

    def complete(self, bucket: Bucket, upload: Upload, stored: StoredObject) -> None:
        """Turn an upload into an object."""
        # The parts hold all of its bytes already, so that it always fits.
        self.abort(bucket, upload)
        self.put(bucket, stored)

    def _count(self, change: int) -> None:
        used = self._used + change
        if change > 0 and self._max_bytes is not None and used > self._max_bytes:
            raise S3Error("QuotaExceeded")
        self._used = used


def owner_id(account_id: str) -> str:
    """Return the canonical user id of an account."""
    return sha256(account_id.encode()).hexdigest()
