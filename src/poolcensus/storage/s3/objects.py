"""What keeping snapshots in an object store takes: the words of those who write them and those who send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from poolcensus.errors import DestinationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


class ObjectEntry(msgspec.Struct, frozen=True):
    """An object in a list."""

    key: str
    size: int


class StoredObject(msgspec.Struct, frozen=True):
    """What was read of an object.

    `age` is how long ago it was written, in seconds, by the clock of the service alone; None where the
    service does not say, or not plausibly. `modified` is when that was, as the service says it, or an empty
    text.
    """

    body: bytes
    etag: str
    age: float | None
    modified: str = ""


class Upload(msgspec.Struct, frozen=True):
    """A multipart upload that is under way. Nobody sees anything of it before it is complete."""

    key: str
    id: str


class UploadedPart(msgspec.Struct, frozen=True):
    """A part of an upload, as completing it has to name it."""

    number: int
    etag: str
    checksum: str


class ConflictError(DestinationError):
    """The service did not decide about a write, for something else went on with the object meanwhile."""


class ExistsError(DestinationError):
    """The service says that there is an object already that may not be replaced."""


class Bucket(Protocol):
    """A bucket of S3, or of a service like it: strongly consistent, with conditional writes.

    Every call takes a bounded time and tries again what may work in a moment. What fails for good is a
    `DestinationError` that says what to do about it.
    """

    @property
    def name(self) -> str:
        """The bucket's name."""

    async def get(self, key: str, *, start: int = 0, size: int = 1 << 20) -> StoredObject | None:
        """Return at most `size` bytes of an object from `start`, or None where there is no object.

        An object that does not reach beyond `start` gives no bytes.
        """

    async def size_of(self, key: str) -> int | None:
        """Return an object's bytes, or None where there is no object."""

    async def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str | None:
        """Write an object and return its ETag, or None where the condition does not hold.

        A call that was tried again may find the condition broken by its own first try.
        """

    async def delete(self, key: str, *, if_match: str | None = None) -> None:
        """Delete an object unless it is gone, or is not the one with the ETag `if_match`.

        Where the service has no conditional deletes, it is deleted whatever its ETag is: look first. Raises
        `ConflictError` where `if_match` could not be decided.
        """

    def entries(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectEntry, None]:
        """Return the objects whose keys start with `prefix` and come after `after`, by key.

        Asks for them as they are taken.
        """

    def folders(self, prefix: str, *, after: str, before: str) -> AsyncGenerator[str, None]:
        """Return the folders at `prefix`: what keys have between the prefix and the next slash.

        The keys are those of the objects that come between `after` and `before`. How many there are in a
        folder makes no difference.
        """

    async def folders_of_uploads(self, prefix: str, beginning: str) -> list[str]:
        """Return the folders at `prefix` that begin with `beginning`, by the multipart uploads under way."""

    async def uploads(self, prefix: str) -> list[Upload]:
        """Return the multipart uploads under way of keys that start with `prefix`."""

    async def begin(self, key: str) -> Upload:
        """Begin a multipart upload."""

    async def send(self, upload: Upload, number: int, data: bytes) -> UploadedPart:
        """Send a part. Numbers start with 1; all parts but the last have 5 MiB or more."""

    async def complete(
        self, upload: Upload, parts: Sequence[UploadedPart], *, if_absent: bool = False
    ) -> bool:
        """Turn an upload into an object, all at once.

        False where the upload is not there any more. Raises `ExistsError` where `if_absent` does not hold. A
        call that was tried again may owe either to its own first try.

        Raises `ConflictError` where `if_absent` could not be decided. The upload is of no use any more, but
        for an earlier try of the call, which may complete it yet.
        """

    async def abort(self, upload: Upload) -> None:
        """Drop an upload and its parts, unless it is gone. From then on nothing can complete it."""
