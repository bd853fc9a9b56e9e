"""The commands that list the rows that don't fit on the page."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from poolcensus.format.text import printable

if TYPE_CHECKING:
    from poolcensus.analysis.report.facts import Facts


class Commands:
    """Builds commands about the snapshot of a report."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def show(self, what: str) -> str:
        """Return a command that shows the snapshot. `what` are further arguments."""
        return self._command(f"show {self._facts.info.id} {what}")

    def diff(self, before: str) -> str:
        """Return a command that compares the snapshot with the snapshot `before`."""
        return self._command(f"diff {before} {self._facts.info.id}")

    def snapshots(self) -> str:
        """Return a command that lists the snapshots at the destination."""
        return self._command("snapshots")

    def _command(self, words: str) -> str:
        return f"poolcensus {words.strip()} --dest {shlex.quote(printable(self._facts.dest))}"
