"""What the tests ask the system about this process's descriptors, on Linux and on macOS."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

import pytest

# What macOS has in place of /proc.
_GET_PATH: Final[int | None] = getattr(fcntl, "F_GETPATH", None)

needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, as Linux has it")


def descriptors() -> frozenset[int]:
    """The descriptors that are open."""
    found = set()
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - no path is wanted
        try:
            os.fstat(int(name))
        except OSError:
            # The listing's own.
            continue
        found.add(int(name))
    return frozenset(found)


def path_of(place: object) -> Path:
    """The file that a system call is given, as a path or as a descriptor. Raises `OSError`."""
    if not isinstance(place, int):
        return Path(str(place))
    if _GET_PATH is None:
        return Path(f"/proc/self/fd/{place}").readlink()
    try:
        return Path(os.fsdecode(fcntl.fcntl(place, _GET_PATH, bytes(1024)).rstrip(b"\0")))
    except OSError:
        # Of a socket or a pipe, which Linux gives a name.
        return Path()
