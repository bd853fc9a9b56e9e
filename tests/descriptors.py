"""What the tests ask the system about this process's descriptors, on Linux and on macOS."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import pytest

# What a process is told in text of code can't use this module.
by_name_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="finds a descriptor's file in /proc")
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
    """The file that a system call is given, as a path or as a descriptor."""
    if not isinstance(place, int):
        return Path(str(place))
    if sys.platform == "darwin":
        return Path(os.fsdecode(fcntl.fcntl(place, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(f"/proc/self/fd/{place}").readlink()
