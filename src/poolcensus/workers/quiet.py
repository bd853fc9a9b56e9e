"""Undoes what Dask does to its process: logging, signals, environment.

Worker processes preload this module.
"""

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
    """Ignore SIGINT in a worker process, which the caller ends, and silence Dask's loggers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for each in _loggers():
        each.setLevel(SILENT)


@contextmanager
def silenced() -> Iterator[None]:
    """Silence Dask's loggers in the block. Errors that matter are raised.

    After a run that was stopped they stay silent: Dask may still log about connections that the run left.
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
    """Block SIGINT in the processes that are started in the block, until `dask_setup` ignores it.

    A terminal sends SIGINT to all of them. They inherit the signals that this thread blocks. Meanwhile,
    another thread of this process has to exist that receives the signal.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _loggers() -> list[logging.Logger]:
    """Return Dask's loggers, and their children that have a level of their own, which Dask sets for some."""
    known = logging.root.manager.loggerDict
    below = [
        each
        for name, each in known.items()
        if name.partition(".")[0] in _LOGGERS and isinstance(each, logging.Logger) and each.level
    ]
    return list({*map(logging.getLogger, _LOGGERS), *below})


@contextmanager
def environment_kept() -> Iterator[None]:
    """Restore this process's environment after the block.

    Dask changes it for the processes that it starts.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
