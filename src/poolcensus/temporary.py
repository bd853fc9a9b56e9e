"""Temporary files and folders that are gone when the process is, whatever ends it but SIGKILL.

A signal may raise an exception between any two steps: between making a folder and the block that removes
it, and in the midst of removing it. So each name is noted before there is anything of it, and forgotten when
it is gone. What is noted still when the process exits is removed then.

A folder is locked for as long as its process lives, as https://systemd.io/TEMPORARY_DIRECTORIES/ has it. One
that is two days old and that nobody has locked was left by a process that was killed: whoever makes a folder
in the same place removes it.
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

_noted: Final[set[Path]] = set()
_locks: Final[dict[Path, int]] = {}
# What hangs, such as a file system that is gone, keeps no process from its end.
_REMOVED_WITHIN: Final = 0.5

_PREFIX: Final = "poolcensus-"
_LEFT_OVER: Final = re.compile(f"{_PREFIX}[0-9a-f]{{16}}")
# Longer than any process takes from making a folder to locking it, and than a run of a version without locks.
_ABANDONED_AFTER: Final = 2 * 86_400.0


def make_folder() -> Path:
    """Make a folder of this user alone, in the folder that `TMPDIR` names or the system's own.

    `remove` removes it. Raises `OSError`.
    """
    # What removes a folder is imported before it is made: a signal waits for nothing.
    import shutil  # noqa: F401, PLC0415 - for `remove`
    import tempfile  # noqa: PLC0415 - 5 ms
    from pathlib import Path  # noqa: PLC0415 - 5 ms

    parent = Path(tempfile.gettempdir()).resolve()
    _remove_left_over(parent)
    path = parent / f"{_PREFIX}{_unique()}"
    _note(path)
    try:
        path.mkdir(mode=0o700)
    except OSError:
        _noted.discard(path)
        raise
    try:
        with _signals_held():
            _locks[path] = _opened(path)
        # Where the file system has no locks, nobody gets one, and nothing is taken to be left over.
        with suppress(OSError):
            _lock(_locks[path])
    except OSError:
        remove(path)
        raise
    return path


@contextmanager
def name_beside(path: Path) -> Iterator[Path]:
    """Yield a hidden name that is free in the folder of `path`. What has it after the block is removed."""
    # Athena and others pass over names that begin with a dot.
    made = path.with_name(f".{path.name}.{_unique()}.tmp")
    _note(made)
    try:
        yield made
    finally:
        remove(made)


@contextmanager
def file_replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` once the block has ended without an error.

    Until then it has a hidden name beside it. The umask takes its bits off `mode`. What has to outlast a
    power cut is flushed in the block, and the folder after it. Raises `OSError`.
    """
    with name_beside(path) as made:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        rename(made, path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as that can be. It may be gone already."""
    # Whether it is a folder can't always be told: its parent may be closed to this user, its name too long.
    with suppress(OSError):
        if is_folder(path):
            import shutil  # noqa: PLC0415 - see make_folder

            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    with _signals_held(), suppress(OSError):
        if (lock := _locks.pop(path, None)) is not None:
            os.close(lock)
    _noted.discard(path)


def remove_all() -> None:
    """Remove all of this process, in at most half a second: what ends it calls no exit functions."""
    if _noted:
        removing = threading.Thread(target=_remove_all, daemon=True)
        try:
            removing.start()
        except RuntimeError:
            # The system has no thread left, and the process is to end all the same.
            _remove_all()
        else:
            removing.join(_REMOVED_WITHIN)


def _remove_all() -> None:
    for each in _noted.copy():
        remove(each)


def _remove_left_over(parent: Path) -> None:
    """Remove what processes of this user have left in `parent` that were killed, as far as that can be."""
    with suppress(OSError):
        for name in os.listdir(parent):  # noqa: PTH208 - no paths are wanted
            if _LEFT_OVER.fullmatch(name):
                with suppress(OSError):
                    _remove_if_left_over(parent / name)


def _remove_if_left_over(path: Path) -> None:
    """Remove a folder of this user that is old and that no process has locked. Raises `OSError`."""
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
    # Not what a link leads to: anybody may put one where temporary files are.
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _lock(folder: int) -> None:
    """Lock an open folder. Raises `OSError` where another process has locked it."""
    import fcntl  # noqa: PLC0415 - for those who make folders

    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have signals to this thread wait for the end of the block.

    Otherwise no name would lead to a descriptor that is not kept yet.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        # Within the block: a handler that is due runs in this call, and may raise.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _note(path: Path) -> None:
    _register()
    _noted.add(path)


@cache
def _register() -> None:
    # With the first name: what is registered earlier, such as what ends the process at once, is called later.
    atexit.register(_remove_all)


def _unique() -> str:
    # Too many to guess: what has a noted name is never another's, whose file would be removed.
    return os.urandom(8).hex()


def _forget_all() -> None:
    _noted.clear()
    _locks.clear()


# The files of a process are not its child's.
os.register_at_fork(after_in_child=_forget_all)
