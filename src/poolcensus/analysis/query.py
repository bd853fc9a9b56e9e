"""Runs SQL queries over the snapshots at a destination."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self

from poolcensus.analysis.database import Database
from poolcensus.analysis.named import named_query
from poolcensus.analysis.result_values import ResultColumn, reading_of
from poolcensus.analysis.selection import Selection, select_all, select_one
from poolcensus.analysis.statement import parse
from poolcensus.analysis.views import literal, views_of
from poolcensus.config import Settings
from poolcensus.errors import SettingsError
from poolcensus.storage.naming import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from poolcensus.analysis.result_values import Value

_RESULT: Final = "result"


def query(
    sql: str,
    dest: str | os.PathLike[str] = ".",
    *,
    ref: str | os.PathLike[str] | None = LATEST,
    newer_than: timedelta | None = None,
    settings: Settings | None = None,
) -> Rows:
    """Return the rows of a SELECT in DuckDB's SQL over one snapshot, or over all snapshots at `dest`.

    `ref` is a snapshot as for `Snapshot.open`, or None for all snapshots. With None, `newer_than` restricts
    them to those that ended less than this time ago. The views are `pools`, `targets`, `snapshots` and
    `changes`. 'poolcensus query --schema' lists their columns. Only files of views that the SQL names are
    read. Each file is read to its end and compared with its digest before a row is returned. `settings` say
    how to reach S3 (see `Snapshot.open`). Files in S3 are fetched into a private folder.

    The rows are in an in-memory database that spills to a private folder: use the result in a `with` block.

    Raises `QueryError` if the SQL can't be run or is not a SELECT, `SnapshotError` if a snapshot can't be
    read or is damaged, and `MissingExtraError` if DuckDB is not installed. Blocks: in an event loop, use a
    worker thread.
    """
    database = Database()
    try:
        if ref is None:
            selection = select_all(dest, settings, newer_than=newer_than)
        else:
            selection = select_one(ref, dest, settings)
        names = [each.name for each in views_of(selection.operation)]
        statement = parse(database.connection, sql, names)
        database.load(selection, statement.views)
        database.lock()
        # DESCRIBE is a query only in parentheses, which must not contain a semicolon.
        body = f"FROM (\n{sql.rstrip().rstrip(';')}\n)" if statement.is_description else f"\n{sql}"
        database.run(f"CREATE TABLE {_RESULT} AS {body}", lines_before=1)
        return Rows(database, selection)
    except BaseException:
        database.close()
        raise


def query_named(
    name: str,
    dest: str | os.PathLike[str] = ".",
    *,
    ref: str | os.PathLike[str] | None = None,
    every: bool = False,
    settings: Settings | None = None,
) -> Rows:
    """Return the rows of one of `named_queries`, over the snapshots at `dest` that it is meant for.

    `ref` chooses one snapshot instead, as for `Snapshot.open`. `every` chooses all of them. For `settings`,
    see `query`. Raises what `query` raises, and `SettingsError` if there is no query of this name, or if
    `every` is given for a query over one snapshot.
    """
    found = named_query(name)
    if every and ref is not None:
        raise SettingsError("`ref` and `every` exclude each other")
    if every and not found.reads_all:
        # The query would count a pool once for each snapshot.
        raise SettingsError(f"{name} is over one snapshot: leave out `every`")
    newer_than = None
    if ref is None and not found.reads_all:
        ref = LATEST
    elif ref is None and not every:
        newer_than = found.newer_than
    return query(found.sql, dest, ref=ref, newer_than=newer_than, settings=settings)


class Rows:
    """The rows of a query, as an iterable of tuples. A `with` block frees their memory and files at its end.

    The type of a value depends on its column: a str, an int, a float, a `Decimal`, a bool, a `datetime` in
    UTC, a `date`, the parsed value of JSON, or None for NULL. Lists, structs and maps are lists and
    dictionaries, and a DECIMAL in them is a `Decimal`, too. A value of any other type is DuckDB's text for
    it.
    """

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._selection = selection
        result = database.connection.table(_RESULT)
        self._readings = tuple(map(reading_of, result.columns, result.types))
        self._columns = tuple(each.column for each in self._readings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def columns(self) -> tuple[ResultColumn, ...]:
        """The columns. Their names are unique."""
        return self._columns

    @property
    def unreadable(self) -> Mapping[str, str]:
        """The snapshots that were asked for, but not read, by ID, each with the reason."""
        return self._selection.unreadable

    @property
    def ahead(self) -> tuple[str, ...]:
        """The IDs of the snapshots that are left out because they are dated in the future."""
        return self._selection.ahead

    @property
    def snapshots(self) -> tuple[str, ...]:
        """The IDs of the snapshots that were read, the oldest first."""
        return tuple(each.id for each in self._selection.snapshots)

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        select = ", ".join(each.select for each in self._readings)
        readers = [each.read for each in self._readings]
        for row in self._database.rows(f"SELECT {select} FROM {_RESULT}"):
            yield tuple(
                None if value is None else read(value) for read, value in zip(readers, row, strict=True)
            )

    def __len__(self) -> int:
        found = self._database.connection.execute(f"SELECT count(*) FROM {_RESULT}").fetchone()
        return int(found[0]) if found else 0

    def parquet(self) -> Path:
        """Write the rows to a Parquet file, and return its path.

        The file exists until the rows are closed.
        """
        path = self._database.staging.folder / "result.parquet"
        self._database.run(f"COPY {_RESULT} TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
        return path

    def close(self) -> None:
        """Free the memory and files of the rows. May be called more than once."""
        self._database.close()
