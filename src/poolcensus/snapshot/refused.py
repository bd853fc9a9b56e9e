"""Runs that were not published, because their settings forbid it: what is kept of them is their ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from poolcensus.errors import SnapshotError
from poolcensus.format.schema import REFUSED_NAME, TARGETS_NAME, Schema, decode_refused
from poolcensus.snapshot.order import moment_of
from poolcensus.snapshot.reader import LARGEST_MANIFEST, data_file, lines_of, published_ids, search_latest
from poolcensus.snapshot.stale import REFUSED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poolcensus.model import Manifest, TargetResult
    from poolcensus.snapshot.order import LatestSearch, Moment


class RefusedRun:
    """A run that was not published. `reason` says why, such as "--strict"."""

    def __init__(self, path: Path, manifest: Manifest, reason: str) -> None:
        self.path = path
        self.manifest = manifest
        self.reason = reason

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run whose ledger is in the folder `path`. Raises `SnapshotError` where that can't be read."""
        file = path / REFUSED_NAME
        try:
            with file.open("rb") as raw:
                manifest, reason = decode_refused(raw.read(LARGEST_MANIFEST))
            data_file(manifest, TARGETS_NAME)
        except (OSError, ValueError) as error:
            raise SnapshotError(f"{file} can't be read: {error}") from error
        return cls(path, manifest, reason)

    @property
    def id(self) -> str:
        """The id that its snapshot would have had."""
        return self.manifest.snapshot_id

    @property
    def schema(self) -> Schema:
        """The schema of the ledger's lines."""
        return Schema(self.manifest.operation)

    @property
    def moment(self) -> Moment:
        """When it ended, to be compared with those of snapshots."""
        return moment_of(self.id, self.manifest.started_at, self.manifest.finished_at)

    def is_after(self, search: LatestSearch) -> bool:
        """Whether it ended after the newest snapshot that was found."""
        if search.newest is None:
            return True
        return self.moment > (moment_of(search.newest) if search.info is None else search.info.moment)

    def targets(self) -> Iterator[TargetResult]:
        """The ledger, one line after the other. Raises `SnapshotError` for a line that is none."""
        return lines_of(self.path, data_file(self.manifest, TARGETS_NAME), self.schema.decode_result)

    def uncovered(self) -> Iterator[TargetResult]:
        """The ledger's lines of targets that were not covered."""
        return (result for result in self.targets() if not result.outcome.covered)


def refused_run(dest: Path, run_id: str | None = None) -> RefusedRun | None:
    """The run of this id whose ledger is kept in `dest`, None where there is none.

    Without an id, the newest such run, if it is newer than every snapshot there. Raises `SnapshotError`.
    """
    if run_id is not None:
        path = dest / f"{REFUSED_PREFIX}{run_id}"
        return RefusedRun.open(path) if path.is_dir() else None
    try:
        found = [
            RefusedRun.open(each)
            for each in dest.glob(f"{REFUSED_PREFIX}*")
            if (each / REFUSED_NAME).is_file()
        ]
        newest = max(found, key=lambda run: run.moment, default=None)
        if newest is None or not newest.is_after(search_latest(dest, published_ids(dest))):
            return None
    except OSError as error:
        raise SnapshotError(f"{dest} can't be read: {error.strerror or error}") from error
    return newest
