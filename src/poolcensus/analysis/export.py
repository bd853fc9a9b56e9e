"""Exports snapshots as Parquet files that are partitioned by date."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.database import Database
from poolcensus.analysis.selection import Selection, select_all, select_one
from poolcensus.analysis.views import View, items_view, targets_view
from poolcensus.config import Settings
from poolcensus.errors import DestinationError, SettingsError, SnapshotError, reason_of
from poolcensus.format.ids import parse_snapshot_id
from poolcensus.model import ColumnType
from poolcensus.paths import rename
from poolcensus.storage.destination import checked_place
from poolcensus.storage.local.files import make_folders, sync_file, sync_folder
from poolcensus.storage.naming import LATEST, STANDARD_OUTPUT, in_snapshot, is_in_s3
from poolcensus.temporary import name_beside

if TYPE_CHECKING:
    from poolcensus.snapshot import Snapshot

# Only the user has access, as with the files of snapshots.
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Exported:
    """The Parquet files that an export wrote, those of the oldest snapshot first.

    `unreadable` has the snapshots that could not be exported because they can't be read or are damaged, by
    ID, each with the reason. `ahead` has the IDs of the snapshots that are left out because they are dated in
    the future.
    """

    files: tuple[Path, ...]
    unreadable: Mapping[str, str]
    ahead: tuple[str, ...] = ()


def export(
    output: str | os.PathLike[str],
    dest: str | os.PathLike[str] = ".",
    *,
    ref: str | os.PathLike[str] | None = LATEST,
    settings: Settings | None = None,
) -> Exported:
    """Write one snapshot, or all snapshots at `dest`, as Parquet files to the folder `output`.

    `ref` is a snapshot as for `Snapshot.open`, or None for all snapshots. Each snapshot becomes
    `pools/date=YYYY-MM-DD/ID.parquet` and `targets/date=YYYY-MM-DD/ID.parquet`. The date is the start of its
    run in UTC. The columns are those of the views of `query`, with JSON as text. A file gets its name only
    when it is complete, and replaces the file of an earlier export. `settings` say how to reach S3 (see
    `Snapshot.open`), and give the modes of files and folders.

    With `ref` None, snapshots that can't be read, are damaged or are dated in the future are left out, and
    the result names them.

    Raises `SettingsError` if `output` is in S3, in a snapshot or `-`. Raises `SnapshotError` if the snapshot
    that `ref` names can't be read or is damaged, or if there is no snapshot. Raises `DestinationError` if the
    folder can't be written, and `MissingExtraError` if DuckDB is not installed. Blocks: in an event loop, use
    a worker thread.
    """
    where = checked_place(output, "output")
    if is_in_s3(where):
        raise SettingsError(
            f"{where} is in S3: export writes to a folder. Run 'aws s3 sync FOLDER {where}' afterwards."
        )
    if where == STANDARD_OUTPUT:
        raise SettingsError("An export writes files into a folder, and not to standard output.")
    _check_outside_snapshots(where)
    selection = select_all(dest, settings) if ref is None else select_one(ref, dest, settings)
    modes = (_FILE_MODE, _FOLDER_MODE) if settings is None else (settings.file_mode, settings.folder_mode)
    folder = Path(where)
    files: list[Path] = []
    unreadable = dict(selection.unreadable)
    try:
        for snapshot in selection.snapshots:
            try:
                files += _export(replace(selection, snapshots=(snapshot,)), snapshot, folder, modes)
            except SnapshotError as error:
                if ref is not None:
                    raise
                unreadable[snapshot.id] = str(error)
    except OSError as error:
        place = error.filename or folder
        raise DestinationError(f"Could not write {place}: {reason_of(error)}.") from error
    return Exported(tuple(files), unreadable, selection.ahead)


def _check_outside_snapshots(where: str) -> None:
    try:
        wrong = in_snapshot(where)
    except OSError as error:
        raise DestinationError(f"Could not write {where}: {reason_of(error)}.") from error
    if wrong is not None:
        raise SettingsError(f"output: {wrong}.")


def _export(selection: Selection, snapshot: Snapshot, folder: Path, modes: tuple[int, int]) -> list[Path]:
    date = f"{parse_snapshot_id(snapshot.id):%Y-%m-%d}"
    files: list[tuple[Path, Path]] = []
    with Database() as database, ExitStack() as stack:
        views = (items_view(selection.operation), targets_view(selection.operation))
        database.load(selection, [each.name for each in views])
        for view in views:
            path = folder / view.name / f"date={date}" / f"{snapshot.id}.parquet"
            make_folders(path.parent, modes[1])
            made = stack.enter_context(name_beside(path))
            _write(database, view, made, path, modes[0])
            files.append((made, path))
        # The files get their names only now: if one view can't be read, the other must not appear either.
        for made, path in files:
            rename(made, path)
            sync_folder(path.parent)
    return [path for _, path in files]


def _write(database: Database, view: View, made: Path, path: Path, mode: int) -> None:
    """Write a view to the new file `made`, which will be renamed to `path`."""
    columns = ", ".join(
        f'"{each.name}"::VARCHAR AS "{each.name}"' if each.type is ColumnType.JSON else f'"{each.name}"'
        for each in view.columns
    )
    os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    made.chmod(mode)
    database.copy(f'SELECT {columns} FROM "{view.name}"', made, path)
    with made.open("rb") as file:
        sync_file(file.fileno())
