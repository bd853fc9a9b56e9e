"""A DuckDB in memory, with views over the files of snapshots, that reads these and nothing else."""

from __future__ import annotations

import os
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final, Self

from poolcensus.analysis.staging import Staging
from poolcensus.analysis.statement import wording
from poolcensus.analysis.views import (
    CHANGES,
    CHANGES_VIEW,
    SNAPSHOTS,
    TARGETS,
    items_sql,
    literal,
    snapshots_view,
    table_sql,
    targets_sql,
)
from poolcensus.errors import DamagedSnapshotError, DestinationError, QueryError
from poolcensus.extras import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path
    from types import TracebackType

    import duckdb

    from poolcensus.analysis.result_values import Value
    from poolcensus.analysis.selection import Selection

# Enough to group millions of pools in memory. What takes more goes to the private folder, so that a query
# leaves the memory of the machine to a census that runs beside it.
_MOST_MEMORY: Final = 2 << 30
# Rows that are turned into Python's values at a time.
_ROWS: Final = 2000
# In what DuckDB says of a line of a file: that it is no JSON, or of other types, or too long.
_OF_A_FILE: Final = ('JSON in file "', 'error in file "', 'while reading file "')


class Database:
    """A DuckDB in memory and the private folder that it spills to. Leaving it removes both.

    Raises `MissingExtraError` without DuckDB, `FatalError` where that can't be loaded, and `DestinationError`
    where the folder can't be made or used.
    """

    def __init__(self) -> None:
        with loading("DuckDB", "duckdb", extra="query"):
            import duckdb  # noqa: PLC0415 - an extra, and 60 ms
        self._duckdb = duckdb
        self.staging = Staging()
        try:
            self.connection = duckdb.connect(
                ":memory:",
                config={
                    "allow_unsigned_extensions": "false",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                    "memory_limit": f"{min(_MOST_MEMORY, _physical_memory() // 2)}B",
                    # It would look up the names of tables among the variables of Python.
                    "python_enable_replacements": "false",
                    "temp_directory": str(self.staging.folder / "spilled"),
                },
            )
            # Times in snapshots are in UTC, and those of the machine are asked for by now().
            self.connection.execute("SET TimeZone = 'UTC'")
        except UnicodeEncodeError as error:
            place = self.staging.folder.parent
            self.staging.close()
            raise DestinationError(
                f"DuckDB can't use the temporary folder {place}: it is not UTF-8. Set TMPDIR to another."
            ) from error
        except BaseException:
            self.staging.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and remove the folder. May be called twice."""
        self.connection.close()
        self.staging.close()

    def load(self, selection: Selection, views: Collection[str]) -> None:
        """Make those of `views` that there are over the snapshots, replacing views that are there.

        Raises `SnapshotError` or `DestinationError` where a file can't be had.
        """
        snapshots, operation = selection.snapshots, selection.operation
        folder = self.staging.folder
        made: dict[str, str] = {}
        if operation.items in views:
            items = self.staging.add(snapshots, lambda each: each.pools_file)
            made[operation.items] = items_sql(operation, items)
        if TARGETS in views:
            targets = self.staging.add(snapshots, lambda each: each.targets_file)
            made[TARGETS] = targets_sql(operation, targets)
        if SNAPSHOTS in views:
            from poolcensus.analysis.tables import write_snapshots  # noqa: PLC0415 - only where it is asked for

            write_snapshots(folder / "snapshots.ndjson", snapshots)
            made[SNAPSHOTS] = table_sql(snapshots_view(operation), folder / "snapshots.ndjson")
        if CHANGES in views:
            from poolcensus.analysis.tables import write_changes  # noqa: PLC0415 - only where it is asked for

            write_changes(folder / "changes.ndjson", selection.find_pairs())
            made[CHANGES] = table_sql(CHANGES_VIEW, folder / "changes.ndjson")
        for name, sql in made.items():
            self.run(f'CREATE OR REPLACE VIEW "{name}" AS {sql}')

    def lock(self) -> None:
        """Let nobody change a setting, or reach a file but those that are loaded, from now on."""
        paths = ", ".join(literal(each) for each in self.staging.real_paths())
        self.connection.execute(f"SET allowed_paths = [{paths}]")
        self.connection.execute(f"SET allowed_directories = [{literal(str(self.staging.folder))}]")
        self.connection.execute("SET enable_external_access = false")
        self.connection.execute("SET lock_configuration = true")

    def run(self, sql: str, lines_before: int = 0, prepare: Callable[[], None] | None = None) -> None:
        """Run a statement over whole files, once more where a file had to be repaired for it.

        `lines_before` are those that stand before the user's own SQL. `prepare` is called before each run.

        Raises `QueryError` where DuckDB can't, and `SnapshotError` where a file is not what its manifest
        says, whatever DuckDB made of it.
        """
        try:
            self._run(sql, prepare)
        except self._duckdb.InvalidInputException as error:
            self.staging.check()
            if not any(sign in str(error) for sign in _OF_A_FILE):
                raise QueryError(wording(error, lines_before)) from error
            if not self.staging.repair():
                raise DamagedSnapshotError(self._damage(error)) from error
            try:
                self._run(sql, prepare)
            except (self._duckdb.IOException, self._duckdb.OutOfMemoryException) as second:
                raise self._no_room(second) from second
            except self._duckdb.Error as second:
                raise QueryError(wording(second, lines_before)) from second
        except (self._duckdb.IOException, self._duckdb.OutOfMemoryException) as error:
            self.staging.check()
            self.staging.check_presence()
            raise self._no_room(error) from error
        except self._duckdb.Error as error:
            self.staging.check()
            raise QueryError(wording(error, lines_before)) from error
        self.staging.check()

    def rows(self, select: str) -> Iterator[tuple[Value, ...]]:
        """Yield the rows of a SELECT over a table that was made.

        Raises `QueryError` where DuckDB can't, and `DestinationError` where it has no room.
        """
        try:
            with closing(self.connection.cursor()) as cursor:
                cursor.execute(select)
                while rows := cursor.fetchmany(_ROWS):
                    yield from rows
        except (self._duckdb.IOException, self._duckdb.OutOfMemoryException) as error:
            raise self._no_room(error) from error
        except self._duckdb.Error as error:
            raise QueryError(wording(error)) from error

    def copy(self, select: str, made: Path, path: Path) -> None:
        """Write the rows of a SELECT as Parquet into the file `made`, which is there and is to be `path`.

        Raises what `run` does, and names `path` where the file can't be written.
        """
        # DuckDB takes a path that begins with ~ or file: for another, and none that is not UTF-8.
        link = self.staging.folder / f"written-{path.name}"

        def place() -> None:
            # Where a run fails, DuckDB removes what it was to write.
            link.unlink(missing_ok=True)
            link.symlink_to(made.absolute())

        # A temporary file of DuckDB's own would have a mode and a name of its own.
        options = "FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false"
        try:
            self.run(f"COPY ({select}) TO {literal(str(link))} ({options})", prepare=place)
        except DestinationError as error:
            cause = str(error.__cause__).partition("\n")[0]
            if str(link) not in cause:
                raise
            raise DestinationError(f"Could not write {path}: {_reason(cause)}.") from error
        finally:
            link.unlink(missing_ok=True)

    def _damage(self, error: duckdb.Error) -> str:
        # The folder is gone when this is read. Behind the first line DuckDB says how to pass over damage.
        first = str(error).partition("\n")[0].replace(f"{self.staging.folder}{os.sep}", "")
        return f"a snapshot holds what can't be read: {first}; the snapshot is damaged"

    def _no_room(self, error: duckdb.Error) -> DestinationError:
        # What follows the first line names settings that a query can't change.
        first = str(error).partition("\n")[0].rstrip(".")
        place = self.staging.folder.parent
        if isinstance(error, self._duckdb.IOException):
            return DestinationError(
                f"Could not write to the temporary folder {place}: {_reason(first)}. Set TMPDIR to a folder"
                " that has room."
            )
        return DestinationError(
            f"DuckDB has no room: {first}. What does not fit into its memory goes to {place}: set TMPDIR to a"
            " folder that has room."
        )

    def _run(self, sql: str, prepare: Callable[[], None] | None) -> None:
        if prepare is not None:
            prepare()
        try:
            self.connection.execute(sql)
        except RuntimeError as error:
            # What DuckDB makes of an exception of a signal's handler.
            if error.__cause__ is not None:
                raise error.__cause__ from None
            raise


def _reason(said: str) -> str:
    """Return why a file can't be written, of what DuckDB says: `IO Error: … file "PATH": REASON`."""
    return said.rpartition('": ')[2].rstrip(".")


def _physical_memory() -> int:
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 2 * _MOST_MEMORY
