"""Durations and the progress of a run, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolcensus.model import Progress


def covered(progress: Progress) -> str:
    """Return how many of the targets are done, with a plus if more are still being listed."""
    return f"{progress.done:,} of {progress.totals.targets:,}{'+' if progress.listing else ''}"


def duration(seconds: float) -> str:
    """Return a duration as text: 0.4 s, 12 s, 3 min 05 s, 1 h 02 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
