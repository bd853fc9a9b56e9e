"""Snapshots in a bucket of S3.

Commit order: complete every data file, send the manifest as an upload, confirm the lock, complete that
upload, then renew `latest.json`. Completing an upload is atomic and aborting it is final: a run that was
taken for dead can't publish any more once its successor, which aborts every upload, has cleared up.
"""

from __future__ import annotations

import logging
import sys
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Self

import anyio
from anyio.lowlevel import checkpoint

from poolcensus.errors import DestinationError
from poolcensus.format.ids import parse_snapshot_id
from poolcensus.format.schema import MANIFEST_NAME, REFUSED_NAME, TARGETS_NAME
from poolcensus.snapshot.bucket_keys import (
    LATEST_NAME,
    LOCK_NAME,
    contents,
    latest_object,
    manifests,
    named,
    split_place,
    uploads_of_snapshots,
)
from poolcensus.snapshot.fetching import search_bucket, take_bucket_inventory
from poolcensus.snapshot.lease import LEASE_SECONDS, Lease, remove_lock
from poolcensus.snapshot.reader import info_or_none
from poolcensus.snapshot.store import ABORT_SECONDS, Draft, DraftFile, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from anyio.abc import TaskGroup

    from poolcensus.snapshot.holder import LockHolder
    from poolcensus.snapshot.reader import Inventory, SnapshotInfo
    from poolcensus.storage.s3.objects import Bucket, Upload, UploadedPart

_log = logging.getLogger("poolcensus")

# An upload has at most 10,000 parts: a file may have 78 GiB as it is sent.
PART_BYTES = 8 << 20
_REHEARSAL_NAME = ".trial"
_ROUNDS = 4
_LONGEST_RELEASE = 10.0


