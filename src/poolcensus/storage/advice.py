"""Turns errors of the operating system into messages: where, what, and what to do about it."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from poolcensus.errors import DestinationError, reason_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ADVICE = {
    errno.ENOSPC: "make room there or choose another destination",
    errno.EDQUOT: "make room there or choose another destination",
    errno.EFBIG: "lift the limit on the size of files or choose another destination",
    errno.EACCES: "choose a destination that this user can {use}",
    errno.EPERM: "choose a destination that this user can {use}",
    errno.EROFS: "choose a destination that can be written",
    errno.EEXIST: "choose a destination that is a folder",
    errno.ENOTDIR: "choose a destination that is a folder",
    errno.EMFILE: "raise the limit on open files (ulimit -n) or lower `concurrency`",
    errno.ENFILE: "let other programs of this machine close files",
    errno.ENOLCK: "choose a destination on a file system that has locks",
    errno.ENOTSUP: "choose a destination on a file system that has locks",
    # The same value as ENOTSUP on Linux, but not on macOS.
    errno.EOPNOTSUPP: "choose a destination on a file system that has locks",
}


@contextmanager
def explained(doing: str, place: Path) -> Iterator[None]:
    """Turn an `OSError` in the block into a `DestinationError`."""
    try:
        yield
    except OSError as error:
        raise destination_error(doing, place, error) from error


def destination_error(doing: str, place: Path | str, error: OSError) -> DestinationError:
    """Return the error that says what failed, where, why, and what to do about it."""
    advice = _ADVICE.get(error.errno or 0, "check the device or choose another destination").format(
        use="read" if doing.startswith("read") else "write"
    )
    return DestinationError(f"can't {doing} {place}: {reason_of(error)}", advice=advice)


def temporary_error(doing: str, error: OSError) -> DestinationError:
    """Return the error for a failure with a temporary file."""
    return DestinationError(
        f"can't {doing}: {reason_of(error)}",
        advice="set TMPDIR to a folder that this user can write and that has room",
    )
