"""The lock of a folder: a file that a run locks with flock, and that names the run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import shlex
import time
from typing import TYPE_CHECKING

from poolcensus.errors import DestinationError, DestinationLockedError, reason_of
from poolcensus.format.codec import dumps
from poolcensus.paths import exists, is_file, is_folder, is_link
from poolcensus.storage.advice import explained
from poolcensus.storage.holder import LockHolder, locked, still_running
from poolcensus.storage.local.files import names_file, sync_folder, write_all
from poolcensus.storage.naming import LOCK_NAME

if TYPE_CHECKING:
    from pathlib import Path

# Seconds in which a run writes its name into its lock. On a busy machine, tens of milliseconds may pass
# between two system calls.
_NAMED_WITHIN = 0.5
_BETWEEN_READS = 0.01
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class FolderLock:
    """The lock of the folder `dest`. All methods block."""

    def __init__(self, dest: Path, file_mode: int) -> None:
        self._dest = dest
        self._file = dest / LOCK_NAME
        self._file_mode = file_mode
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self) -> None:
        """Take the lock. Raises `DestinationLockedError` if another run holds it, and `DestinationError`."""
        with explained("lock", self._file):
            _check_kind("lock", self._file)
            fd = self._open()
            try:
                self._take(fd)
            except (OSError, DestinationLockedError):
                os.close(fd)
                raise
            self._fd = fd
            os.ftruncate(fd, 0)
            this = LockHolder.this_run()
            try:
                write_all(fd, dumps({"host": this.host, "pid": this.pid, "started_at": this.started_text}))
            except OSError as error:
                # On a full disk, the lock is held without a name, so that `prune` can make room.
                if error.errno not in _NO_ROOM:
                    raise

    def check(self) -> None:
        """Raise `DestinationError` if the lock was removed."""
        with explained("read", self._file):
            if self._fd is None or not names_file(self._file, os.fstat(self._fd)):
                raise DestinationError(
                    f"the lock of {self._dest} was lost: it was removed, perhaps with 'poolcensus unlock'",
                    advice="run again",
                )

    def release(self) -> None:
        """Release the lock, if it is held."""
        # The file stays. If it were unlinked, a run that has just opened it would have to start over.
        fd, self._fd = self._fd, None
        if fd is not None:
            # Closing the descriptor releases the lock, even if the close reports an error.
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            with contextlib.suppress(OSError):
                os.close(fd)

    def remove(self) -> LockHolder | None:
        """Remove the lock of another run. See `Repository.unlock`."""
        with explained("unlock", self._file):
            _check_kind("unlock", self._file)
            if not is_folder(self._dest):
                raise DestinationError(f"There is no folder {self._dest}, and so no lock in it.")
            try:
                fd = self._open_existing("unlock")
            except FileNotFoundError:
                return None
            try:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return None
                holder = _holder(fd)
                if holder.is_alive_here():
                    raise still_running(self._dest, holder)
                if not names_file(self._file, os.fstat(fd)):
                    raise locked(self._dest, LockHolder())
                self._file.unlink()
            finally:
                os.close(fd)
            sync_folder(self._dest)
        return holder

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise locked(self._dest, _named_holder(fd)) from None
        if not names_file(self._file, os.fstat(fd)):
            raise DestinationLockedError(
                f'Destination "{self._dest}" was just unlocked.', advice="Run again."
            )

    def _open(self) -> int:
        try:
            fd = os.open(self._file, _FLAGS | os.O_CREAT | os.O_EXCL, self._file_mode)
        except FileExistsError:
            # Leave the mode: the file may belong to another user, in a shared folder.
            return self._open_existing("lock")
        os.fchmod(fd, self._file_mode)
        return fd

    def _open_existing(self, doing: str) -> int:
        try:
            return os.open(self._file, _FLAGS)
        except PermissionError as error:
            owner = self._file.lstat().st_uid
            if owner == os.geteuid():
                raise
            given = shlex.join(["sudo", "chown", _user(os.geteuid()), str(self._file)])
            raise DestinationError(
                f"can't {doing} {self._file}, which belongs to {_user(owner)}: {reason_of(error)}",
                advice=f"give it to this user with '{given}', or remove it while no run is under way",
            ) from error


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        # In a container, users may have no names. chown takes the number, too.
        return str(uid)


def _named_holder(fd: int) -> LockHolder:
    """Return the holder of a lock.

    Wait a moment if the lock is empty: a run writes its name after taking it.
    """
    until = time.monotonic() + _NAMED_WITHIN
    while not (holder := _holder(fd)).in_brackets and time.monotonic() < until:
        time.sleep(_BETWEEN_READS)
    return holder


def _holder(fd: int) -> LockHolder:
    try:
        return LockHolder.read(os.pread(fd, 4096, 0))
    except OSError:
        return LockHolder()


def _check_kind(doing: str, file: Path) -> None:
    """Raise `DestinationError` if something else than a file has the lock's name, and `OSError`."""
    if is_link(file):
        kind = "a symbolic link"
    elif not exists(file) or is_file(file):
        return
    else:
        kind = "a folder" if is_folder(file) else "no file"
    raise DestinationError(f"can't {doing} {file}: it is {kind}", advice="remove or rename it")
