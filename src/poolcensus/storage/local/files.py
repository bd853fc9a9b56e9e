"""Folders and files as a commit needs them: made with a mode, written whole, flushed to the device."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_folders(path: Path, mode: int) -> None:
    """Make `path` and the parents it lacks, each with `mode`, and make them last. Raises `OSError`."""
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
    # As it is named: what /dev/stdout leads to has no name of its own where it is a pipe.
    if path.exists() and not path.is_file():
        with path.open("wb") as there:
            yield there
        return
    # Of links that go in a circle, Path.resolve raises a RuntimeError before Python 3.13.
    path = Path(os.path.realpath(path))
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        with suppress(OSError):
            made.unlink()
        raise
    sync_folder(path.parent)
