"""Makes a report: facts first, then the page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from poolcensus.analysis.report.extra import check_extra
from poolcensus.analysis.report.gather import gather
from poolcensus.analysis.report.page import render_page
from poolcensus.config import Settings
from poolcensus.snapshot import Snapshot
from poolcensus.storage.output import output_file

PRIVATE = 0o600
"""A report names accounts and their pools, as a snapshot does."""


@dataclass(frozen=True, slots=True)
class Report:
    """A page about the snapshot `snapshot_id`. It needs no other file, and no network.

    `unread` says by id why other snapshots at the destination are not in it.
    """

    snapshot_id: str
    html: str = field(repr=False)
    unread: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: str | os.PathLike[str], *, mode: int = PRIVATE) -> None:
        """Write the page to a file, which appears whole or stays what it was.

        Raises `DestinationError` where it can't be written.
        """
        with output_file(Path(path), mode) as file:
            file.write(self.html.encode())


def report(
    ref: str | os.PathLike[str] = "latest",
    dest: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
    now: datetime | None = None,
) -> Report:
    """Return a report on the snapshot that `ref` names at `dest`: see `Snapshot.open`.

    The snapshots before it, where it lies, are its history, as far as they were asked to cover the same. All
    of them are read. `now`, the present by default, is what the days to the end of support are counted from.

    Raises `MissingExtraError` without the extra `report`, and `SnapshotError` where the snapshot can't be
    read, `DestinationError` or another `FatalError` where a bucket can't, or where no chart can be drawn.
    Blocks, for seconds a year.
    """
    check_extra()
    snapshot = Snapshot.open(ref, dest, settings=settings)
    facts = gather(snapshot, now or datetime.now(UTC), settings)
    return Report(snapshot.id, render_page(facts), {each.id: each.reason for each in facts.history.unread})
