"""Folders and files as a commit needs them: made with a mode, written whole, flushed to the device."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
