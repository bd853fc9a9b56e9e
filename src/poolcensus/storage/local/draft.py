"""A draft in a folder.

Commit order: fsync every data file, write and fsync the manifest, fsync the draft's folder, rename it to its
final name, fsync the destination, then update `latest`. A power failure at any point leaves the complete
snapshot or none, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

import anyio

from poolcensus.errors import DestinationError, reason_of
from poolcensus.format.manifest import MANIFEST_NAME, REFUSED_NAME
from poolcensus.format.schema import TARGETS_NAME
from poolcensus.paths import exists, make_folder, rename
from poolcensus.storage.advice import explained
from poolcensus.storage.base import JOURNAL_NAME, Addition, Draft, DraftFile
from poolcensus.storage.local.files import names_file, sync_file, sync_folder, write_all
from poolcensus.storage.local.latest import ForeignLatestError, renew_latest
from poolcensus.storage.local.stale import DRAFT_PREFIX, REFUSED_PREFIX, StaleDrafts
from poolcensus.storage.naming import LATEST, passed_over

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from poolcensus.storage.base import LatestChoice
    from poolcensus.storage.local.lock import FolderLock
    from poolcensus.storage.local.threads import OneAtATime


_log = logging.getLogger("poolcensus")


class Modes(NamedTuple):
    """The permissions of files and folders."""

    file: int
    folder: int


class FolderDraft(Draft):
    """A draft as a hidden folder in `dest`. The run holds the `lock` of `dest`."""

    def __init__(
        self, snapshot_id: str, dest: Path, modes: Modes, lock: FolderLock, calls: OneAtATime
    ) -> None:
        super().__init__(snapshot_id)
        self.scratch = dest / f"{DRAFT_PREFIX}{snapshot_id}"
        self._dest = dest
        self._modes = modes
        self._lock = lock
        self._calls = calls
        self._stale = StaleDrafts(dest)
        self._folder = self.scratch
        self._final = dest / snapshot_id
        self._files: dict[str, int] = {}
        self._made = False
        self._published = False
        self._abandoned = False
        self._suspended = False

    @property
    def published(self) -> bool:
        return self._published

    async def create(self, name: str) -> DraftFile:
        fd = await self._calls.run(self._create, name)
        return _FolderFile(self._calls, self, self._folder / name, fd)

    async def journal(self) -> DraftFile | None:
        return await self.create(JOURNAL_NAME)

    async def append(self, additions: Iterable[Addition]) -> None:
        await self._calls.run(self._append, additions)

    async def suspend(self) -> None:
        # Don't close the files here, since a call may hang on the disk. Leaving the store closes them.
        if not self._published:
            self._abandoned = self._suspended = True

    async def commit(self, manifest: bytes, latest: LatestChoice) -> None:
        try:
            await self._calls.run(self._commit, manifest, latest)
        except anyio.get_cancelled_exc_class():
            # The commit needs only a few more system calls. Wait for them as long as for an abort.
            await self._calls.finish(lambda: None)
            raise

    async def refuse(self, record: bytes) -> str | None:
        return await self._calls.run(self._refuse, record)

    async def abort(self) -> None:
        # Set first: a call may still be running whose caller was cancelled, and looks at this.
        self._abandoned = True
        await self._calls.finish(self.discard)

    def make(self) -> None:
        """Create the draft's folder. Blocks."""
        with explained("write", self._final):
            if exists(self._final):
                raise FileExistsError(errno.EEXIST, "there is a snapshot of this id already")
        with explained("make", self._folder):
            make_folder(self._folder, self._modes.folder)
            self._made = True
            self._folder.chmod(self._modes.folder)

    def try_writing(self) -> None:
        """Write and flush a file, to try what is done for each file of a snapshot. Blocks."""
        fd = self._create(JOURNAL_NAME)
        path = self._folder / JOURNAL_NAME
        with explained("write", path):
            write_all(fd, b"{}\n")
            sync_file(fd)
        with explained("flush", self._folder):
            sync_folder(self._folder)

    def write(self, path: Path, fd: int, data: bytes) -> None:
        """Append to a file of the draft. Blocks."""
        if path.name not in self._files:
            raise RuntimeError("the draft has ended")
        with explained("write", path):
            write_all(fd, data)

    def discard(self) -> None:
        """Remove the draft unless it is published. Blocks."""
        self._abandoned = True
        names = list(self._files)
        self._close_files()
        if self._made and not self._published and not self._suspended:
            # Remove the known files first: listing the folder takes a descriptor, and there may be none left.
            with contextlib.suppress(OSError):
                for name in names:
                    (self._folder / name).unlink()
                self._folder.rmdir()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._made = False

    def _append(self, additions: Iterable[Addition]) -> None:
        for addition in additions:
            if not isinstance(addition.file, _FolderFile):
                raise TypeError("an addition is for a file of this draft")
            # Once the draft is given up, don't write the rest.
            if not self._abandoned and (data := addition.data()):
                addition.file.write(data)

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
            fd = os.open(path, flags, self._modes.file)
            self._files[name] = fd
            os.fchmod(fd, self._modes.file)
        return fd

    def _commit(self, manifest: bytes, latest: LatestChoice) -> None:
        if self._published:
            raise RuntimeError("the draft is committed already")
        try:
            self._publish(manifest)
        finally:
            if not self._published:
                self.discard()
        try:
            sync_folder(self._dest)
            renew_latest(self._dest, self.snapshot_id, latest, self._modes.file)
            if latest.is_passed_over:
                _log.warning("%s", passed_over(self.snapshot_id, self._dest, LATEST, latest.newest))
        except ForeignLatestError as error:
            _log.warning(
                "snapshot %s is published in %s, without the link to it: no run has made %s, which was left"
                " alone. Rename it to have the link.",
                self.snapshot_id,
                self._dest,
                error.filename,
            )
        except OSError as error:
            # The snapshot is published, so this is only a warning.
            _log.warning(
                "snapshot %s is published in %s, but `%s` may still name the snapshot before it: %s",
                self.snapshot_id,
                self._dest,
                LATEST,
                reason_of(error),
            )
        self._stale.sweep()
        self._stale.forget_refused()

    def _refuse(self, record: bytes) -> str:
        kept = self._dest / f"{REFUSED_PREFIX}{self.snapshot_id}"
        try:
            self._keep_ledger(kept, record)
        finally:
            # This does nothing if the folder was renamed.
            self.discard()
        with contextlib.suppress(OSError):
            sync_folder(self._dest)
        self._stale.forget_refused(but=kept.name)
        return str(kept)

    def _keep_ledger(self, kept: Path, record: bytes) -> None:
        for name in list(self._files):
            if name.startswith(TARGETS_NAME):
                self._complete(name)
            else:
                self._remove(name)
        self.write(self._folder / REFUSED_NAME, self._create(REFUSED_NAME), record)
        self._complete(REFUSED_NAME)
        with explained("flush", self._folder):
            sync_folder(self._folder)
        if self._abandoned:
            raise DestinationError(f"the ledger of {self.snapshot_id} was given up before it was kept")
        self._lock.check()
        # The same run may have been refused before, if it was interrupted and resumed twice.
        shutil.rmtree(kept, ignore_errors=True)
        with explained("rename", self._folder):
            rename(self._folder, kept)
        self._made = False

    def _publish(self, manifest: bytes) -> None:
        for name in list(self._files):
            if name != JOURNAL_NAME:
                self._complete(name)
        self.write(self._folder / MANIFEST_NAME, self._create(MANIFEST_NAME), manifest)
        self._complete(MANIFEST_NAME)
        if JOURNAL_NAME in self._files:
            self._remove(JOURNAL_NAME)
        with explained("flush", self._folder):
            sync_folder(self._folder)
        if self._abandoned:
            raise DestinationError(f"snapshot {self.snapshot_id} was given up before it was published")
        self._lock.check()
        with explained("publish", self._final):
            rename(self._folder, self._final)
        self._published = True

    def _remove(self, name: str) -> None:
        # Ignore a failing close: the data is not needed any more.
        with contextlib.suppress(OSError):
            os.close(self._files.pop(name))
        with explained("remove", self._folder / name):
            (self._folder / name).unlink()

    def _complete(self, name: str) -> None:
        """Flush and close a file. Raises `DestinationError` if it was removed or replaced."""
        path, file = self._folder / name, self._files[name]
        with explained("flush", path):
            sync_file(file)
            # If the file was removed, what was written to the descriptor is lost. Compare now: while the file
            # is open, its inode number is stable on every file system.
            is_there = names_file(path, os.fstat(file))
            # Forget the descriptor before closing it. Even a failing close frees its number for another file.
            os.close(self._files.pop(name))
        if not is_there:
            raise DestinationError(
                f"{path} is gone: it was removed or replaced by another file while the run wrote it",
                advice="run again",
            )


class _FolderFile(DraftFile):
    def __init__(self, calls: OneAtATime, draft: FolderDraft, path: Path, fd: int) -> None:
        self._calls = calls
        self._draft = draft
        self._path = path
        self._fd = fd

    async def append(self, data: bytes) -> None:
        await self._calls.run(self.write, data)

    def write(self, data: bytes) -> None:
        """Append to the file. Blocks."""
        self._draft.write(self._path, self._fd, data)
