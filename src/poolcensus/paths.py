"""Functions that tell what exists at a path, following symbolic links, and two that rename and make a folder.

The methods of pathlib can't be used: from Python 3.14 on, they return False also if the system denies access,
so that a file that can't be examined would seem not to exist.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

# No such file; a file in place of a folder; a loop of symbolic links; a closed descriptor.
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF})


def exists(path: str | PathLike[str]) -> bool:
    """Return whether `path` exists. Raises OSError if the system can't tell."""
    return _mode(path) != 0


def may_exist(path: str | PathLike[str]) -> bool:
    """Return whether `path` exists, or may exist because the system can't tell."""
    try:
        return exists(path)
    except OSError:
        return True


def is_folder(path: str | PathLike[str]) -> bool:
    """Return whether `path` is a folder. Raises OSError if the system can't tell."""
    return stat.S_ISDIR(_mode(path))


def is_file(path: str | PathLike[str]) -> bool:
    """Return whether `path` is a regular file. Raises OSError if the system can't tell."""
    return stat.S_ISREG(_mode(path))


def is_link(path: str | PathLike[str]) -> bool:
    """Return whether `path` itself is a symbolic link. Raises OSError if the system can't tell."""
    return stat.S_ISLNK(_mode(path, follow_symlinks=False))


def rename(path: Path, target: Path) -> None:
    """Rename `path` to `target`, replacing what has that name. Raises OSError if `path` was not renamed.

    A network file system may report an error although it has renamed the file, for instance if the reply was
    lost and the call repeated: https://man7.org/linux/man-pages/man2/rename.2.html#BUGS.
    """
    renamed = path.lstat()
    try:
        path.rename(target)
    except OSError:
        with suppress(OSError):
            if os.path.samestat(renamed, target.lstat()):
                return
        raise


def make_folder(path: Path, mode: int) -> None:
    """Make a folder at a path that no other process uses. Raises `OSError` if it was not made.

    As with a rename, a network file system may report an error although it has made the folder.
    """
    was_there = os.path.lexists(path)
    try:
        path.mkdir(mode)
    except OSError:
        with suppress(OSError):
            if not was_there and is_folder(path) and not is_link(path):
                return
        raise


def _mode(path: str | PathLike[str], *, follow_symlinks: bool = True) -> int:
    """Return the mode of the file at `path`, or 0 if it does not exist."""
    try:
        return os.stat(path, follow_symlinks=follow_symlinks).st_mode  # noqa: PTH116 - pathlib takes 5 ms
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    except ValueError:
        # The path has a null byte in it, which no file has.
        pass
    return 0
