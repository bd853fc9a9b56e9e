"""Makes a report: gathers its data, then renders the page."""

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
"""Only the user has access: a report names accounts and their pools, as a snapshot does."""


@dataclass(frozen=True, slots=True)
class Report:
    """A page about the snapshot `snapshot_id`. It needs no other file, and no network.

    `unread` has the earlier snapshots that could not be read, by ID, each with the reason.
    """

    snapshot_id: str
    html: str = field(repr=False)
    unread: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: str | os.PathLike[str], *, mode: int = PRIVATE) -> None:
        """Write the page to a file. If this fails, an existing file is unchanged.

        Raises `DestinationError` if the file can't be written.
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
    """Return a report on the snapshot that `ref` names at `dest`, as for `Snapshot.open`.

    Its history is the earlier snapshots of the same scope beside it. All of them are read. The days to the
    end of support are counted from `now`, by default the current time.

    Raises `MissingExtraError` if the extra `report` is not installed, and `SnapshotError` if the snapshot
    can't be read. Raises `DestinationError` or another `FatalError` if a bucket can't be read, or if a chart
    can't be drawn. Blocks for seconds if there is a year of snapshots.
    """
    check_extra()
    snapshot = Snapshot.open(ref, dest, settings=settings)
    facts = gather(snapshot, now or datetime.now(UTC), settings)
    return Report(snapshot.id, render_page(facts), {each.id: each.reason for each in facts.history.unread})
