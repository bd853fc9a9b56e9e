"""Temporary files and folders, and the error for where there can be none."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from poolcensus.errors import DestinationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is removed on leaving. Raises `DestinationError` where none can be made."""
    try:
        made = TemporaryDirectory(prefix="poolcensus-", ignore_cleanup_errors=True)
    except OSError as error:
        raise temporary_error("make a temporary folder", error) from error
    with made as folder:
        yield Path(folder)


def temporary_error(doing: str, error: OSError) -> DestinationError:
    """What a person is told of an `error` with a temporary file."""
    return DestinationError(
        f"can't {doing}: {error.strerror or error}; set TMPDIR to a folder that this user can write and that"
        " has room"
    )
