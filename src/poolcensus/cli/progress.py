"""The progress of a running census on standard error."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import click
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from poolcensus.cli.tables import console, duration, text
from poolcensus.cli.trouble import counted
from poolcensus.settings import ProgressMode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rich.console import RenderableType

    from poolcensus.model import Progress

REFRESHES_PER_SECOND = 8
SECONDS_BETWEEN_LINES = 5.0
# A target that is open for less is not worth a name.
SLOW_AFTER = 2.0
MAX_SLOW = 3


@asynccontextmanager
async def shown(read: Callable[[], Progress], mode: ProgressMode) -> AsyncIterator[None]:
    """Shows what `read` says while the block runs: a live display on a terminal, else lines or nothing."""
    screen = console(stderr=True)
    if mode is ProgressMode.NEVER or (mode is ProgressMode.AUTO and not screen.is_terminal):
        yield
        return
    if not screen.is_terminal or screen.is_dumb_terminal:
        async with _repeated(lambda: click.echo(line(read()), err=True), SECONDS_BETWEEN_LINES):
            yield
        click.echo(line(read()), err=True)
        return
    # A display of its own thread would read the counters while the event loop changes them.
    with Live(console=screen, auto_refresh=False, transient=True) as live:
        async with _repeated(lambda: live.update(display(read()), refresh=True), 1 / REFRESHES_PER_SECOND):
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
        f"{_count(progress)} targets",
        counted(progress.totals.pools, "pool"),
        counted(progress.totals.requests, "call"),
        counted(progress.totals.throttles, "throttle"),
        f"{progress.uncovered:,} not covered",
    ]
    return f"poolcensus: {duration(progress.elapsed)}: {', '.join(parts)}"


def display(progress: Progress) -> RenderableType:
    """The progress for a terminal: a bar, the counters, and what is slow."""
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1, min_width=5)
    bar.add_column(no_wrap=True, justify="right")
    # While the listing goes on, the end is not known: the bar moves instead of promising one.
    total = None if progress.listing else max(progress.totals.targets, progress.done, 1)
    bar.add_row(
        text(f"{_count(progress)} targets"),
        ProgressBar(total=total, completed=progress.done, animation_time=progress.elapsed),
        text(duration(progress.elapsed)),
    )
    counters = [
        counted(progress.accounts, "account") + (" so far" if progress.listing else ""),
        counted(progress.totals.pools, "pool"),
        counted(progress.totals.requests, "call"),
        counted(progress.totals.throttles, "throttle"),
        f"{progress.in_flight:,} under way",
        *([f"{progress.uncovered:,} not covered"] if progress.uncovered else []),
    ]
    rows: list[RenderableType] = [bar, text(", ".join(counters))]
    if slow := [each for each in progress.slowest if each[1] >= SLOW_AFTER][:MAX_SLOW]:
        names = ", ".join(
            f"{target.account.name or target.account.id} {target.region} {duration(seconds)}"
            for target, seconds in slow
        )
        rows.append(text(f"slow: {names}", "dim"))
    return Group(*rows)


def _count(progress: Progress) -> str:
    return f"{progress.done:,} of {progress.totals.targets:,}{'+' if progress.listing else ''}"
