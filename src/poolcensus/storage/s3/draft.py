"""A snapshot on its way into a bucket.

Commit order: complete every data file, send the manifest as an upload, confirm the lock, complete that
upload, then renew `latest.json`. Completing an upload is atomic and aborting it is final: a run that was
taken for dead can't publish any more once its successor, which aborts every upload, has cleared up. Where
the service can't decide whether it may complete the upload, that one is aborted, and a new one takes the same
steps, with the lock confirmed anew.
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
# Listings of S3 are never late. Where another service's are, a moment is nothing beside the time of a lease.
_LOOKS = 3
_SECONDS_BETWEEN_LOOKS = 1.0

# Nobody waits for a run that was not cancelled, and the SDK gives up a call after some ten seconds: twice as
# long, and more, that an outage may last until it is known what is published.
_LONGEST_SETTLING = 30.0

# How many uploads follow one that met a conflict: S3 wants each of them begun anew.
_MORE_UPLOADS = 3


class Uploading(Protocol):
    """The store of a draft, as far as the draft knows it."""

    bucket: Bucket
    lease: Lease
    prefix: str
    part_bytes: int

    @property
    def location(self) -> str:
        """The destination as a person would name it."""

    async def forget_refused(self) -> None:
        """Delete the ledgers of earlier runs that were not published."""


class BucketDraft(Draft):
    """Uploads that are under way below a snapshot id."""

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
        # Whether there is nothing to be cleared up any more, or nothing that could be.
        self._settled = False
        # What to renew `latest` by, where only clearing up finds out that the snapshot is published.
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
            # Under its id, where it would be published. Without a manifest it is no snapshot.
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
        # Whoever was cancelled has published all the same.
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
        # Seen by a call that is still running for someone else.
        self._ended = True
        if self._touched:
            await self._try_to_discard()
        # Not where it was cancelled: whoever leaves the store tries once more.
        self._settled = True
        if self._choice is not None and self.published:
            await self._renew_latest_in_time(self._choice)

    def tell_if_unsure(self) -> None:
        """Warn where a commit was cancelled, and nobody could tell what came of it."""
        # Where it was an error that ended the commit, that says so.
        if self._unsure and self._choice is not None:
            _log.warning(
                "it can't be told whether snapshot %s is published in %s: the run was ended before the"
                " service said so",
                self.snapshot_id,
                self._store.location,
            )

    async def rehearse(self) -> None:
        """Take the steps of a commit with an object that goes at once. Raises `DestinationError`.

        What the service can't do, or the caller may not, is better known now than when all is collected.
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
        """Refuse a service on which a sweep does not find an upload, which then could be completed later."""

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
        """Return an upload that goes with the draft."""
        self._touched = True
        upload = await self.bucket.begin(key)
        if self._ended:
            await self.bucket.abort(upload)
            self.check_open()
        return upload

    async def put(self, key: str, data: bytes) -> None:
        """Write an object that goes with the draft."""
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
            # All that was lost may be the reply of the call that published it.
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
        """Write an object by an upload. False where that is gone, or where there is an object already.

        `check` is called with each upload that is about to be completed.
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
            # What was in the way may be a first try of that call, which can complete nothing from then on:
            # there is an object by now, or only a new upload becomes one.
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
            # It is settled now: nothing can complete that upload any more.
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
    """Return whether something is found, by one of a few looks."""
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
        # Of one size: some services take no others.
        data = b"".join(self._held)
        full = len(data) - len(data) % size
        self._held, self._held_bytes = [data[full:]], len(data) - full
        for start in range(0, full, size):
            await self._send(data[start : start + size])

    async def complete(self) -> None:
        """Make an object of what was appended."""
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
