"""What Dask does to a process of another program: logs, signals, variables. Worker processes load it."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

SILENT: Final = logging.CRITICAL + 1
_LOGGERS: Final = ("distributed", "tornado")


def dask_setup(worker: object) -> None:  # noqa: ARG001 - Dask's interface of a preload
    """Leave signals of the terminal to the caller, who ends its workers, and errors to what tasks return."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for each in _loggers():
        each.setLevel(SILENT)


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what Dask logs off the terminal: what matters of it is raised.

    A run that is stopped leaves connections of which Dask may tell later: then it stays silent.
    """
    levels = {each: each.level for each in _loggers()}
    for each in levels:
        each.setLevel(SILENT)
    stopped = False
    try:
        yield
    except BaseException as error:
        stopped = not isinstance(error, Exception)
        raise
    finally:
        if not stopped:
            for each, level in levels.items():
                each.setLevel(level)


@contextmanager
def interrupts_kept_from_children() -> Iterator[None]:
    """Have processes that are started in the block not see SIGINT before `dask_setup` ignores it.

    A terminal sends it to all of them. They inherit what this thread blocks; another thread of this process,
    which there has to be, takes the signal for it in the meantime.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _loggers() -> list[logging.Logger]:
    """Return Dask's loggers, and those below them that have a level of their own: Dask gives it to some."""
    known = logging.root.manager.loggerDict
    below = [
        each
        for name, each in known.items()
        if name.partition(".")[0] in _LOGGERS and isinstance(each, logging.Logger) and each.level
    ]
    return list({*map(logging.getLogger, _LOGGERS), *below})


@contextmanager
def environment_kept() -> Iterator[None]:
    """Put this process's environment back, which Dask changes for the processes that it starts."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
