"""What a path leads to, past its symbolic links, and renaming it.

pathlib's methods of these names are of no use here: from Python 3.14 on they return False also where the
system refuses to look, and what can't be read would look like what is not there.
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

# No such name; a file where a folder has to be; links that go in a circle; a descriptor that is closed.
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF})


def exists(path: str | PathLike[str]) -> bool:
    """Whether there is something at `path`. Raises `OSError` where that can't be told."""
    return _mode(path) != 0


def may_exist(path: str | PathLike[str]) -> bool:
    """Whether there is something at `path`, or may be, since the system refuses to look."""
    try:
        return exists(path)
    except OSError:
        return True


def is_folder(path: str | PathLike[str]) -> bool:
    """Whether there is a folder at `path`. Raises `OSError` where that can't be told."""
    return stat.S_ISDIR(_mode(path))


def is_file(path: str | PathLike[str]) -> bool:
    """Whether there is a regular file at `path`. Raises `OSError` where that can't be told."""
    return stat.S_ISREG(_mode(path))


def is_link(path: str | PathLike[str]) -> bool:
    """Whether `path` is itself a symbolic link. Raises `OSError` where that can't be told."""
    return stat.S_ISLNK(_mode(path, follow_symlinks=False))


def rename(path: Path, target: Path) -> None:
    """Rename `path` to `target`, and replace what has that name. Raises `OSError` where it was not renamed.

    A network file system may report an error of a rename that it has made, as where the reply was lost and
    the call repeated: https://man7.org/linux/man-pages/man2/rename.2.html#BUGS.
    """
    renamed = path.lstat()
    try:
        path.rename(target)
    except OSError:
        with suppress(OSError):
            if os.path.samestat(renamed, target.lstat()):
                return
        raise


def _mode(path: str | PathLike[str], *, follow_symlinks: bool = True) -> int:
    """Return the mode of what is at `path`, 0 where there is nothing."""
    try:
        return os.stat(path, follow_symlinks=follow_symlinks).st_mode  # noqa: PTH116 - pathlib takes 5 ms
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
    except ValueError:
        # No file has a null byte in its name.
        pass
    return 0
