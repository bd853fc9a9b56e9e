"""Temporary files and folders that are gone when the process is, whatever ends it but SIGKILL.

A signal may raise an exception between any two steps: between making a folder and the block that removes
it, and in the midst of removing it. So each name is noted before there is anything of it, and forgotten when
it is gone. What is noted still when the process exits is removed then.
"""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, Final

from poolcensus.paths import is_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

_noted: Final[set[Path]] = set()
# What hangs, such as a file system that is gone, keeps no process from its end.
_REMOVED_WITHIN: Final = 0.5


def make_folder() -> Path:
    """Make a folder of this user alone, in the folder that `TMPDIR` names or the system's own.

    `remove` removes it. Raises `OSError`.
    """
    # What removes a folder is imported before it is made: a signal waits for nothing.
    import shutil  # noqa: F401, PLC0415 - for `remove`
    import tempfile  # noqa: PLC0415 - 5 ms
    from pathlib import Path  # noqa: PLC0415 - 5 ms

    path = Path(tempfile.gettempdir()).resolve() / f"poolcensus-{_unique()}"
    _note(path)
    try:
        path.mkdir(mode=0o700)
    except OSError:
        _noted.discard(path)
        raise
    return path


@contextmanager
def name_beside(path: Path) -> Iterator[Path]:
    """Yield a hidden name that is free in the folder of `path`. What has it after the block is removed."""
    # Athena and others pass over names that begin with a dot.
    made = path.with_name(f".{path.name}.{_unique()}.tmp")
    _note(made)
    try:
        yield made
    finally:
        remove(made)


@contextmanager
def file_replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a new file that takes the place of `path` once the block has ended without an error.

    Until then it has a hidden name beside it. The umask takes its bits off `mode`. What has to outlast a
    power cut is flushed in the block, and the folder after it. Raises `OSError`.
    """
    with name_beside(path) as made:
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            yield file
        made.replace(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as that can be. It may be gone already."""
    # Whether it is a folder can't always be told: its parent may be closed to this user, its name too long.
    with suppress(OSError):
        if is_folder(path):
            import shutil  # noqa: PLC0415 - see make_folder

            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
    _noted.discard(path)


def remove_all() -> None:
    """Remove all of this process, in at most half a second: what ends it calls no exit functions."""
    if _noted:
        removing = threading.Thread(target=_remove_all, daemon=True)
        try:
            removing.start()
        except RuntimeError:
            # The system has no thread left, and the process is to end all the same.
            _remove_all()
        else:
            removing.join(_REMOVED_WITHIN)


def _remove_all() -> None:
    for each in _noted.copy():
        remove(each)


def _note(path: Path) -> None:
    _register()
    _noted.add(path)


@cache
def _register() -> None:
    # With the first name: what is registered earlier, such as what ends the process at once, is called later.
    atexit.register(_remove_all)


def _unique() -> str:
    # Too many to guess: what has a noted name is never another's, whose file would be removed.
    return os.urandom(8).hex()


# The files of a process are not its child's.
os.register_at_fork(after_in_child=_noted.clear)
