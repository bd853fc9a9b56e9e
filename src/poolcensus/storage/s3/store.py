"""The store of a bucket: writes snapshots, and removes them."""

from __future__ import annotations

import logging
import sys
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from poolcensus.errors import DestinationError, copy_of_error
from poolcensus.format.ids import is_snapshot_id, new_snapshot_id, parse_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME, REFUSED_NAME
from poolcensus.format.times import utc_now
from poolcensus.storage.base import ABORT_SECONDS, Draft, Repository
from poolcensus.storage.naming import LOCK_NAME, inside_snapshot
from poolcensus.storage.s3.draft import BucketDraft
from poolcensus.storage.s3.keys import contents, split_place, uploads_of_snapshots
from poolcensus.storage.s3.lease import LEASE_SECONDS, Lease, remove_lock
from poolcensus.storage.s3.reading import survey
from poolcensus.storage.s3.shared_bucket import SharedBucket
from poolcensus.storage.s3.source import S3Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType

    from anyio.abc import TaskGroup

    from poolcensus.storage.holder import LockHolder
    from poolcensus.storage.s3.objects import Bucket
    from poolcensus.storage.source import Source, Survey

_T = TypeVar("_T")

_log = logging.getLogger("poolcensus")

# An upload has at most 10,000 parts, so that a file may have 78 GiB.
PART_BYTES = 8 << 20
_LONGEST_RELEASE = 10.0


class BucketStore(Repository):
    """The keys of a bucket that start with the prefix of `place`, an `s3://BUCKET/PREFIX`.

    The bucket is opened by `open_bucket` on entering, and closed on leaving. If the lock is lost, the code
    inside the context is cancelled, and leaving raises `DestinationError`.
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
        self._drafts: list[BucketDraft] = []
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
            await self._check_place()
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
            # Hurry only if cancelled. After an error there is time to release the lock properly.
            is_cancelled = kind is not None and issubclass(kind, anyio.get_cancelled_exc_class())
            limit = ABORT_SECONDS if is_cancelled else _LONGEST_RELEASE
            with anyio.move_on_after(limit, shield=True) as scope:
                await self._let_go()
            if scope.cancelled_caught and self.lease.asked:
                _log.warning(
                    "the lock of %s is left to lapse: the service did not answer within %g s",
                    self._place,
                    limit,
                )
        finally:
            self._tasks.cancel_scope.cancel()
            try:
                # Without the error of the body, which the task group would wrap in an exception group.
                await self._tasks.__aexit__(None, None, None)
            finally:
                await self._opening.__aexit__(None, None, None)
        # If another cancellation is in progress as well, it goes on.
        if self._lost is not None and (lost or not isinstance(error, anyio.get_cancelled_exc_class())):
            raise copy_of_error(self._lost)

    async def _check_place(self) -> None:
        """Raise SettingsError for a place inside a snapshot, with which it would be removed."""
        steps = self.prefix.split("/")
        for number, step in enumerate(steps, 1):
            if is_snapshot_id(step):
                folder = "/".join(steps[:number])
                if await self.bucket.size_of(f"{folder}/{MANIFEST_NAME}") is not None:
                    raise inside_snapshot(self._place, step)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Source]:
        async with BlockingPortal() as portal:
            bucket = SharedBucket(lambda: nullcontext((portal, self.bucket)))
            yield S3Source(bucket, self._place)

    async def draft(self, snapshot_id: str) -> Draft:
        parse_snapshot_id(snapshot_id)
        await self.sweep()
        folder = f"{self.prefix}{snapshot_id}/"
        async with aclosing(self.bucket.entries(folder)) as entries:
            async for _ in entries:
                raise DestinationError(
                    f"can't write {self._place}/{snapshot_id}: there is a snapshot of this id already",
                    advice="choose another destination",
                )
        draft = BucketDraft(self, snapshot_id, folder)
        self._drafts.append(draft)
        await draft.rehearse()
        return draft

    async def rehearse(self) -> None:
        snapshot_id = new_snapshot_id(utc_now())
        folder = f"{self.prefix}{snapshot_id}/"
        async with self:
            # Make the listings of a sweep, without removing anything.
            await uploads_of_snapshots(self.bucket, self.prefix)
            await contents(self.bucket, self.prefix)
            draft = BucketDraft(self, snapshot_id, folder)
            self._drafts.append(draft)
            await draft.rehearse()
            # Abort an upload, as a run does that ends early.
            await self.bucket.abort(await draft.begin(folder + MANIFEST_NAME))

    async def survey(self, take: Callable[[Survey], _T]) -> _T:
        if self._inside is not None:
            return take(await survey(self.bucket, self.prefix))
        async with self._open_bucket() as bucket:
            return take(await survey(bucket, self.prefix))

    async def remove(self, snapshot_id: str) -> None:
        parse_snapshot_id(snapshot_id)
        if self._inside is None:
            raise RuntimeError("the store is not in use")
        folder = f"{self.prefix}{snapshot_id}/"
        # First the manifest: without it, this is no longer a snapshot, whatever happens to the rest.
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
        # Concurrently. If the service is slow, uploads that can't be aborted must not delay releasing the
        # lock. The next run aborts them first.
        async with anyio.create_task_group() as group:
            group.start_soon(self._abort_drafts)
            group.start_soon(self._release)

    async def _abort_drafts(self) -> None:
        while self._drafts:
            draft = self._drafts.pop()
            try:
                await draft.abort()
            finally:
                draft.tell_if_unsure()

    async def _release(self) -> None:
        try:
            await self.lease.release()
        except DestinationError as error:
            _log.warning("the lock of %s is left to lapse: %s", self._place, error)

    async def sweep(self, *, keep: Iterable[Path] | None = None) -> None:  # noqa: ARG002 - no draft outlives its run
        # Since this run holds the lock, whoever left these is dead. Uploads are aborted first. After that, no
        # earlier draft can be published, and a folder without a manifest will never get one.
        for upload in await uploads_of_snapshots(self.bucket, self.prefix):
            await self.bucket.abort(upload)
        for snapshot_id, names in (await contents(self.bucket, self.prefix)).items():
            if MANIFEST_NAME not in names and REFUSED_NAME in names:
                self._refused[snapshot_id] = [*names]
            elif MANIFEST_NAME not in names:
                await self._remove_unpublished(f"{self.prefix}{snapshot_id}/", names)

    async def _remove_unpublished(self, folder: str, names: Iterable[str]) -> None:
        # By its exact key, since some services list an upload in no other way.
        for upload in await self.bucket.uploads(folder + MANIFEST_NAME):
            await self.bucket.abort(upload)
        if await self.bucket.size_of(folder + MANIFEST_NAME) is not None:
            _log.warning("the service does not list %s%s, which is there", folder, MANIFEST_NAME)
            return
        for name in names:
            await self.bucket.delete(folder + name)

    async def forget_refused(self) -> None:
        """Delete the kept ledgers of earlier refused runs."""
        while self._refused:
            snapshot_id, names = self._refused.popitem()
            try:
                # First refused.json. Without it, the next sweep removes the rest.
                for name in sorted(names, key=lambda name: name != REFUSED_NAME):
                    await self.bucket.delete(f"{self.prefix}{snapshot_id}/{name}")
            except DestinationError as error:
                _log.info("the ledger of %s is left for the next run to remove: %s", snapshot_id, error)
