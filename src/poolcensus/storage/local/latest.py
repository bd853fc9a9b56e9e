"""Updates `latest` of a folder: a symbolic link, or `latest.json` if the file system has no links."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from poolcensus.paths import is_link, rename
from poolcensus.storage.local.files import sync_file, sync_folder, write_all
from poolcensus.storage.local.reading import latest_in, named_in_file, published_ids, read_manifest
from poolcensus.storage.local.stale import LATEST_PREFIX
from poolcensus.storage.naming import LATEST, LATEST_NAME, latest_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poolcensus.storage.base import LatestChoice

# Errors of file systems without symbolic links, such as exFAT, SMB shares and FUSE mounts of buckets.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class ForeignLatestError(FileExistsError):
    """What has the name `latest` was not created by a run, since runs create only links there."""


def renew_latest(dest: Path, snapshot_id: str, choice: LatestChoice, file_mode: int) -> None:
    """Make `latest`, and `latest.json` if it exists, name the chosen snapshot after a commit.

    `snapshot_id` is the published snapshot. Raises `ForeignLatestError` if something else has the name
    `latest`, or `OSError`. Blocks.
    """
    # The choice may be another snapshot, after a merge or if a clock is wrong. It is written even if it has
    # not changed: a run that was killed may have published it without updating `latest`.
    choice.start(published_ids(dest), latest_in(dest))
    while ids := choice.next():
        for each in ids:
            found = read_manifest(dest / each)
            choice.take(each, found if isinstance(found, bytes) else None)
    newest = choice.newest
    if newest is None:
        _check_that_it_is_ours(dest / LATEST)
        (dest / LATEST).unlink(missing_ok=True)
        (dest / LATEST_NAME).unlink(missing_ok=True)
        sync_folder(dest)
        return
    made = dest / f"{LATEST_PREFIX}{snapshot_id}"
    # A `latest.json` that was copied from a bucket is kept up to date beside the link.
    needs_file = named_in_file(dest) is not None
    try:
        with _removed_on_error(made):
            needs_file = not _link(dest, made, newest) or needs_file
    finally:
        if needs_file:
            with _removed_on_error(made):
                _write(made, latest_object(newest), file_mode)
                rename(made, dest / LATEST_NAME)
    sync_folder(dest)


@contextlib.contextmanager
def _removed_on_error(made: Path) -> Iterator[None]:
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            made.unlink()
        raise


def _check_that_it_is_ours(latest: Path) -> None:
    """Raise ForeignLatestError unless `latest` is a link or does not exist."""
    if os.path.lexists(latest) and not is_link(latest):
        raise ForeignLatestError(errno.EEXIST, "no run has made it", str(latest))


def _link(dest: Path, made: Path, newest: str) -> bool:
    """Make the link `latest` name the newest snapshot. Return whether the file system has links."""
    try:
        try:
            made.symlink_to(newest)
        except FileExistsError:
            # The name is this run's. A network file system may have created the link, lost the reply and
            # repeated the request.
            made.unlink(missing_ok=True)
            made.symlink_to(newest)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return False
    _check_that_it_is_ours(dest / LATEST)
    rename(made, dest / LATEST)
    return True


def _write(path: Path, data: bytes, mode: int) -> None:
    """Create a file and flush it to the device. Raises `OSError`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        write_all(fd, data)
        sync_file(fd)
    finally:
        os.close(fd)
