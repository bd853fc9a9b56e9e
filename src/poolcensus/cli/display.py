"""The live display of a running census on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from poolcensus.cli.background import BackgroundStream
from poolcensus.cli.pace import UNKNOWN, Pace, Pacer
from poolcensus.cli.tables import console, text
from poolcensus.cli.wording import covered, duration
from poolcensus.format.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from rich.console import RenderableType

    from poolcensus.model import Progress

# Seconds that a target has to be open before it is shown as slow.
SLOW_AFTER = 2.0
MAX_SLOW = 3


@contextmanager
def live(read: Callable[[], Progress]) -> Iterator[Callable[[], None]]:
    """Show the progress that `read` returns during the block. Yield a function that refreshes the display.

    Nothing in the block waits for the terminal: a thread writes the frames, and log lines between them.
    """
    stream = _in_background(sys.stderr)
    screen = console(stderr=True, file=stream)
    shown = Live(console=screen, auto_refresh=False, transient=True)
    # A terminal that goes away takes the display with it, not the census.
    with suppress(OSError):
        shown.start()
    try:
        pacer = Pacer()

        def refresh() -> None:
            # While the terminal has not taken the last frame, don't queue another.
            if stream is None or not stream.behind:
                progress = read()
                shown.update(display(progress, pacer.pace(progress)), refresh=True)

        yield refresh
    finally:
        with suppress(OSError):
            shown.stop()
        if stream is not None:
            stream.end()


def _in_background(stream: TextIO) -> BackgroundStream | None:
    try:
        return BackgroundStream(stream)
    except (OSError, RuntimeError, ValueError):
        # A stream without a descriptor never blocks. Without a thread, the terminal may block.
        return None


def display(progress: Progress, pace: Pace = UNKNOWN) -> RenderableType:
    """Return the progress for a terminal: a bar, the counters and the slowest targets."""
    if progress.waits_for is not None:
        return text(progress.waits_for)
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1, min_width=5)
    bar.add_column(no_wrap=True, justify="right")
    # While accounts are still being listed, the total is unknown, and the bar only pulses.
    total = None if progress.listing else max(progress.totals.targets, progress.done, 1)
    bar.add_row(
        text(f"{covered(progress)} targets"),
        ProgressBar(total=total, completed=progress.done, animation_time=progress.elapsed),
        text(", ".join(each for each in (duration(progress.elapsed), pace.left_words) if each)),
    )
    counters = [
        counted(progress.accounts, "account") + (" so far" if progress.listing else ""),
        counted(progress.totals.pools, "pool"),
        f"{counted(progress.totals.requests, 'call')}{pace.rate_words}",
        counted(progress.totals.throttles, "throttle"),
        f"{progress.in_flight:,} in flight",
        *([f"{progress.failed:,} failed"] if progress.failed else []),
    ]
    rows: list[RenderableType] = [bar, text(", ".join(counters))]
    if slow := [each for each in progress.slowest if each[1] >= SLOW_AFTER][:MAX_SLOW]:
        names = ", ".join(
            f"{target.account.name or target.account.id} {target.region} {duration(seconds)}"
            for target, seconds in slow
        )
        rows.append(text(f"slow: {names}", "dim"))
    return Group(*rows)
