"""The number of connections that the limit on open files allows."""

from __future__ import annotations

import resource
import socket
import sys

from poolcensus.errors import FatalError, reason_of

# File descriptors for the files of a snapshot, the SDK's data and lookups of names.
_FILES_FOR_OTHERS = 16


def most_connections() -> int:
    """Return how many connections may be open at a time. Raises FatalError if none can be opened."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        # A new descriptor gets the lowest free number, so about as many are in use.
        with socket.socket() as probe:
            used = probe.fileno()
    except OSError as error:
        raise FatalError(
            f"no connection can be opened: {reason_of(error)} (ulimit -n raises the limit)"
        ) from None
    return max(limit - used - _FILES_FOR_OTHERS, 1)
