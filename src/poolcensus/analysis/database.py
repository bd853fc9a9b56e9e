"""An in-memory DuckDB with views over the files of snapshots. It can read no other files."""

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

# Bytes. This is enough to group millions of pools in memory. DuckDB writes what takes more to the private
# folder, so that a query leaves memory for a census on the same machine.
_MOST_MEMORY: Final = 2 << 30
# How many rows are converted to Python values at a time.
_ROWS: Final = 2000
# DuckDB's messages have one of these if a line of a file is not JSON, has other types or is too long.
_OF_A_FILE: Final = ('JSON in file "', 'error in file "', 'while reading file "')


class Database:
    """An in-memory DuckDB and the private folder that it spills to. A `with` block removes both at its end.

    Raises `MissingExtraError` if DuckDB is not installed, `FatalError` if it can't be loaded, and
    `DestinationError` if the folder can't be made or used.
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
                    # Otherwise DuckDB would also look for tables among Python's variables.
                    "python_enable_replacements": "false",
                    "temp_directory": str(self.staging.folder / "spilled"),
                },
            )
            # The times in snapshots are in UTC. This makes now() comparable with them.
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
        """Create the views of snapshots that are named in `views`. A view of the same name is replaced.

        Raises `SnapshotError` or `DestinationError` if a file can't be read or fetched.
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
        """Forbid SQL to change settings, and to read files other than those that are loaded."""
        paths = ", ".join(literal(each) for each in self.staging.real_paths())
        self.connection.execute(f"SET allowed_paths = [{paths}]")
        self.connection.execute(f"SET allowed_directories = [{literal(str(self.staging.folder))}]")
        self.connection.execute("SET enable_external_access = false")
        self.connection.execute("SET lock_configuration = true")

    def run(self, sql: str, lines_before: int = 0, prepare: Callable[[], None] | None = None) -> None:
        """Run a statement, and check that the files it read are whole.

        If a file had to be repaired for the statement, it is run a second time. `prepare` is called before
        each run. `lines_before` is the number of lines in `sql` before the user's own SQL.

        Raises `QueryError` if DuckDB can't run it, and `DestinationError` if DuckDB has no room. Raises
        `SnapshotError` if a file is not what its manifest says, even if DuckDB accepts the file.
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
        """Yield the rows of a SELECT from a table of the database.

        Raises `QueryError` if DuckDB can't run it, and `DestinationError` if it has no room.
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
        """Write the rows of a SELECT as Parquet to `made`, an existing file that will be renamed to `path`.

        Raises what `run` raises. If the file can't be written, the message names `path`.
        """
        # DuckDB expands paths that begin with ~ or file:, and takes none that is not UTF-8. A link avoids
        # both.
        link = self.staging.folder / f"written-{path.name}"

        def place() -> None:
            # If a run fails, DuckDB removes the link itself.
            link.unlink(missing_ok=True)
            link.symlink_to(made.absolute())

        # DuckDB's own temporary file would have another mode and another name.
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
        # The private folder is gone when a person reads this. DuckDB's further lines say how to ignore
        # damage.
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
            # DuckDB wraps an exception that a signal handler raises.
            if error.__cause__ is not None:
                raise error.__cause__ from None
            raise


def _reason(said: str) -> str:
    """Return REASON from a message of DuckDB such as `IO Error: … file "PATH": REASON`."""
    return said.rpartition('": ')[2].rstrip(".")


def _physical_memory() -> int:
    with suppress(ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 2 * _MOST_MEMORY
