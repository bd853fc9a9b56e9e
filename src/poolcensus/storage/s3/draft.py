"""A draft in a bucket.

Commit order: complete every data file, send the manifest as a multipart upload, confirm the lock, complete
that upload, then update `latest.json`.

Completing an upload is atomic, and aborting it is final. So a run that was taken for dead can't publish any
more once its successor has aborted all uploads. If the service can't decide whether to complete the upload,
it is aborted, and the steps are repeated with a new upload.
"""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.lowlevel import checkpoint

from poolcensus.errors import DestinationError
from poolcensus.format.manifest import MANIFEST_NAME, REFUSED_NAME
from poolcensus.format.schema import TARGETS_NAME
from poolcensus.storage.base import ABORT_SECONDS, Draft, DraftFile
from poolcensus.storage.naming import LATEST_NAME, passed_over
from poolcensus.storage.s3.keys import contents, uploads_of_snapshots
from poolcensus.storage.s3.latest import renew_latest
from poolcensus.storage.s3.objects import ConflictError, ExistsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from poolcensus.storage.base import LatestChoice
    from poolcensus.storage.s3.lease import Lease
    from poolcensus.storage.s3.objects import Bucket, Upload, UploadedPart

_log = logging.getLogger("poolcensus")

_REHEARSAL_NAME = ".trial"
# Looks at a listing. Listings of S3 are never stale; those of other services may be, and a few seconds don't
# matter compared with the time of a lease.
_LOOKS = 3
_SECONDS_BETWEEN_LOOKS = 1.0

# Seconds to find out whether the snapshot is published, if the service can't be reached. The SDK gives up a
# call after some ten seconds, so there is time for two more. Only a run that was not cancelled waits for so
# long.
_LONGEST_SETTLING = 30.0

# New uploads after one that met a conflict. S3 requires a new upload for each attempt.
_MORE_UPLOADS = 3


class Uploading(Protocol):
    """The part of a store that its drafts use."""

    bucket: Bucket
    lease: Lease
    prefix: str
    part_bytes: int

    @property
    def location(self) -> str:
        """The destination, as messages name it."""

    async def forget_refused(self) -> None:
        """Delete the kept ledgers of earlier refused runs."""


