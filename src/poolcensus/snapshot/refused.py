"""Reads refused runs, which their settings forbade to publish. Only the ledger of such a run is kept."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from poolcensus.config import Settings
from poolcensus.errors import SnapshotError, reason_of
from poolcensus.format.manifest import REFUSED_NAME, decode_refused
from poolcensus.format.schema import TARGETS_NAME, Schema
from poolcensus.paths import is_file
from poolcensus.snapshot.info import data_file
from poolcensus.snapshot.latest import (
    LatestSearch,
    ids_that_begin,
    looked_up,
    looked_up_beside_folder,
    named_latest,
    search_latest,
    steps_back,
)
from poolcensus.snapshot.order import Moment, moment_of
from poolcensus.snapshot.reader import lines_of
from poolcensus.storage.destination import open_folder, open_source
from poolcensus.storage.naming import is_in_s3
from poolcensus.storage.source import LARGEST_MANIFEST, MissingFileError, SnapshotFiles, Source, read_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from poolcensus.model import Manifest, PublishingRule, TargetResult


class RefusedRun:
    """A run that was not published, because the setting in `rule` forbade it."""

    def __init__(self, files: SnapshotFiles, manifest: Manifest, rule: PublishingRule) -> None:
        self._files = files
        self.manifest = manifest
        self.rule = rule

    @classmethod
    def read(cls, files: SnapshotFiles) -> Self:
        """Read a refused run from its files. Raises `SnapshotError` if they can't be read."""
        try:
            with files.open(REFUSED_NAME) as raw:
                manifest, rule = decode_refused(read_whole(raw, LARGEST_MANIFEST))
            data_file(manifest, TARGETS_NAME)
        except MissingFileError as error:
            raise SnapshotError(f"{files.place_of(REFUSED_NAME)} {error}") from error
        except OSError as error:
            message = f"{files.place_of(REFUSED_NAME)} can't be read: {reason_of(error)}"
            raise SnapshotError(message) from error
        except ValueError as error:
            raise SnapshotError(f"{files.place_of(REFUSED_NAME)} can't be read: {error}") from error
        return cls(files, manifest, rule)

    @property
    def id(self) -> str:
        """The ID that its snapshot would have had."""
        return self.manifest.snapshot_id

    @property
    def reason(self) -> str:
        """The rule that forbade publishing, such as `strict` or `max_failed 5%`."""
        return str(self.rule)

    @property
    def schema(self) -> Schema:
        """The schema of the ledger's lines."""
        return Schema(self.manifest.operation)

    @property
    def moment(self) -> Moment:
        """When the run ended, for comparison with the moments of snapshots."""
        manifest = self.manifest
        return moment_of(self.id, manifest.started_at, manifest.finished_at, shard=manifest.shard)

    def is_after(self, search: LatestSearch) -> bool:
        """Return whether the run ended after the newest snapshot of a search."""
        if search.newest is None:
            return True
        return self.moment > (moment_of(search.newest) if search.info is None else search.info.moment)

    def targets(self) -> Iterator[TargetResult]:
        """Return an iterator over the lines of the ledger. Raises `SnapshotError` if a line can't be read."""
        return lines_of(self._files, data_file(self.manifest, TARGETS_NAME), self.schema.decode_result)

    def uncovered(self) -> Iterator[TargetResult]:
        """Return an iterator over the ledger lines of targets that were not covered."""
        return (result for result in self.targets() if not result.outcome.covered)


def refused_run(
    ref: str | os.PathLike[str] | None = None,
    dest: str | os.PathLike[str] | None = None,
    *,
    settings: Settings | None = None,
) -> RefusedRun | None:
    """Return the refused run that `ref` names, or None if it names anything else.

    `ref` is the ID of the run or its unique beginning, which is looked up in `dest`, or the place of its
    ledger, a path or an `s3://` URL. Without `ref`, return the newest refused run, if it is newer than every
    snapshot. `dest` and `settings` are those of `Snapshot.open`, and so are the errors. Blocks.
    """
    if ref is None:
        with open_source("." if dest is None else dest, settings) as source:
            return _newest(source)
    opened = partial(open_source, settings=settings)
    found = looked_up(ref, dest) or looked_up_beside_folder(opened, ref, dest, _ids_of_runs)
    if found is None:
        return None if isinstance(ref, str) and is_in_s3(ref) else _in_folder(ref)
    place, run_id = found
    # `latest` and `latest~N` refer to snapshots only.
    if steps_back(run_id) is not None:
        return None
    with opened(place) as source:
        refused = source.refused()
        matches = ids_that_begin(run_id, (*source.ids(), *refused))
        run_id = matches[0] if matches else run_id
        return RefusedRun.read(source.refused_files(run_id)) if run_id in refused else None


def _ids_of_runs(source: Source) -> Iterable[str]:
    return (*source.ids(), *source.refused())


def _in_folder(path: str | os.PathLike[str]) -> RefusedRun | None:
    try:
        is_one = is_file(Path(path) / REFUSED_NAME)
    except OSError as error:
        raise SnapshotError(f"{os.fspath(path)} can't be read: {reason_of(error)}") from error
    return RefusedRun.read(open_folder(path)) if is_one else None


def _newest(source: Source) -> RefusedRun | None:
    runs: list[RefusedRun] = []
    unread: dict[str, SnapshotError] = {}
    for each in source.refused():
        try:
            runs.append(RefusedRun.read(source.refused_files(each)))
        except SnapshotError as error:
            unread[each] = error
    newest = max(runs, key=lambda run: run.moment, default=None)
    ids = source.ids()
    latest = search_latest(source, ids, named_latest(source, ids))
    if unread:
        # Raise the error only if that run is newer, by its ID, than what would be shown.
        last = max(unread)
        if last > (latest.newest or "") and (newest is None or last > newest.id):
            raise unread[last]
    return newest if newest is not None and newest.is_after(latest) else None
