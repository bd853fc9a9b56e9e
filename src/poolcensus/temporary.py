"""Temporary files and folders, which are removed when the process ends, unless SIGKILL ends it.

A signal handler may raise an exception between any two steps: after a folder is made and before the block
that removes it, and while it is being removed. So each path is recorded before it is made, and its record
dropped when it is removed. Paths that are still recorded when the process exits are removed then.

A folder is locked while its process lives, as https://systemd.io/TEMPORARY_DIRECTORIES/ recommends. A folder
that is two days old and not locked was left by a process that was killed. The next process that makes a
folder in the same place removes it.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Final

from poolcensus.paths import is_folder, rename

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_recorded: Final[set[Path]] = set()
_locks: Final[dict[Path, int]] = {}
# Seconds. A file system that hangs must not keep a process from ending.
_REMOVED_WITHIN: Final = 0.5

_PREFIX: Final = "poolcensus-"
_LEFT_OVER: Final = re.compile(f"{_PREFIX}[0-9a-f]{{16}}")
# Seconds. Longer than from making a folder to locking it, and than any run of a version without locks.
_ABANDONED_AFTER: Final = 2 * 86_400.0


def make_folder() -> Path:
    """Make a folder that only this user can access, in `TMPDIR` or the default folder of the system.

    Call `remove` to remove it. Raises OSError if it can't be made.
    """
    # Imported before the folder is made, since a signal may end the process at any time.
    import shutil  # noqa: F401, PLC0415 - for `remove`
    import tempfile  # noqa: PLC0415 - 5 ms
    from pathlib import Path  # noqa: PLC0415 - 5 ms

    parent = Path(tempfile.gettempdir()).resolve()
    _remove_left_over(parent)
    path = parent / f"{_PREFIX}{_random_name()}"
    _record(path)
    try:
        path.mkdir(mode=0o700)
    except OSError:
        _recorded.discard(path)
        raise
    try:
        with _signals_held():
            _locks[path] = _opened(path)
        # If the file system has no locks, no process gets one, and no folder is taken to be left over.
        with suppress(OSError):
            _lock(_locks[path])
    except OSError:
        remove(path)
        raise
    return path


@contextmanager
def name_beside(path: Path) -> Iterator[Path]:
    """Yield an unused hidden path in the folder of `path`. What is there after the block is removed."""
    # Athena and other readers ignore names that begin with a dot.
    made = path.with_name(f".{path.name}.{_random_name()}.tmp")
    _record(made)
    try:
        yield made
    finally:
        remove(made)


@contextmanager
def file_replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file that replaces `path` when the block ends without an error.

    Until then it has a hidden name in the same folder. Its mode is `mode` without the bits of the umask. To
    survive a power failure, sync the file in the block and the folder after it. Raises OSError.
    """
    with name_beside(path) as made:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        rename(made, path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents, as far as possible. It need not exist."""
    # is_folder may fail: access to the parent may be denied, or the name too long.
    with suppress(OSError):
        if is_folder(path):
            import shutil  # noqa: PLC0415 - see make_folder

            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    with _signals_held(), suppress(OSError):
        if (lock := _locks.pop(path, None)) is not None:
            os.close(lock)
    _recorded.discard(path)


def remove_all() -> None:
    """Remove all temporary files of this process, within half a second.

    This is for ends of the process that call no exit functions.
    """
    if _recorded:
        removing = threading.Thread(target=_remove_all, daemon=True)
        try:
            removing.start()
        except RuntimeError:
            # The system has no thread left. The process ends all the same.
            _remove_all()
        else:
            removing.join(_REMOVED_WITHIN)


def _remove_all() -> None:
    for each in _recorded.copy():
        remove(each)


def _remove_left_over(parent: Path) -> None:
    """Remove the folders in `parent` that killed processes of this user have left, as far as possible."""
    with suppress(OSError):
        for name in os.listdir(parent):  # noqa: PTH208 - no paths are wanted
            if _LEFT_OVER.fullmatch(name):
                with suppress(OSError):
                    _remove_if_left_over(parent / name)


def _remove_if_left_over(path: Path) -> None:
    """Remove a folder if it belongs to this user, is old, and is not locked. Raises OSError."""
    folder = _opened(path)
    try:
        status = os.fstat(folder)
        if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _ABANDONED_AFTER:
            _lock(folder)
            import shutil  # noqa: PLC0415 - see make_folder

            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(folder)


def _opened(folder: Path) -> int:
    # Links are not followed: any user can make one in a folder for temporary files.
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock(folder: int) -> None:
    """Lock an open folder. Raises OSError if another process has locked it."""
    import fcntl  # noqa: PLC0415 - only needed for folders

    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Block signals to this thread until the end of the block.

    Otherwise a descriptor could be lost between opening it and storing it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # Inside `try`, since the handler of a pending signal runs in this call and may raise.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _record(path: Path) -> None:
    _register_removal()
    _recorded.add(path)


@cache
def _register_removal() -> None:
    # Only when the first path is recorded: functions that are registered earlier are called later, such as
    # the one that ends the process at once.
    atexit.register(_remove_all)


def _random_name() -> str:
    # 64 random bits can't be guessed, so a recorded path is never that of another process, whose file would
    # be removed.
    return os.urandom(8).hex()


def _forget_all() -> None:
    _recorded.clear()
    _locks.clear()


# A child process must not remove the files of its parent.
os.register_at_fork(after_in_child=_forget_all)
