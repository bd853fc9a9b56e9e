"""SQL over the snapshots of a destination."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from poolcensus.analysis.database import Database
from poolcensus.analysis.named import named_query
from poolcensus.analysis.selection import Selection, select_all, select_one
from poolcensus.analysis.statement import parse
from poolcensus.analysis.views import literal, views_of
from poolcensus.config import Settings
from poolcensus.errors import SettingsError
from poolcensus.format.codec import loads
from poolcensus.model import ColumnType, JsonValue
from poolcensus.storage.naming import LATEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    Value: TypeAlias = "JsonValue | datetime | date"

_RESULT: Final = "result"
_INTEGERS: Final = [
    f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
]
_TYPES: Final = {
    **dict.fromkeys(_INTEGERS, ColumnType.INTEGER),
    "BOOLEAN": ColumnType.BOOLEAN,
    "DATE": ColumnType.DATE,
    "DOUBLE": ColumnType.NUMBER,
    "FLOAT": ColumnType.NUMBER,
    "JSON": ColumnType.JSON,
    "TIMESTAMP": ColumnType.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": ColumnType.TIMESTAMP,
    "TIMESTAMP_MS": ColumnType.TIMESTAMP,
    "TIMESTAMP_NS": ColumnType.TIMESTAMP,
    "TIMESTAMP_S": ColumnType.TIMESTAMP,
}


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of the rows of a query."""

    name: str
    type: ColumnType


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

    A value is what its column's type says: text, an int, a float, a bool, a `datetime` in UTC, a `date`, the
    value of a JSON text, or None for NULL. What has no such type in Python is the text that DuckDB gives it.
    """

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._selection = selection
        described = database.connection.execute(f"DESCRIBE {_RESULT}").fetchall()
        columns = [(str(name), str(kind)) for name, kind, *_ in described]
        self._columns = tuple(ResultColumn(name, _type_of(kind)) for name, kind in columns)
        self._select = ", ".join(_readable(name, kind) for name, kind in columns)

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
        readers = [_READERS.get(each.type, _as_it_is) for each in self._columns]
        for row in self._database.rows(f"SELECT {self._select} FROM {_RESULT}"):
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


def _type_of(kind: str) -> ColumnType:
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return ColumnType.JSON
    if kind.startswith("DECIMAL"):
        return ColumnType.NUMBER
    return _TYPES.get(kind, ColumnType.TEXT)


def _readable(name: str, kind: str) -> str:
    """Return the expression for a column in one of the types that are read."""
    quoted = name.replace('"', '""')
    column = f'"{quoted}"'
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {column})"
    found = _type_of(kind)
    if found is ColumnType.JSON and kind != "JSON":
        return f"to_json({column})"
    if found is ColumnType.INTEGER or kind == found.value:
        return column
    return f"{column}::{found.value}"


def _as_it_is(value: Value) -> Value:
    return value


def _time(value: Value) -> Value:
    # DuckDB gives a text where the year is none of Python's.
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _json(value: Value) -> Value:
    try:
        return loads(value.encode()) if isinstance(value, str) else value
    except ValueError:
        # DuckDB's JSON has Infinity and NaN.
        return value


_READERS: Mapping[ColumnType, Callable[[Value], Value]] = {
    ColumnType.TIMESTAMP: _time,
    ColumnType.JSON: _json,
}