class BucketDraft(Draft):
    """A draft as uploads and objects under a snapshot ID."""

    def __init__(self, store: Uploading, snapshot_id: str, folder: str) -> None:
        super().__init__(snapshot_id)
        self.bucket = store.bucket
        self.part_bytes = store.part_bytes
        self._store = store
        self._folder = folder
        self._files: dict[str, _BucketFile] = {}
        self._touched = False
        self._manifest: Upload | None = None
        self._published = False
        self._ended = False
        # Whether nothing remains to be cleaned up, or nothing that can be.
        self._settled = False
        # For updating `latest`, if only the clean-up finds out that the snapshot is published.
        self._choice: LatestChoice | None = None
        self._unsure = False

    @property
    def published(self) -> bool:
        return self._published

    async def create(self, name: str) -> DraftFile:
        self.check_open()
        file = self._files[name] = _BucketFile(self, self._folder + name)
        return file

    async def commit(self, manifest: bytes, latest: LatestChoice) -> None:
        self.check_open()
        try:
            await self._publish_or_settle(manifest)
        except anyio.get_cancelled_exc_class():
            await self._give_up()
            if self._published:
                await self._renew_latest_in_time(latest)
            else:
                self._choice = latest
            raise
        finally:
            if not (self._published or self._unsure):
                await self._give_up()
        await self._renew_latest(latest)
        await self._store.forget_refused()

    async def refuse(self, record: bytes) -> str | None:
        self.check_open()
        kept = False
        try:
            # In the snapshot's own folder. Without a manifest, it is not a snapshot.
            for name, file in self._files.items():
                if name.startswith(TARGETS_NAME):
                    await file.complete()
            await self._store.lease.confirm()
            for upload in await self.bucket.uploads(self._folder):
                await self.bucket.abort(upload)
            self.check_open()
            await self.put(self._folder + REFUSED_NAME, record)
            kept = self._ended = self._settled = True
        finally:
            if not kept:
                await self._give_up()
        await self._store.forget_refused()
        return f"{self._store.location}/{self.snapshot_id}"

    async def _renew_latest(self, choice: LatestChoice) -> None:
        try:
            await self._try_to_renew_latest(choice)
        except anyio.get_cancelled_exc_class():
            await self._renew_latest_in_time(choice)
            raise

    async def _renew_latest_in_time(self, choice: LatestChoice) -> None:
        # The snapshot is published, although the caller was cancelled.
        with anyio.move_on_after(ABORT_SECONDS, shield=True) as limit:
            await self._try_to_renew_latest(choice)
        if limit.cancelled_caught:
            self._warn_of_latest(f"no reply within {ABORT_SECONDS:g} s")

    async def _try_to_renew_latest(self, choice: LatestChoice) -> None:
        place = self._store.location
        try:
            await renew_latest(self.bucket, self._store.prefix, place, choice)
        except DestinationError as error:
            self._warn_of_latest(str(error))
            return
        if choice.is_passed_over:
            _log.warning("%s", passed_over(self.snapshot_id, place, LATEST_NAME, choice.newest))

    def _warn_of_latest(self, why: str) -> None:
        _log.warning(
            "snapshot %s is published in %s, but %s may still name the snapshot before it: %s",
            self.snapshot_id,
            self._store.location,
            LATEST_NAME,
            why,
        )

    async def abort(self) -> None:
        if self._published or self._settled:
            return
        # Set first: a call may still be running in another task, and looks at this.
        self._ended = True
        if self._touched:
            await self._try_to_discard()
        # Not reached if this was cancelled. Then leaving the store tries once more.
        self._settled = True
        if self._choice is not None and self.published:
            await self._renew_latest_in_time(self._choice)

    def tell_if_unsure(self) -> None:
        """Log a warning if a commit was cancelled, and it is not known whether the snapshot is published."""
        # If the commit ended with an error, that says so.
        if self._unsure and self._choice is not None:
            _log.warning(
                "it can't be told whether snapshot %s is published in %s: the run was ended before the"
                " service said so",
                self.snapshot_id,
                self._store.location,
            )

    async def rehearse(self) -> None:
        """Try the steps of a commit with an object that is deleted at once. Raises `DestinationError`.

        So missing permissions, or features that the service lacks, are known before anything is collected.
        """
        try:
            await self._rehearse(self._folder + _REHEARSAL_NAME)
        except DestinationError as error:
            raise DestinationError(
                f"can't publish in {self._store.location}: a trial with an object that is deleted at once"
                f" failed: {error.problem}",
                advice=error.advice,
            ) from error

    async def _rehearse(self, key: str) -> None:
        done = await self._write_new(key, b"x", self._check_found)
        if not done and await self.bucket.size_of(key) is None:
            raise DestinationError(
                f"the service lost the upload of {key}", advice="choose another destination"
            )

        async def listed() -> bool:
            return _REHEARSAL_NAME in (await contents(self.bucket, self._store.prefix)).get(
                self.snapshot_id, ()
            )

        found = await _soon(listed)
        await self.bucket.delete(key)
        if not found:
            raise DestinationError(
                "the service does not list what was written, so no command would find the snapshot",
                advice="choose another destination",
            )

    async def _check_found(self, upload: Upload) -> None:
        """Raise `DestinationError` if the service doesn't list the upload.

        A later run could then not abort the upload, and this one might complete it after it was taken for
        dead.
        """

        async def found() -> bool:
            if upload in await uploads_of_snapshots(self.bucket, self._store.prefix):
                return True
            return upload in await self.bucket.uploads(upload.key)

        if not await _soon(found):
            await self.bucket.abort(upload)
            raise DestinationError(
                "the service does not list the multipart uploads in flight, so a run that has died can't be"
                " kept from publishing later",
                advice="choose another destination",
            )

    def check_open(self) -> None:
        if self._ended or self._published:
            raise RuntimeError("the draft has ended")

    async def begin(self, key: str) -> Upload:
        """Begin an upload that belongs to the draft."""
        self._touched = True
        upload = await self.bucket.begin(key)
        if self._ended:
            await self.bucket.abort(upload)
            self.check_open()
        return upload

    async def put(self, key: str, data: bytes) -> None:
        """Write an object that belongs to the draft."""
        self._touched = True
        await self.bucket.put(key, data)

    async def _publish(self, manifest: bytes) -> None:
        for file in self._files.values():
            await file.complete()
        if not await self._write_new(self._folder + MANIFEST_NAME, manifest, self._confirm):
            raise DestinationError(
                f"snapshot {self.snapshot_id} was cleared up by another run before it was published"
            )
        self._published = True

    async def _publish_or_settle(self, manifest: bytes) -> None:
        try:
            await self._publish(manifest)
        except DestinationError as error:
            # The call may have published the snapshot, and only its reply was lost.
            with anyio.move_on_after(_LONGEST_SETTLING):
                await self.abort()
                while self._unsure:
                    await anyio.sleep(_SECONDS_BETWEEN_LOOKS)
                    await self._try_to_discard()
            if self._unsure:
                raise DestinationError(
                    f"it can't be told whether snapshot {self.snapshot_id} is published in"
                    f" {self._store.location}: {error.problem}",
                    advice="look for it with 'poolcensus snapshots' once the service can be reached",
                ) from error
            if not self._published:
                raise

    async def _write_new(self, key: str, data: bytes, check: Callable[[Upload], Awaitable[None]]) -> bool:
        """Write a new object by a multipart upload. Return False if the upload is gone, or the object exists.

        `check` is called with each upload before it is completed.
        """
        more = _MORE_UPLOADS
        while True:
            upload = await self.begin(key)
            part = await self.bucket.send(upload, 1, data)
            await check(upload)
            try:
                return await self.bucket.complete(upload, [part], if_absent=True)
            except ExistsError:
                if await self.bucket.size_of(key) is None:
                    raise
                return False
            except ConflictError:
                if not more:
                    raise
            more -= 1
            # The conflict may be with the call's own first try. After the abort, that can no longer complete
            # the upload: either the object exists by now, or a new upload has to create it.
            await self.bucket.abort(upload)
            if await self.bucket.size_of(key) is not None:
                return False

    async def _confirm(self, manifest: Upload) -> None:
        await self._store.lease.confirm()
        if self._ended:
            raise DestinationError(f"snapshot {self.snapshot_id} was given up before it was published")
        self._manifest = manifest

    async def _give_up(self) -> None:
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            if self._unsure:
                await self._try_to_discard()
            else:
                await self.abort()

    async def _try_to_discard(self) -> None:
        try:
            await self._discard()
        except DestinationError as error:
            _log.info("%s is left for the next run to clear up: %s", self._folder, error)

    async def _discard(self) -> None:
        if self._manifest is not None:
            self._unsure = True
            await self.bucket.abort(self._manifest)
            # Now it is certain, since nothing can complete the upload any more.
            self._published = await self.bucket.size_of(self._folder + MANIFEST_NAME) is not None
            self._unsure = False
            if self._published:
                return
        for upload in await self.bucket.uploads(self._folder):
            await self.bucket.abort(upload)
        async with aclosing(self.bucket.entries(self._folder)) as entries:
            async for entry in entries:
                await self.bucket.delete(entry.key)


