"""Snapshots in a local folder.

Commit order: fsync every data file, write and fsync the manifest, fsync the draft's folder, rename it
into place, fsync the destination, then renew `latest`. A power cut at any point leaves the former
snapshot or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from poolcensus.errors import DestinationError, DestinationLockedError
from poolcensus.format.codec import dumps
from poolcensus.format.ids import parse_snapshot_id
from poolcensus.format.schema import MANIFEST_NAME, REFUSED_NAME, TARGETS_NAME
from poolcensus.snapshot.bucket_keys import LATEST_NAME, latest_object
from poolcensus.snapshot.holder import LockHolder, locked, still_running
from poolcensus.snapshot.journal import JOURNAL_NAME, Journal
from poolcensus.snapshot.reader import LATEST, info_or_none, published_ids, search_latest, take_inventory
from poolcensus.snapshot.resume import Interrupted
from poolcensus.snapshot.stale import DRAFT_PREFIX, LATEST_PREFIX, PRUNED_PREFIX, REFUSED_PREFIX, Leftovers
from poolcensus.snapshot.store import ABORT_SECONDS, Draft, DraftFile, Piece, Shelf, explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from poolcensus.model import JsonObject
    from poolcensus.snapshot.reader import Inventory

_log = logging.getLogger("poolcensus")

LOCK_NAME = ".lock"
# What file systems without symbolic links say, such as exFAT, SMB shares and FUSE mounts of buckets.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class FolderStore(Shelf):
    """A folder, made with its parents where it is missing, unless it `must_exist`.

    `file_mode` and `folder_mode` hold for everything the store makes, whatever the umask is. Folders
    that are already there keep their modes.

    Entering removes nothing. What dead runs left is removed when a draft is made, but for the newest that can
    be gone on with: it stays until a run publishes, since one that fails before that would leave neither. So
    the disk has to have room for two runs that were not published, and no more of them pile up.
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
        self.file_mode = file_mode
        self.folder_mode = folder_mode
        self.must_exist = must_exist
        # One call at a time: the order of the system calls is the promise this module makes. The limiter
        # keeps waiting calls out of the threads; the mutex holds where a caller has left its call running.
        self._limiter = anyio.CapacityLimiter(1)
        self._mutex = threading.Lock()
        self._lock_fd: int | None = None
        self._drafts: list[_FolderDraft] = []
        self._journals: list[Journal] = []
        self.leftovers = Leftovers(self.dest)

    @property
    def location(self) -> str:
        return str(self.dest)

    async def __aenter__(self) -> Self:
        entered = False
        try:
            await self.run(self._acquire)
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
        draft = _FolderDraft(self, snapshot_id)
        self._drafts.append(draft)
        made = False
        try:
            await self.run(draft.make)
            made = True
        finally:
            if not made:
                await draft.abort()
        return draft

    async def interrupted(self, asked: JsonObject) -> Interrupted | None:
        journals = await self.run(self._open_journals, asked)
        return Interrupted(journals) if journals else None

    async def inventory(self) -> Inventory:
        return await self.run(take_inventory, self.dest)

    async def sweep(self) -> None:
        await self.run(self._sweep)

    async def remove(self, snapshot_id: str) -> None:
        parse_snapshot_id(snapshot_id)
        await self.run(self._remove, snapshot_id)

    async def unlock(self) -> LockHolder | None:
        return await self.run(self._unlock)

    def check_lock(self) -> None:
        """Raise `DestinationError` where somebody has taken the lock away. Blocks."""
        lock = self.dest / LOCK_NAME
        with explained("read", lock):
            if self._lock_fd is None or not _is_file(self._lock_fd, lock):
                raise DestinationError(
                    f"the lock of {self.dest} was lost: it was removed, perhaps with 'poolcensus unlock'; run"
                    " again"
                )

    async def run(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """The result of a blocking `call`, made in a worker thread while no other one runs.

        A caller that is cancelled does not wait, for a disk may hang. A call that has begun ends by itself,
        and one that has not is never made.
        """
        wanted = True

        def alone() -> _T:
            with self._mutex:
                if not wanted:
                    raise RuntimeError("nobody waits for this call any more")
                return call(*args)

        try:
            return await to_thread.run_sync(alone, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            wanted = False

    async def finish(self, call: Callable[[], None]) -> None:
        """Make a blocking `call` after what is under way, even where the caller is cancelled.

        Waits for `ABORT_SECONDS` at most. Where the disk hangs for longer, the call is made when it goes on.
        """

        def alone() -> None:
            with self._mutex:
                call()

        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            # Its own limiter: a caller that was not cancelled may hold the other one.
            await to_thread.run_sync(alone, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True)

    async def _let_go(self) -> None:
        await self.finish(self._release)

    def _acquire(self) -> None:
        if self._lock_fd is not None:
            raise RuntimeError("the store is already in use")
        if not self.must_exist:
            with explained("make", self.dest):
                make_folders(self.dest, self.folder_mode)
        elif not self.dest.is_dir():
            raise DestinationError(f"no snapshots in {self.dest}: there is no such folder")
        lock = self.dest / LOCK_NAME
        with explained("lock", lock):
            fd = self._open_lock(lock)
            try:
                self._take_lock(fd, lock)
            except (OSError, DestinationLockedError):
                os.close(fd)
                raise
            self._lock_fd = fd
            os.ftruncate(fd, 0)
            this = LockHolder.this_run()
            write_all(fd, dumps({"host": this.host, "pid": this.pid, "started_at": this.started_at}))

    def _take_lock(self, fd: int, lock: Path) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise locked(self.dest, _holder(fd)) from None
        if not _is_file(fd, lock):
            raise DestinationLockedError(f'Destination "{self.dest}" was just unlocked. Run again.')

    def _open_lock(self, lock: Path) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(lock, flags | os.O_CREAT | os.O_EXCL, self.file_mode)
        except FileExistsError:
            # Another user's in a shared folder, perhaps: its mode is not ours to change.
            return os.open(lock, flags)
        os.fchmod(fd, self.file_mode)
        return fd

    def _release(self) -> None:
        while self._drafts:
            self._drafts.pop().discard()
        while self._journals:
            self._journals.pop().close()
        # The file stays: were it unlinked, a run that had opened it before would have to begin anew.
        fd, self._lock_fd = self._lock_fd, None
        if fd is not None:
            # The lock is gone with the descriptor, which a close that fails has closed all the same.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            with contextlib.suppress(OSError):
                os.close(fd)

    def _open_journals(self, asked: JsonObject) -> list[Journal]:
        journals = self.leftovers.journals(asked)
        self._journals += journals
        return journals

    def _sweep(self) -> None:
        self.leftovers.sweep(self.leftovers.resumable())

    def _unlock(self) -> LockHolder | None:
        if not self.dest.is_dir():
            raise DestinationError(f"no snapshots in {self.dest}: there is no such folder")
        lock = self.dest / LOCK_NAME
        with explained("unlock", lock):
            try:
                fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return None
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return None
                holder = _holder(fd)
                if holder.is_alive_here():
                    raise still_running(self.dest, holder)
                if not _is_file(fd, lock):
                    raise locked(self.dest, LockHolder())
                lock.unlink()
            finally:
                os.close(fd)
            sync_folder(self.dest)
        return holder

    def _remove(self, snapshot_id: str) -> None:
        if self._lock_fd is None:
            raise RuntimeError("the store is not in use")
        folder = self.dest / snapshot_id
        hidden = self.dest / f"{PRUNED_PREFIX}{snapshot_id}"
        self.check_lock()
        if folder.is_symlink():
            raise DestinationError(f"can't remove {folder}: it is a symbolic link")
        # In one step out of every reader's sight, and for good before the first file goes: after a power cut
        # there is the whole snapshot or none.
        try:
            folder.rename(hidden)
        except OSError as error:
            raise DestinationError(f"can't remove {folder}: {error.strerror or error}") from error
        try:
            sync_folder(self.dest)
            shutil.rmtree(hidden)
        except OSError as error:
            raise DestinationError(
                f"snapshot {snapshot_id} is gone from {self.dest}, but files of it may still lie in {hidden}:"
                f" {error.strerror or error}; the next run or prune tries again"
            ) from error


class _FolderDraft(Draft):
    def __init__(self, store: FolderStore, snapshot_id: str) -> None:
        super().__init__(snapshot_id)
        self.scratch = store.dest / f"{DRAFT_PREFIX}{snapshot_id}"
        self._store = store
        self._folder = self.scratch
        self._final = store.dest / snapshot_id
        self._files: dict[str, int] = {}
        self._made = False
        self._published = False
        self._abandoned = False
        self._suspended = False

    @property
    def published(self) -> bool:
        return self._published

    async def create(self, name: str) -> DraftFile:
        fd = await self._store.run(self._create, name)
        return _FolderFile(self._store, self, self._folder / name, fd)

    async def journal(self) -> DraftFile | None:
        return await self.create(JOURNAL_NAME)

    async def append(self, pieces: Iterable[Piece]) -> None:
        await self._store.run(self._append, pieces)

    async def suspend(self) -> None:
        # At once, and its files are closed by whoever leaves the store: a call may hang on the disk.
        if not self._published:
            self._abandoned = self._suspended = True

    async def commit(self, manifest: bytes) -> None:
        try:
            await self._store.run(self._commit, manifest)
        except anyio.get_cancelled_exc_class():
            # The snapshot is whole but for a few system calls: they are given the time that an abort has.
            await self._store.finish(lambda: None)
            raise

    async def refuse(self, record: bytes) -> str | None:
        return await self._store.run(self._refuse, record)

    async def abort(self) -> None:
        # Seen by a call that is still running for a caller that was cancelled.
        self._abandoned = True
        await self._store.finish(self.discard)

    def make(self) -> None:
        """Makes the draft's folder. Blocks."""
        with explained("write", self._final):
            if self._final.exists():
                raise FileExistsError(errno.EEXIST, "there is a snapshot of this id already")
        with explained("make", self._folder):
            self._folder.mkdir(self._store.folder_mode)
            self._made = True
            self._folder.chmod(self._store.folder_mode)

    def write(self, path: Path, fd: int, data: bytes) -> None:
        """Appends to a file of the draft. Blocks."""
        if path.name not in self._files:
            raise RuntimeError("the draft has ended")
        with explained("write", path):
            write_all(fd, data)

    def discard(self) -> None:
        """Removes the draft unless it is published. Blocks."""
        self._abandoned = True
        self._close_files()
        if self._made and not self._published and not self._suspended:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._made = False

    def _append(self, pieces: Iterable[Piece]) -> None:
        for file, make in pieces:
            if not isinstance(file, _FolderFile):
                raise TypeError("a piece is for a file of this draft")
            # Who gives the draft up doesn't wait for the rest.
            if not self._abandoned and (data := make()):
                file.write(data)

    def _close_files(self) -> None:
        while self._files:
            _, fd = self._files.popitem()
            with contextlib.suppress(OSError):
                os.close(fd)

    def _create(self, name: str) -> int:
        if self._abandoned or self._published:
            raise RuntimeError("the draft has ended")
        path = self._folder / name
        with explained("write", path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(path, flags, self._store.file_mode)
            self._files[name] = fd
            os.fchmod(fd, self._store.file_mode)
        return fd

    def _commit(self, manifest: bytes) -> None:
        if self._published:
            raise RuntimeError("the draft is committed already")
        try:
            self._publish(manifest)
        finally:
            if not self._published:
                self.discard()
        try:
            sync_folder(self._store.dest)
            self._renew_latest(manifest)
        except OSError as error:
            # It is published, whatever becomes of what comes after.
            _log.warning(
                "snapshot %s is published in %s, but `%s` may still name the snapshot before it: %s",
                self.snapshot_id,
                self._store.dest,
                LATEST,
                error.strerror or error,
            )
        self._store.leftovers.sweep()
        self._store.leftovers.forget_refused()

    def _refuse(self, record: bytes) -> str:
        kept = self._store.dest / f"{REFUSED_PREFIX}{self.snapshot_id}"
        try:
            self._keep_ledger(kept, record)
        finally:
            # After the rename there is nothing left of it.
            self.discard()
        with contextlib.suppress(OSError):
            sync_folder(self._store.dest)
        self._store.leftovers.forget_refused(but=kept.name)
        return str(kept)

    def _keep_ledger(self, kept: Path, record: bytes) -> None:
        for name in list(self._files):
            if name.startswith(TARGETS_NAME):
                self._complete(name)
            else:
                with explained("remove", self._folder / name):
                    os.close(self._files.pop(name))
                    (self._folder / name).unlink()
        self.write(self._folder / REFUSED_NAME, self._create(REFUSED_NAME), record)
        self._complete(REFUSED_NAME)
        with explained("flush", self._folder):
            sync_folder(self._folder)
        if self._abandoned:
            raise DestinationError(f"the ledger of {self.snapshot_id} was given up before it was kept")
        self._store.check_lock()
        # That of the same run, where it was interrupted and has been gone on with twice.
        shutil.rmtree(kept, ignore_errors=True)
        with explained("rename", self._folder):
            self._folder.rename(kept)
        self._made = False

    def _publish(self, manifest: bytes) -> None:
        for name in list(self._files):
            if name != JOURNAL_NAME:
                self._complete(name)
        self.write(self._folder / MANIFEST_NAME, self._create(MANIFEST_NAME), manifest)
        self._complete(MANIFEST_NAME)
        if JOURNAL_NAME in self._files:
            with explained("remove", self._folder / JOURNAL_NAME):
                os.close(self._files.pop(JOURNAL_NAME))
                (self._folder / JOURNAL_NAME).unlink()
        with explained("flush", self._folder):
            sync_folder(self._folder)
        if self._abandoned:
            raise DestinationError(f"snapshot {self.snapshot_id} was given up before it was published")
        self._store.check_lock()
        with explained("publish", self._final):
            self._folder.rename(self._final)
        self._published = True

    def _complete(self, name: str) -> None:
        with explained("flush", self._folder / name):
            os.fsync(self._files[name])
            # Forgotten before the close: a failed close has closed, and the number may be someone else's.
            os.close(self._files.pop(name))

    def _renew_latest(self, manifest: bytes) -> None:
        # Not this one where a merge, or a clock that went back, publishes behind the newest, or where its own
        # clock went ahead. It is named anew all the same: a run that was killed may have published it and not
        # come as far as `latest`.
        dest = self._store.dest
        search = search_latest(dest, (each for each in published_ids(dest) if each != self.snapshot_id))
        self.before = search.info
        search.take(self.snapshot_id, info_or_none(manifest, self.snapshot_id))
        newest = search.newest
        if newest is None:
            (dest / LATEST).unlink(missing_ok=True)
            (dest / LATEST_NAME).unlink(missing_ok=True)
            sync_folder(dest)
            return
        made = dest / f"{LATEST_PREFIX}{self.snapshot_id}"
        try:
            name = self._name_newest(made, newest)
            made.replace(dest / name)
        except OSError:
            with contextlib.suppress(OSError):
                made.unlink()
            raise
        sync_folder(dest)

    def _name_newest(self, made: Path, newest: str) -> str:
        """Make what names the newest snapshot, a link where there are any, and return what it is called."""
        try:
            made.symlink_to(newest)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return LATEST
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, self._store.file_mode)
        try:
            os.fchmod(fd, self._store.file_mode)
            os.write(fd, latest_object(newest))
            os.fsync(fd)
        finally:
            os.close(fd)
        return LATEST_NAME


class _FolderFile(DraftFile):
    def __init__(self, store: FolderStore, draft: _FolderDraft, path: Path, fd: int) -> None:
        self._store = store
        self._draft = draft
        self._path = path
        self._fd = fd

    async def append(self, data: bytes) -> None:
        await self._store.run(self.write, data)

    def write(self, data: bytes) -> None:
        """Blocks."""
        self._draft.write(self._path, self._fd, data)


def make_folders(path: Path, mode: int) -> None:
    """Makes `path` and the parents it lacks, each with `mode`, and makes them last. Raises `OSError`."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(mode)
        except FileExistsError:
            # Made by someone else meanwhile, or a file, which the next step will say.
            if not folder.is_dir():
                raise
        else:
            folder.chmod(mode)
            sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Flushes the entries of a folder to the device. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network file systems can't sync folders: there is nothing to be had from them.
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Writes all of `data`, however little the system takes at a time. Raises `OSError`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _holder(fd: int) -> LockHolder:
    try:
        return LockHolder.read(os.pread(fd, 4096, 0))
    except OSError:
        return LockHolder()


def _is_file(fd: int, path: Path) -> bool:
    """Whether the file that is open is the one at `path`. Raises `OSError`."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False
