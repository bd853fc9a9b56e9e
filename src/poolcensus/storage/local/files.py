"""Folders and files as a commit needs them: made with a mode, written whole, flushed to the device."""

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

# What is no file, in words.
_OTHERS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
# What opening a socket, or a device that is not there, fails with: https://man7.org/linux/man-pages/man2/open.2.html
# (macOS has EOPNOTSUPP for sockets).
_NOT_OPENED: Final = frozenset({errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP})
# On macOS fsync leaves in the drive's cache what it has flushed, where a power cut loses it:
# https://developer.apple.com/library/archive/documentation/System/Conceptual/ManPages_iPhoneOS/man2/fsync.2.html
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)
# What file systems say that can't flush a folder: there is nothing to be had from them. The last two are one
# number on Linux, and two on macOS.
_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
# What those say, besides, that don't know of the drive's cache.
_NO_FULL_SYNC: Final = _NO_SYNC | {errno.ENOTTY}
_ROOT: Final = 0
# Descriptors as paths. On Linux each is a link to what is open; on macOS it is not, and nothing can be made
# beside it.
_DESCRIPTORS: Final = Path("/dev/fd")


def open_file(path: Path, *, buffering: int = -1) -> IO[bytes]:
    """Open a file to be read, and nothing but a file: a pipe would be waited for, a device has no end.

    Raises `OSError`: `MissingFileError` where there is none, `NotAFileError` where there is something else.
    """
    try:
        # What it is can be told of the descriptor alone: what is looked at by its name may be another thing
        # when it is opened.
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
    """Make `path` and the parents it lacks, each with `mode`, and make them last. Raises `OSError`."""
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
            # Someone else may have made it meanwhile.
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
        # Nothing was written to it: what there was to flush, has been.
        with suppress(OSError):
            os.close(fd)


def sync_file(fd: int) -> None:
    """Flush what has been written to a file to the device, past the device's own cache. Raises `OSError`."""
    os.fsync(fd)
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_SYNC)
        except OSError as error:
            if error.errno not in _NO_FULL_SYNC:
                raise


def names_file(path: Path, status: os.stat_result) -> bool:
    """Whether the path itself, and no link, names the file whose status this is. Raises `OSError`."""
    try:
        return os.path.samestat(status, path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, however little the system takes at a time. Raises `OSError`."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


@contextmanager
def replaced_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Yield a file that takes the place of `path`, with `mode`, once the block has ended without an error.

    Until then it has a hidden name in the same folder, and `path` is what it was. What `path` is a link to is
    replaced, and not the link. What is no regular file, such as a pipe or a device, is written to as it
    stands. Raises `OSError`.
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
    """Return the file that another can take the place of under this name, past all links, or None.

    There is none where it names a pipe, a device or a descriptor of this process: these are written to.
    Raises `OSError`, also for a link that anybody may have put there.
    """
    named = _past_links(path)
    # As it is named: what /dev/stdout leads to has no name of its own where it is a pipe.
    if exists(path) and not is_file(path):
        return None
    # What has its name by now is replaced, and not followed, if it is another link.
    target = Path(os.path.realpath(named.parent)) / named.name
    return None if target.parent == _DESCRIPTORS else target


def _past_links(path: Path) -> Path:
    """Return what a name leads to. Of links that go in a circle, that is one of them."""
    seen: set[Path] = set()
    while path not in seen and is_link(path):
        seen.add(path)
        # As https://docs.kernel.org/admin-guide/sysctl/fs.html#protected-symlinks has it, which the system
        # may not, and which does not count where a link is read and not followed.
        is_foreign = path.lstat().st_uid not in {os.geteuid(), _ROOT}
        if is_foreign and path.parent.stat().st_mode & stat.S_IWOTH:
            raise PermissionError(
                errno.EACCES, f"{path} is a link of another user, in a folder that everybody can write to"
            )
        path = path.parent / path.readlink()
    return path
