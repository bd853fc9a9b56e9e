"""The interface of a bucket, and its data types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from poolcensus.errors import DestinationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


class ObjectEntry(msgspec.Struct, frozen=True):
    """An object in a listing."""

    key: str
    size: int


class StoredObject(msgspec.Struct, frozen=True):
    """The content of an object, or of a range of it.

    `age` is how many seconds ago the object was written, by the service's own clock, or None if the service
    does not say so plausibly. `modified` is the time of the write as text from the service, or empty.
    """

    body: bytes
    etag: str
    age: float | None
    modified: str = ""


class Upload(msgspec.Struct, frozen=True):
    """A multipart upload in progress. The object does not exist before the upload is completed."""

    key: str
    id: str


class UploadedPart(msgspec.Struct, frozen=True):
    """A part of an upload, with the values that completing it requires."""

    number: int
    etag: str
    checksum: str


class ConflictError(DestinationError):
    """The service did not decide about a write because of a concurrent operation on the object."""


class ExistsError(DestinationError):
    """The object already exists, and must not be replaced."""


class Bucket(Protocol):
    """A bucket of S3 or a compatible service, which is strongly consistent and has conditional writes.

    Every call is limited in time, and retries transient failures. Other failures raise a `DestinationError`
    that says what to do about it.
    """

    @property
    def name(self) -> str:
        """The bucket's name."""

    async def get(self, key: str, *, start: int = 0, size: int = 1 << 20) -> StoredObject | None:
        """Return at most `size` bytes of an object from `start`, or None if there is no object.

        If the object ends before `start`, the body is empty.
        """

    async def size_of(self, key: str) -> int | None:
        """Return the size of an object in bytes, or None if there is no object."""

    async def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str | None:
        """Write an object and return its ETag, or None if the condition does not hold.

        If the call was retried, its own first try may be why the condition does not hold.
        """

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Delete an object, if it exists and has the ETag `if_match`.

        If the service has no conditional deletes, the ETag is ignored, so look at the object first. Raises
        `ConflictError` if the service could not decide about `if_match`.
        """

    def entries(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectEntry, None]:
        """Iterate over the objects whose keys start with `prefix` and sort after `after`, in order of keys.

        Pages are requested as they are needed.
        """

    def folders(self, prefix: str, *, after: str, before: str) -> AsyncGenerator[str, None]:
        """Iterate over the folders at `prefix`: the parts of keys between the prefix and the next slash.

        Only keys between `after` and `before` count. The number of objects in a folder does not matter.
        """

    async def folders_of_uploads(self, prefix: str, beginning: str) -> list[str]:
        """Return the folders at `prefix` that start with `beginning` and have uploads in progress."""

    async def uploads(self, prefix: str) -> list[Upload]:
        """Return the multipart uploads in progress whose keys start with `prefix`."""

    async def begin(self, key: str) -> Upload:
        """Begin a multipart upload."""

    async def send(self, upload: Upload, number: int, data: bytes) -> UploadedPart:
        """Send a part. Numbers start with 1. All parts except the last have at least 5 MiB."""

    async def complete(
        self, upload: Upload, parts: Sequence[UploadedPart], *, if_absent: bool = False
    ) -> bool:
        """Turn an upload into an object, atomically.

        Return False if the upload no longer exists. Raises `ExistsError` if `if_absent` does not hold. If the
        call was retried, its own first try may be the reason for either.

        Raises `ConflictError` if the service could not decide about `if_absent`. Then the upload can't be
        completed by another call, but an earlier try of this one may still complete it.
        """

    async def abort(self, upload: Upload) -> None:
        """Abort an upload, if it still exists. After that, nothing can complete it."""
