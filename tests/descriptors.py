"""The descriptors of this process, on Linux and on macOS."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

import pytest

# The command of fcntl() that macOS has in place of /proc.
_GET_PATH: Final[int | None] = getattr(fcntl, "F_GETPATH", None)

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")


def descriptors() -> frozenset[int]:
    """Return the open descriptors."""
    found = set()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - no path is wanted
        try:
            os.fstat(int(name))
        except OSError:
            # The descriptor of the listing itself.
            continue
        found.add(int(name))
    return frozenset(found)


def path_of(place: object) -> Path:
    """Return the path of an argument of a system call, which is a path or a descriptor. Raises OSError."""
    if not isinstance(place, int):
        return Path(str(place))
    if _GET_PATH is None:
        return Path(f"/proc/self/fd/{place}").readlink()
    try:
        return Path(os.fsdecode(fcntl.fcntl(place, _GET_PATH, bytes(1024)).rstrip(b"\0")))
    except OSError:
        # A socket or a pipe, which has a name only on Linux.
        return Path()
