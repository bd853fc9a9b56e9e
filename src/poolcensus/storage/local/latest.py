"""Having `latest` name the newest snapshot of a folder: a link, or `latest.json` where there are no links."""

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

# What file systems without symbolic links say, such as exFAT, SMB shares and FUSE mounts of buckets.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class ForeignLatestError(FileExistsError):
    """What is called `latest` was put there by somebody else: runs put nothing there but links."""


def renew_latest(dest: Path, snapshot_id: str, choice: LatestChoice, file_mode: int) -> None:
    """Have `latest` name what is chosen once `snapshot_id` is published, and `latest.json` if it is there.

    Blocks. Raises ForeignLatestError where something else is in its place; `OSError`.
    """
    # Not the new one where a merge, or a clock that went back, publishes behind the newest, or where its own
    # clock went ahead. It is named anew all the same: a run that was killed may have published it and not
    # come as far as `latest`.
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
    # One that was copied from a bucket stays beside the link, for those who read it.
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
    """Raise ForeignLatestError unless it is a link, or not there."""
    if os.path.lexists(latest) and not is_link(latest):
        raise ForeignLatestError(errno.EEXIST, "no run has made it", str(latest))


def _link(dest: Path, made: Path, newest: str) -> bool:
    """Have the link `latest` name the newest snapshot, and return whether there are links here."""
    try:
        try:
            made.symlink_to(newest)
        except FileExistsError:
            # No other run has this name. A network file system may have made the link, lost the reply and
            # been asked for it once more.
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
    """Make a file and flush it to the device. Raises `OSError`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        os.fchmod(fd, mode)
        write_all(fd, data)
        sync_file(fd)
    finally:
        os.close(fd)
