"""The commands that list the rows that don't fit on the page."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from poolcensus.format.text import printable

if TYPE_CHECKING:
    from poolcensus.analysis.report.facts import Facts


def show(facts: Facts, options: str) -> str:
    """Return a command that shows the snapshot of a report with these options."""
    return _command(facts, f"show {facts.info.id} {options}")


def diff(facts: Facts, before: str) -> str:
    """Return a command that compares the snapshot of a report with the snapshot `before`."""
    return _command(facts, f"diff {before} {facts.info.id}")


def snapshots(facts: Facts) -> str:
    """Return a command that lists the snapshots at the destination."""
    return _command(facts, "snapshots")


def _command(facts: Facts, words: str) -> str:
    return f"poolcensus {words} --dest {shlex.quote(printable(facts.dest))}"
