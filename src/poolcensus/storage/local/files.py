"""Operations on files and folders for a commit: create with a mode, write completely, flush to the device."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final

from poolcensus.paths import exists, is_file, is_folder, is_link
from poolcensus.storage.source import MissingFileError, NotAFileError
from poolcensus.temporary import file_replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

# Words for what is not a regular file.
_OTHERS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
# Errors of opening a socket, or a device that does not exist: https://man7.org/linux/man-pages/man2/open.2.html
# (macOS has EOPNOTSUPP for sockets).
_NOT_OPENED: Final = frozenset({errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP})
# On macOS, fsync leaves the data in the drive's cache, where a power failure loses it:
# https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/fsync.2.html
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
# Errors of file systems that can't flush a folder, which are ignored. The last two have the same value on
# Linux, but not on macOS.
_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
# Errors of file systems that can't flush the drive's cache, either.
_NO_FULL_SYNC: Final = _NO_SYNC | {errno.ENOTTY}
_ROOT: Final = 0
# The folder of descriptors as paths. On Linux each is a link to the open file. On macOS it is not, and no
# file can be created beside it.
_DESCRIPTORS: Final = Path("/dev/fd")


def open_file(path: Path, *, buffering: int = -1) -> IO[bytes]:
    """Open a regular file for reading. Anything else is refused: a pipe could block, a device may be endless.

    Raises `OSError`: `MissingFileError` if there is no file, and `NotAFileError` if there is something else.
    """
    try:
        # Open first, and check the descriptor. Between a check of the name and the opening, it could be
        # replaced.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingFileError from error
    except OSError as error:
        if error.errno not in _NOT_OPENED:
            raise
        raise NotAFileError("is a socket or a device, not a file") from error
    try:
        _check_file(fd)
        os.set_blocking(fd, True)
        return os.fdopen(fd, "rb", buffering)
    except BaseException:
        os.close(fd)
        raise


def _check_file(fd: int) -> None:
    kind = stat.S_IFMT(os.fstat(fd).st_mode)
    if kind != stat.S_IFREG:
        raise NotAFileError(f"is {_OTHERS.get(kind, 'something else')}, not a file")


def make_folders(path: Path, mode: int) -> None:
    """Create `path` and its missing parents with `mode`, and flush them to the device. Raises `OSError`."""
    missing = []
    while not is_folder(path):
        missing.append(path)
        if path == path.parent:
            break
        path = path.parent
    for folder in reversed(missing):
        try:
            folder.mkdir(mode)
        except FileExistsError:
            # Another process may have created it.
            if not is_folder(folder):
                raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from None
        else:
            folder.chmod(mode)
            sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Flush the entries of a folder to the device. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_file(fd)
    except OSError as error:
        # Some network file systems can't sync folders.
        if error.errno not in _NO_SYNC:
            raise
    finally:
        # Nothing was written through this descriptor, so an error while closing loses nothing.
        with suppress(OSError):
            os.close(fd)


def sync_file(fd: int) -> None:
    """Flush a file to the device, and the device's own cache if possible. Raises `OSError`."""
    os.fsync(fd)
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_SYNC)
        except OSError as error:
            if error.errno not in _NO_FULL_SYNC:
                raise


def names_file(path: Path, status: os.stat_result) -> bool:
    """Return whether the path is the file with this status, not a link to it. Raises `OSError`."""
    try:
        return os.path.samestat(status, path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, even if the system takes less at a time. Raises `OSError`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def replaced_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Yield a file that atomically replaces `path` if the block ends without an error. It gets `mode`.

    Until then, it has a hidden name in the same folder. If `path` is a link, its target is replaced. Anything
    but a regular file, such as a pipe or a device, is written in place. Raises `OSError`.
    """
    target = replaceable(path)
    if target is None:
        with path.open("wb") as there:
            yield there
        return
    with file_replacing(target, mode) as file:
        os.fchmod(file.fileno(), mode)
        yield file
        file.flush()
        sync_file(file.fileno())
    sync_folder(target.parent)


def replaceable(path: Path) -> Path | None:
    """Follow all links, and return the file that can be replaced, or None.

    Return None for a pipe, a device or a descriptor of this process, which have to be written in place.
    Raises `OSError`, also for a link that anybody could have created.
    """
    named = _past_links(path)
    # Check `path` itself: if /dev/stdout leads to a pipe, the pipe has no name of its own.
    if exists(path) and not is_file(path):
        return None
    # Only the parent is resolved. If the name has become a link in the meantime, the link itself is replaced.
    target = Path(os.path.realpath(named.parent)) / named.name
    return None if target.parent == _DESCRIPTORS else target


def _past_links(path: Path) -> Path:
    """Follow links, and return the last name. If links form a circle, return one of them."""
    seen: set[Path] = set()
    while path not in seen and is_link(path):
        seen.add(path)
        # The rule of https://docs.kernel.org/admin-guide/sysctl/fs.html#protected-symlinks. The system may
        # not have it, and does not apply it to reading a link.
        is_foreign = path.lstat().st_uid not in {os.geteuid(), _ROOT}
        if is_foreign and path.parent.stat().st_mode & stat.S_IWOTH:
            raise PermissionError(
                errno.EACCES, f"{path} is a link of another user, in a folder that everybody can write to"
            )
        path = path.parent / path.readlink()
    return path
