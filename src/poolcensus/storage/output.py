"""Output files of commands, which are written atomically and named in error messages."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from poolcensus.errors import DestinationError, reason_of
from poolcensus.paths import exists
from poolcensus.storage.local.files import replaced_file
from poolcensus.storage.naming import in_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def output_file(path: Path, mode: int) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` at the end of the block, as `replaced_file` does.

    Raises `DestinationError`, whose message names `path` and not the hidden file beside it.
    """
    try:
        if (wrong := in_snapshot(path)) is not None:
            raise DestinationError(f"Could not write {path}: {wrong}.")
        with replaced_file(path, mode) as file:
            yield file
    except OSError as error:
        # The error itself names the hidden file.
        is_missing = isinstance(error, FileNotFoundError) and not exists(path.parent)
        reason = f"There is no folder {path.parent}" if is_missing else reason_of(error)
        raise DestinationError(f"Could not write {path}: {reason}.") from error
