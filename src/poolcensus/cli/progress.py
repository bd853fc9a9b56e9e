"""The progress of a running census on standard error."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

import anyio
import click

from poolcensus.cli import background, logs
from poolcensus.cli.pace import UNKNOWN, Pace, Pacer
from poolcensus.cli.trouble import is_writable, on_terminal
from poolcensus.cli.wording import covered, duration
from poolcensus.config import ProgressMode
from poolcensus.errors import first_reason_raised
from poolcensus.format.text import counted, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from poolcensus.model import Progress

REFRESHES_PER_SECOND = 8
SECONDS_BETWEEN_LINES = 5.0
_DUMB = frozenset({"dumb", "unknown"})


def shown(read: Callable[[], Progress], mode: ProgressMode) -> AbstractAsyncContextManager[None]:
    """Return a context manager that shows progress: as a live display on a terminal, else as lines, or not.

    `read` returns the progress. If the log is JSON, lines go to the log, even on a terminal. Call this before
    the event loop runs: importing the display would block it.
    """
    terminal = on_terminal(sys.stderr) and not logs.is_json()
    if mode is ProgressMode.NEVER or (mode is ProgressMode.AUTO and not terminal):
        return nullcontext()
    if not terminal or os.environ.get("TERM") in _DUMB:
        return _lines(read)
    from poolcensus.cli.display import live

    return _display(live(read))


@asynccontextmanager
async def _lines(read: Callable[[], Progress]) -> AsyncIterator[None]:
    pacer = Pacer()

    def write() -> None:
        progress = read()
        words = line(progress, pacer.pace(progress))
        if not logs.status(words):
            click.echo(f"poolcensus: {words}", err=True)

    async with _repeated(write, SECONDS_BETWEEN_LINES):
        yield
    with suppress(OSError):
        write()


@asynccontextmanager
async def _display(display: AbstractContextManager[Callable[[], None]]) -> AsyncIterator[None]:
    # The event loop refreshes the display. A thread would read the counters while the loop changes them.
    try:
        with display as refresh:
            async with _repeated(refresh, 1 / REFRESHES_PER_SECOND):
                yield
    finally:
        # Wait until the terminal is up to date, so that later output follows the log lines.
        with anyio.CancelScope(shield=True):
            for _ in background.unsettled():
                await anyio.sleep(background.STEP)


@asynccontextmanager
async def _repeated(action: Callable[[], None], seconds: float) -> AsyncIterator[None]:
    async def repeat() -> None:
        # If the terminal goes away, the display ends, and the census goes on.
        with suppress(OSError):
            while True:
                await anyio.sleep(seconds)
                # Writing to a stopped terminal would block the event loop.
                if sys.stderr is None or is_writable(sys.stderr):
                    action()

    with first_reason_raised():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(repeat)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()


def line(progress: Progress, pace: Pace = UNKNOWN) -> str:
    """Return the progress as one line of plain text."""
    if progress.waits_for is not None:
        return printable(progress.waits_for)
    parts = [
        f"{covered(progress)} targets",
        counted(progress.totals.pools, "pool"),
        f"{counted(progress.totals.requests, 'call')}{pace.rate_words}",
        counted(progress.totals.throttles, "throttle"),
        f"{progress.failed:,} failed",
        *([pace.left_words] if pace.left_words else []),
    ]
    return f"{duration(progress.elapsed)}: {', '.join(parts)}"
