"""SQL over the snapshots of a destination."""

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
    """Return the rows of a SELECT in DuckDB's SQL over one snapshot, or over all at `dest`.

    `ref` names the snapshot as `Snapshot.open` takes it; None stands for all, or for those that ended less
    than `newer_than` ago. The views are `pools`, `targets`, `snapshots` and `changes`, whose columns
    'poolcensus query --schema' lists. Only what the SQL names is read. Every file is read once to its end and
    held against its digest before a row is returned. `settings` say how S3 is reached: see `Snapshot.open`;
    what is there is fetched into a private folder.

    The rows are in a database in memory, which spills to a private folder: use it in a `with` block. Raises
    `QueryError` for SQL that can't be run or is no SELECT, `SnapshotError` where a snapshot can't be read or
    is damaged, and `MissingExtraError` without DuckDB. Blocks: in an event loop, use a worker thread.
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
        # DESCRIBE is a query only in parentheses, where no semicolon may stand.
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

    `ref` names another one, as `Snapshot.open` takes it, and `every` takes all of them. Raises what `query`
    raises, and `SettingsError` where there is no query of this name, or it is over one snapshot and `every`
    is given. See `query`, also for `settings`.
    """
    found = named_query(name)
    if every and ref is not None:
        raise SettingsError("`ref` and `every` exclude each other")
    if every and not found.reads_all:
        # It would count a pool once for each snapshot.
        raise SettingsError(f"{name} is over one snapshot: leave out `every`")
    newer_than = None
    if ref is None and not found.reads_all:
        ref = LATEST
    elif ref is None and not every:
        newer_than = found.newer_than
    return query(found.sql, dest, ref=ref, newer_than=newer_than, settings=settings)


class Rows:
    """The rows of a query, as an iterable of tuples. Leaving it frees the memory and files that they take.

    A value is what its column's type says: text, an int, a float, a `Decimal`, a bool, a `datetime` in UTC, a
    `date`, the value of a JSON text, or None for NULL. Lists, structs and maps are lists and dictionaries, in
    which a DECIMAL is a `Decimal` too. What has no such type in Python is the text that DuckDB gives it.
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
        """The columns. No two have one name."""
        return self._columns

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Why snapshots that were asked for are not among those that were read, by id."""
        return self._selection.unreadable

    @property
    def ahead(self) -> tuple[str, ...]:
        """The ids of snapshots that are left out since they are dated in the future."""
        return self._selection.ahead

    @property
    def snapshots(self) -> tuple[str, ...]:
        """The ids of the snapshots that were read, the oldest first."""
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
        """Return the rows as a Parquet file, which is there until the rows are closed."""
        path = self._database.staging.folder / "result.parquet"
        self._database.run(f"COPY {_RESULT} TO {literal(str(path))} (FORMAT parquet, COMPRESSION zstd)")
        return path

    def close(self) -> None:
        """Free what the rows take. May be called twice."""
        self._database.close()
