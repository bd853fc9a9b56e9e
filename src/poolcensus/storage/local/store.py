"""The store of a folder: writes snapshots, and removes them."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

from poolcensus.errors import DestinationError, reason_of
from poolcensus.format.ids import new_snapshot_id, parse_snapshot_id
from poolcensus.format.times import utc_now
from poolcensus.paths import exists, is_folder, is_link, rename
from poolcensus.storage.advice import explained
from poolcensus.storage.base import Draft, InterruptedRun, Repository
from poolcensus.storage.local.draft import FolderDraft, Modes
from poolcensus.storage.local.files import make_folders, sync_folder
from poolcensus.storage.local.lock import FolderLock
from poolcensus.storage.local.reading import LocalSource, survey
from poolcensus.storage.local.stale import PRUNED_PREFIX, StaleDrafts
from poolcensus.storage.local.threads import OneAtATime
from poolcensus.storage.naming import LOCK_NAME, inside_snapshot, no_snapshots, snapshot_around

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from types import TracebackType

    from poolcensus.storage.holder import LockHolder
    from poolcensus.storage.source import Source, Survey

_T = TypeVar("_T")


class FolderStore(Repository):
    """A folder. It is created with its parents if missing, unless it `must_exist`.

    `file_mode` and `folder_mode` apply to everything that the store creates, whatever the umask. Existing
    folders keep their modes.

    Entering removes nothing. The drafts of dead runs are removed when a draft is created, except the newest
    that can be resumed. That one stays until a run publishes, since a run that fails earlier would leave
    neither. So the disk needs room for two unpublished runs, and no more of them accumulate.
    """

    def __init__(
        self,
        dest: os.PathLike[str] | str,
        *,
        file_mode: int = 0o600,
        folder_mode: int = 0o700,
        must_exist: bool = False,
    ) -> None:
        self.dest = Path(dest)
        self.must_exist = must_exist
        self._modes = Modes(file_mode, folder_mode)
        self._calls = OneAtATime()
        self._lock = FolderLock(self.dest, file_mode)
        self._stale = StaleDrafts(self.dest)
        self._drafts: list[FolderDraft] = []

    @property
    def location(self) -> str:
        return str(self.dest)

    async def __aenter__(self) -> Self:
        entered = False
        try:
            await self._calls.run(self._acquire)
            entered = True
        finally:
            if not entered:
                await self._let_go()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._let_go()

    async def draft(self, snapshot_id: str) -> Draft:
        parse_snapshot_id(snapshot_id)
        await self.sweep()
        draft = FolderDraft(snapshot_id, self.dest, self._modes, self._lock, self._calls)
        self._drafts.append(draft)
        made = False
        try:
            await self._calls.run(draft.make)
            made = True
        finally:
            if not made:
                await draft.abort()
        return draft

    async def rehearse(self) -> None:
        await self._calls.run(self._rehearse)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Source]:
        yield LocalSource(self.dest)

    async def interrupted(self) -> Sequence[InterruptedRun]:
        return await self._calls.run(self._interrupted)

    async def set_aside(self, run: InterruptedRun) -> Sequence[Path]:
        return await self._calls.run(self._stale.set_aside, run)

    async def survey(self, take: Callable[[Survey], _T]) -> _T:
        return await self._calls.run(lambda: take(survey(self.dest)))

    async def sweep(self, *, keep: Iterable[Path] | None = None) -> None:
        await self._calls.run(self._sweep, keep)

    async def remove(self, snapshot_id: str) -> None:
        parse_snapshot_id(snapshot_id)
        await self._calls.run(self._remove, snapshot_id)

    async def unlock(self) -> LockHolder | None:
        return await self._calls.run(self._lock.remove)

    async def _let_go(self) -> None:
        await self._calls.finish(self._release)

    def _acquire(self) -> None:
        if self._lock.held:
            raise RuntimeError("the store is already in use")
        with explained("read" if self.must_exist else "make", self.dest):
            if (snapshot := snapshot_around(self.dest)) is not None:
                # Snapshots there would damage that snapshot, and be removed with it.
                raise inside_snapshot(self.dest, snapshot)
            if not self.must_exist:
                make_folders(self.dest, self._modes.folder)
            elif not is_folder(self.dest):
                raise DestinationError(no_snapshots(self.dest))
        self._lock.acquire()

    def _release(self) -> None:
        while self._drafts:
            self._drafts.pop().discard()
        self._lock.release()

    def _rehearse(self) -> None:
        lock = self.dest / LOCK_NAME
        with explained("make", self.dest):
            missing = [each for each in (self.dest, *self.dest.parents) if not exists(each)]
        had_lock = os.path.lexists(lock)
        try:
            self._acquire()
            draft = FolderDraft(new_snapshot_id(utc_now()), self.dest, self._modes, self._lock, self._calls)
            try:
                draft.make()
                draft.try_writing()
            finally:
                draft.discard()
        finally:
            if self._lock.held and not had_lock:
                # Unlink the lock while holding it. A run that has opened it in the meantime notices that it
                # is gone, and reports it.
                with suppress(OSError):
                    lock.unlink()
            self._release()
            for folder in missing:
                # This fails, and the folder stays, if somebody has used it in the meantime.
                with suppress(OSError):
                    folder.rmdir()

    def _interrupted(self) -> list[InterruptedRun]:
        with explained("read", self.dest):
            return self._stale.interrupted()

    def _sweep(self, keep: Iterable[Path] | None) -> None:
        # If it can't be determined what to keep, remove nothing. Another run will try again.
        with suppress(OSError):
            kept = self._stale.resumable() if keep is None else frozenset(each.name for each in keep)
            self._stale.sweep(kept)

    def _remove(self, snapshot_id: str) -> None:
        if not self._lock.held:
            raise RuntimeError("the store is not in use")
        folder = self.dest / snapshot_id
        hidden = self.dest / f"{PRUNED_PREFIX}{snapshot_id}"
        self._lock.check()
        if is_link(folder):
            raise DestinationError(f"can't remove {folder}: it is a symbolic link")
        # Hide the snapshot from readers in one step, and make that durable before the first file is removed.
        # After a power failure, the snapshot is complete or gone.
        try:
            rename(folder, hidden)
        except OSError as error:
            raise DestinationError(f"can't remove {folder}: {reason_of(error)}") from error
        try:
            sync_folder(self.dest)
            shutil.rmtree(hidden)
        except OSError as error:
            raise DestinationError(
                f"snapshot {snapshot_id} is gone from {self.dest}, but files of it may still lie in {hidden}:"
                f" {reason_of(error)}; the next run or prune tries again"
            ) from error