class BucketStore(Shelf):
    """The keys of a bucket that start with the prefix of `place`, an `s3://BUCKET/PREFIX`.

    What `open_bucket` gives is opened on entering and closed on leaving. Where the lock is lost, whoever is
    inside is cancelled, and leaving raises `DestinationError`.
    """

    def __init__(
        self,
        open_bucket: Callable[[], AbstractAsyncContextManager[Bucket]],
        place: str,
        *,
        part_bytes: int = PART_BYTES,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        _, self.prefix = split_place(place)
        self.part_bytes = part_bytes
        self._place = place
        self._open_bucket = open_bucket
        self._inside: anyio.CancelScope | None = None
        self._lease_seconds = lease_seconds
        self._drafts: list[_BucketDraft] = []
        self._refused: dict[str, list[str]] = {}
        self._lost: DestinationError | None = None

    @property
    def location(self) -> str:
        return self._place

    async def __aenter__(self) -> Self:
        self._lost = None
        self._opening = self._open_bucket()
        self.bucket = await self._opening.__aenter__()
        self.lease = Lease(self.bucket, self.prefix + LOCK_NAME, self._place, seconds=self._lease_seconds)
        self._tasks: TaskGroup = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._inside = anyio.CancelScope()
        self._inside.__enter__()
        entered = False
        try:
            await self.lease.acquire()
            self._tasks.start_soon(self._keep_lock, name="lock of the destination")
            entered = True
        finally:
            if not entered:
                await self.__aexit__(*sys.exc_info())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        inside, self._inside = self._inside, None
        lost = inside is not None and inside.__exit__(kind, error, traceback)
        try:
            with anyio.move_on_after(ABORT_SECONDS if kind is not None else _LONGEST_RELEASE, shield=True):
                await self._let_go()
        finally:
            self._tasks.cancel_scope.cancel()
            try:
                # What the body raised is not the task group's to wrap.
                await self._tasks.__aexit__(None, None, None)
            finally:
                await self._opening.__aexit__(None, None, None)
        # Whoever was cancelled by somebody else as well is to see that.
        if self._lost is not None and (lost or not isinstance(error, anyio.get_cancelled_exc_class())):
            # One of its own: an exception raised in two tasks collects both tracebacks.
            raise DestinationError(str(self._lost)) from self._lost

    async def draft(self, snapshot_id: str) -> Draft:
        parse_snapshot_id(snapshot_id)
        await self.sweep()
        folder = f"{self.prefix}{snapshot_id}/"
        async with aclosing(self.bucket.entries(folder)) as entries:
            async for _ in entries:
                raise DestinationError(
                    f"can't write {self._place}/{snapshot_id}: there is a snapshot of this id already; choose"
                    " another destination"
                )
        draft = _BucketDraft(self, snapshot_id, folder)
        self._drafts.append(draft)
        await draft.rehearse()
        return draft

    async def inventory(self) -> Inventory:
        if self._inside is not None:
            return await take_bucket_inventory(self.bucket, self._place)
        async with self._open_bucket() as bucket:
            return await take_bucket_inventory(bucket, self._place)

    async def remove(self, snapshot_id: str) -> None:
        parse_snapshot_id(snapshot_id)
        if self._inside is None:
            raise RuntimeError("the store is not in use")
        folder = f"{self.prefix}{snapshot_id}/"
        # Without its manifest it is no snapshot any more, whatever happens to the rest.
        await self.bucket.delete(folder + MANIFEST_NAME)
        async with aclosing(self.bucket.entries(folder)) as entries:
            async for entry in entries:
                await self.bucket.delete(entry.key)

    async def unlock(self) -> LockHolder | None:
        async with self._open_bucket() as bucket:
            return await remove_lock(bucket, self.prefix + LOCK_NAME, self._place)

    async def _keep_lock(self) -> None:
        try:
            await self.lease.keep()
        except DestinationError as error:
            self._lost = error
            if self._inside is not None:
                self._inside.cancel()

    async def _let_go(self) -> None:
        while self._drafts:
            await self._drafts.pop().abort()
        try:
            await self.lease.release()
        except DestinationError as error:
            _log.warning("the lock of %s is left to lapse: %s", self._place, error)

    async def sweep(self) -> None:
        # Whoever left these is dead, for this run holds the lock. Uploads first: from then on nothing that
        # was begun before can be published, and what has no manifest now will never have one.
        for upload in await uploads_of_snapshots(self.bucket, self.prefix):
            await self.bucket.abort(upload)
        for snapshot_id, names in (await contents(self.bucket, self.prefix)).items():
            if MANIFEST_NAME not in names and REFUSED_NAME in names:
                self._refused[snapshot_id] = [*names]
            elif MANIFEST_NAME not in names:
                for name in names:
                    await self.bucket.delete(f"{self.prefix}{snapshot_id}/{name}")

    async def forget_refused(self) -> None:
        """Delete the ledgers of earlier runs that were not published."""
        while self._refused:
            snapshot_id, names = self._refused.popitem()
            try:
                # What has no refused.json any more is swept like everything else.
                for name in sorted(names, key=lambda name: name != REFUSED_NAME):
                    await self.bucket.delete(f"{self.prefix}{snapshot_id}/{name}")
            except DestinationError as error:
                _log.info("the ledger of %s is left for the next run to remove: %s", snapshot_id, error)

    async def renew_latest(self, snapshot_id: str, manifest: bytes) -> SnapshotInfo | None:
        """Have `latest.json` name the newest snapshot, and return the newest but for the one just published.

        That is the one of `snapshot_id`. Raises `DestinationError`.
        """
        key = self.prefix + LATEST_NAME
        for _ in range(_ROUNDS):
            # Read before the list is: whoever publishes after that also writes after it.
            held = await self.bucket.get(key)
            there = manifests(await contents(self.bucket, self.prefix))
            there.pop(snapshot_id, None)
            name = None if held is None else named(held.body)
            search = await search_bucket(self.bucket, self._place, there, name)
            before = search.info
            search.take(snapshot_id, info_or_none(manifest, snapshot_id))
            if name == search.newest:
                return before
            if search.newest is None:
                if held is not None:
                    await self.bucket.delete(key, if_match=held.etag)
                return before
            data = latest_object(search.newest)
            if held is None:
                written = await self.bucket.put(key, data, if_absent=True)
            else:
                written = await self.bucket.put(key, data, if_match=held.etag)
            if written is not None:
                return before
        raise DestinationError(f"other runs keep writing {self._place}/{LATEST_NAME}")


class _BucketDraft(Draft):
    def __init__(self, store: BucketStore, snapshot_id: str, folder: str) -> None:
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
        self._unsure = False

    @property
    def published(self) -> bool:
        return self._published

    async def create(self, name: str) -> DraftFile:
        self.check_open()
        file = self._files[name] = _BucketFile(self, self._folder + name)
        return file

    async def commit(self, manifest: bytes) -> None:
        self.check_open()
        try:
            await self._publish(manifest)
        except DestinationError as error:
            # All that was lost may be the reply of the call that published it.
            await self._give_up()
            if self._unsure:
                raise DestinationError(
                    f"it can't be told whether snapshot {self.snapshot_id} is published in"
                    f" {self._store.location}: {error}"
                ) from error
            if not self._published:
                raise
        finally:
            if not self._published:
                await self._give_up()
        try:
            await self._renew_latest(manifest)
        except DestinationError as error:
            # It is published, whatever becomes of what comes after.
            _log.warning(
                "snapshot %s is published in %s, but %s may still name the snapshot before it: %s",
                self.snapshot_id,
                self._store.location,
                LATEST_NAME,
                error,
            )
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
            kept = self._ended = True
        finally:
            if not kept:
                await self._give_up()
        await self._store.forget_refused()
        return f"{self._store.location}/{self.snapshot_id}"

    async def _renew_latest(self, manifest: bytes) -> None:
        renewed = False
        try:
            self.before = await self._store.renew_latest(self.snapshot_id, manifest)
            renewed = True
        finally:
            if not renewed:
                # Whoever was cancelled here has published all the same.
                with anyio.move_on_after(ABORT_SECONDS, shield=True), suppress(DestinationError):
                    self.before = await self._store.renew_latest(self.snapshot_id, manifest)

    async def abort(self) -> None:
        if self._published or self._ended:
            return
        # Seen by a call that is still running for someone else.
        self._ended = True
        if not self._touched:
            return
        try:
            await self._discard()
        except DestinationError as error:
            _log.info("%s is left for the next run to clear up: %s", self._folder, error)

    async def rehearse(self) -> None:
        """Takes the steps of a commit with an object that goes at once. Raises `DestinationError`.

        What the service can't do, or the caller may not, is better known now than when all is collected.
        """
        try:
            await self._rehearse(self._folder + _REHEARSAL_NAME)
        except DestinationError as error:
            raise DestinationError(
                f"can't publish in {self._store.location}: a trial of it failed, a multipart upload with a"
                f" CRC32 checksum that is completed with If-None-Match: {error}"
            ) from error

    async def _rehearse(self, key: str) -> None:
        upload = await self.begin(key)
        part = await self.bucket.send(upload, 1, b"x")
        done = await self.bucket.complete(upload, [part], if_absent=True)
        if not done and await self.bucket.size_of(key) is None:
            raise DestinationError(f"the service lost the upload of {key}; choose another destination")
        await self.bucket.delete(key)

    def check_open(self) -> None:
        if self._ended or self._published:
            raise RuntimeError("the draft has ended")

    async def begin(self, key: str) -> Upload:
        """An upload that goes with the draft."""
        self._touched = True
        upload = await self.bucket.begin(key)
        if self._ended:
            await self.bucket.abort(upload)
            self.check_open()
        return upload

    async def put(self, key: str, data: bytes) -> None:
        """An object that goes with the draft."""
        self._touched = True
        await self.bucket.put(key, data)

    async def _publish(self, manifest: bytes) -> None:
        for file in self._files.values():
            await file.complete()
        key = self._folder + MANIFEST_NAME
        upload = await self.begin(key)
        part = await self.bucket.send(upload, 1, manifest)
        await self._store.lease.confirm()
        if self._ended:
            raise DestinationError(f"snapshot {self.snapshot_id} was given up before it was published")
        self._manifest = upload
        if not await self.bucket.complete(upload, [part], if_absent=True):
            raise DestinationError(
                f"snapshot {self.snapshot_id} was cleared up by another run before it was published"
            )
        self._published = True

    async def _give_up(self) -> None:
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            await self.abort()

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


class _BucketFile(DraftFile):
    def __init__(self, draft: _BucketDraft, key: str) -> None:
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
        """Makes an object of what was appended."""
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