async def _soon(found: Callable[[], Awaitable[bool]]) -> bool:
    """Call `found` up to three times, with pauses. Return whether it returned true."""
    for look in range(_LOOKS):
        if look:
            await anyio.sleep(_SECONDS_BETWEEN_LOOKS)
        if await found():
            return True
    return False


class _BucketFile(DraftFile):
    def __init__(self, draft: BucketDraft, key: str) -> None:
        self._draft = draft
        self._key = key
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._sent_bytes = 0
        self._upload: Upload | None = None
        self._parts: list[UploadedPart] = []

    async def append(self, data: bytes) -> None:
        self._draft.check_open()
        self._held.append(data)
        self._held_bytes += len(data)
        size = self._draft.part_bytes
        if self._held_bytes < size:
            await checkpoint()
            return
        # All parts have the same size, which some services require.
        data = b"".join(self._held)
        full = len(data) - len(data) % size
        self._held, self._held_bytes = [data[full:]], len(data) - full
        for start in range(0, full, size):
            await self._send(data[start : start + size])

    async def complete(self) -> None:
        """Create the object from the data that was appended."""
        rest = b"".join(self._held)
        if self._upload is None:
            await self._draft.put(self._key, rest)
            return
        if rest:
            await self._send(rest)
        if await self._draft.bucket.complete(self._upload, self._parts):
            return
        if await self._draft.bucket.size_of(self._key) != self._sent_bytes:
            raise DestinationError(f"the upload of {self._key} was cleared up by another run")

    async def _send(self, data: bytes) -> None:
        if self._upload is None:
            self._upload = await self._draft.begin(self._key)
        self._parts.append(await self._draft.bucket.send(self._upload, len(self._parts) + 1, data))
        self._sent_bytes += len(data)
