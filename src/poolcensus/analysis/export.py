"""Snapshots as Parquet files, partitioned by date, for what reads tables."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.database import Database
from poolcensus.analysis.selection import select_all, select_one
from poolcensus.analysis.views import items_view, literal, targets_view
from poolcensus.errors import DestinationError, SettingsError
from poolcensus.format.ids import parse_snapshot_id
from poolcensus.model import ColumnType
from poolcensus.storage.destination import STANDARD_OUTPUT, checked_place, is_in_s3
from poolcensus.storage.local.files import make_folders, sync_file, sync_folder
from poolcensus.storage.naming import LATEST
from poolcensus.temporary import name_beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.analysis.selection import Selection
    from poolcensus.analysis.views import View
    from poolcensus.config import Settings
    from poolcensus.snapshot import Snapshot

# For the user alone, as the files of snapshots are.
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: the Parquet files of the snapshots, the oldest first.

    `unreadable` says by id why a snapshot that was asked for is not among them.
    """

    files: tuple[Path, ...]
    unreadable: Mapping[str, str]


def export(
    output: str | os.PathLike[str],
    dest: str | os.PathLike[str] = ".",
    *,
    ref: str | os.PathLike[str] | None = LATEST,
    settings: Settings | None = None,
) -> Exported:
    """Write one snapshot, or all at `dest`, as Parquet files into the folder `output`.

    `ref` names the snapshot as `Snapshot.open` takes it; None stands for all. A snapshot becomes
    `pools/date=YYYY-MM-DD/ID.parquet` and the same under `targets`, by the date of its start in UTC. The
    columns are those of the views of `query`, JSON as text. A file has its name once it is whole, and takes
    the place of one from an export before. `settings` say how S3 is reached, see `Snapshot.open`, and the
    modes of files and folders.

    Raises `SnapshotError` where a snapshot can't be read or is damaged, `DestinationError` where the folder
    can't be written, and `MissingExtraError` without DuckDB. Blocks: in an event loop, use a worker thread.
    """
    where = checked_place(output, "output")
    if is_in_s3(where):
        raise SettingsError(
            f"{where} is in S3: export writes to a folder. Run 'aws s3 sync FOLDER {where}' afterwards."
        )
    if where == STANDARD_OUTPUT:
        raise SettingsError("An export writes files into a folder, and not to standard output.")
    selection = select_all(dest, settings) if ref is None else select_one(ref, dest, settings)
    modes = (_FILE_MODE, _FOLDER_MODE) if settings is None else (settings.file_mode, settings.folder_mode)
    folder = Path(where)
    files: list[Path] = []
    try:
        for snapshot in selection.snapshots:
            files += _export(replace(selection, snapshots=(snapshot,)), snapshot, folder, modes)
    except OSError as error:
        place = error.filename or folder
        raise DestinationError(f"Could not write {place}: {error.strerror or error}.") from error
    return Exported(tuple(files), selection.unreadable)


def _export(selection: Selection, snapshot: Snapshot, folder: Path, modes: tuple[int, int]) -> list[Path]:
    date = f"{parse_snapshot_id(snapshot.id):%Y-%m-%d}"
    files = []
    with Database() as database:
        views = (items_view(selection.operation), targets_view(selection.operation))
        database.load(selection, [each.name for each in views])
        for view in views:
            path = folder / view.name / f"date={date}" / f"{snapshot.id}.parquet"
            make_folders(path.parent, modes[1])
            _write(database, view, path, modes[0])
            files.append(path)
    return files


def _write(database: Database, view: View, path: Path, mode: int) -> None:
    """Write a view into the file `path`, which it is once it is whole."""
    columns = ", ".join(
        f'"{each.name}"::VARCHAR AS "{each.name}"' if each.type is ColumnType.JSON else f'"{each.name}"'
        for each in view.columns
    )
    with name_beside(path) as made:
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
        made.chmod(mode)
        # DuckDB takes a path that begins with ~ or file: for another.
        to = literal(str(made.absolute()))
        # A temporary file of DuckDB's own would have a mode and a name of its own.
        options = "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false"
        database.run(f'COPY (SELECT {columns} FROM "{view.name}") TO {to} ({options})')
        with made.open("rb") as file:
            sync_file(file.fileno())
        made.replace(path)
    sync_folder(path.parent)
