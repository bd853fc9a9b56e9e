"""The progress of a running census on standard error."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import click

from poolcensus.cli.trouble import counted, duration, on_terminal
from poolcensus.settings import ProgressMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from poolcensus.model import Progress

REFRESHES_PER_SECOND = 8
SECONDS_BETWEEN_LINES = 5.0
_DUMB = frozenset({"dumb", "unknown"})


@asynccontextmanager
async def shown(read: Callable[[], Progress], mode: ProgressMode) -> AsyncIterator[None]:
    """Shows what `read` says while the block runs: a live display on a terminal, else lines or nothing."""
    terminal = on_terminal(sys.stderr)
    if mode is ProgressMode.NEVER or (mode is ProgressMode.AUTO and not terminal):
        yield
        return
    if not terminal or os.environ.get("TERM") in _DUMB:
        async with _repeated(lambda: click.echo(line(read()), err=True), SECONDS_BETWEEN_LINES):
            yield
        with suppress(OSError):
            click.echo(line(read()), err=True)
        return
    from poolcensus.cli.display import live

    # A display of its own thread would read the counters while the event loop changes them.
    with live(read) as refresh:
        async with _repeated(refresh, 1 / REFRESHES_PER_SECOND):
            yield


@asynccontextmanager
async def _repeated(action: Callable[[], None], seconds: float) -> AsyncIterator[None]:
    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            action()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        # A terminal that goes away takes the display with it, not the census.
        with suppress(asyncio.CancelledError, OSError):
            await task


def line(progress: Progress) -> str:
    """The progress as one line of plain text."""
    parts = [
        f"{covered(progress)} targets",
        counted(progress.totals.pools, "pool"),
        counted(progress.totals.requests, "call"),
        counted(progress.totals.throttles, "throttle"),
        f"{progress.uncovered:,} not covered",
    ]
    return f"poolcensus: {duration(progress.elapsed)}: {', '.join(parts)}"


def covered(progress: Progress) -> str:
    """How far it is; a plus where the end is not known."""
    return f"{progress.done:,} of {progress.totals.targets:,}{'+' if progress.listing else ''}"
