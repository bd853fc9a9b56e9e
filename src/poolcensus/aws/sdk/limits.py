"""A time limit for reading the SDK's files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio

from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds. Reading the SDK's data from a slow disk takes a second. A home folder on a server that is down
# hangs.
_LONGEST_READ: Final = 60.0


@contextmanager
def reading_in_time() -> Iterator[None]:
    """Raise SettingsError if the block, which waits for a thread that reads files, takes over a minute."""
    try:
        with anyio.fail_after(_LONGEST_READ):
            yield
    except TimeoutError:
        raise SettingsError(
            f"Could not read the AWS configuration: nothing after {_LONGEST_READ:g} s. Look for a home"
            " folder, or a folder of the SDK's data, on a disk or server that doesn't answer."
        ) from None
