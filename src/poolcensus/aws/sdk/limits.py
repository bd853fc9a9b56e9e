"""How long the SDK may take to read its files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio

from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

# The SDK's data takes a second from a slow disk. A home folder on a server that is away hangs.
_LONGEST_READ: Final = 60.0


@contextmanager
def reading_in_time() -> Iterator[None]:
    """Raise SettingsError where a thread takes more than a minute in the block, for the SDK's files."""
    try:
        with anyio.fail_after(_LONGEST_READ):
            yield
    except TimeoutError:
        raise SettingsError(
            f"Could not read the AWS configuration: nothing after {_LONGEST_READ:g} s. Look for a home"
            " folder, or a folder of the SDK's data, on a disk or server that doesn't answer."
        ) from None
