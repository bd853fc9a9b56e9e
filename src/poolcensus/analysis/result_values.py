"""Converts the values of a query from DuckDB to Python, by the type of each column."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from poolcensus.format.codec import loads
from poolcensus.model import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from duckdb.sqltypes import DuckDBPyType

    from poolcensus.model import JsonValue

Exact: TypeAlias = "JsonValue | Decimal | list[Exact] | dict[str, Exact]"
Value: TypeAlias = "Exact | datetime | date"
_Read: TypeAlias = "Callable[[Exact], Exact]"

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

# In the name of a type: a type of numbers with fractions, or, to skip it, anything in quotes, such as the
# name of a field or the value of an ENUM.
_FRACTIONS: Final = re.compile(
    r"""("(?:[^"]|"")*"|'(?:[^']|'')*')|\b(?:FLOAT|DOUBLE|DECIMAL\([0-9]+,[0-9]+\))"""
)

# How deeply a type may be nested. DuckDB itself accepts the name of a type with about 190 levels.
_MOST_LEVELS: Final = 100


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of the rows of a query."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column is read: the SQL expression to select, and the function that converts its values."""

    column: ResultColumn
    select: str
    read: Callable[[Value], Value]


def reading_of(name: str, kind: DuckDBPyType) -> Reading:
    """Return how a column with this DuckDB type is read."""
    column = ResultColumn(name, _type_of(str(kind)))
    quoted = name.replace('"', '""')
    select = f'"{quoted}"'
    is_nested = column.type is ColumnType.JSON and _levels(kind) <= _MOST_LEVELS
    if is_nested and (restore := _restorer(kind)) is not None:
        texts = _FRACTIONS.sub(lambda found: found[1] or "VARCHAR", str(kind))
        return Reading(column, f"to_json({select}::{texts})", partial(_restored, restore))
    return Reading(column, _readable(select, str(kind), column.type), _READERS.get(column.type, _as_it_is))


def _type_of(kind: str) -> ColumnType:
    if kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return ColumnType.JSON
    if kind.startswith("DECIMAL"):
        return ColumnType.DECIMAL
    return _TYPES.get(kind, ColumnType.TEXT)


def _readable(column: str, kind: str, found: ColumnType) -> str:
    """Return an expression for the column that has one of the types that can be read."""
    if kind == "TIMESTAMP WITH TIME ZONE":
        return f"timezone('UTC', {column})"
    if kind == "FLOAT":
        # A plain cast from FLOAT to DOUBLE would turn 0.1 into 0.10000000149011612.
        return f"{column}::VARCHAR::DOUBLE"
    if found is ColumnType.JSON and kind != "JSON":
        return f"to_json({column})"
    if found in {ColumnType.INTEGER, ColumnType.DECIMAL} or kind == found.value:
        return column
    return f"{column}::{found.value}"


def _as_it_is(value: Value) -> Value:
    return value


def _time(value: Value) -> Value:
    # DuckDB returns text if Python's datetime can't hold the year.
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _json(value: Value) -> Value:
    try:
        return loads(value.encode()) if isinstance(value, str) else value
    except ValueError:
        # DuckDB's JSON may contain Infinity and NaN.
        return value


_READERS: Mapping[ColumnType, Callable[[Value], Value]] = {
    ColumnType.TIMESTAMP: _time,
    ColumnType.JSON: _json,
}


def _restorer(kind: DuckDBPyType) -> _Read | None:
    """Return the function that restores a value from JSON in which FLOAT, DOUBLE and DECIMAL are texts.

    Returns None if the type has no such numbers. They are texts because DuckDB's own JSON widens a FLOAT,
    drops the last zeros of a short DECIMAL, and is invalid for a DECIMAL without a digit before the point.
    """
    if kind.id == "decimal":
        return _decimal
    if kind.id in {"float", "double"}:
        return _float
    children = {name: _restorer(child) for name, child in _children(kind)}
    found = {name: read for name, read in children.items() if read is not None}
    if kind.id in {"list", "array"}:
        return partial(_list, found["child"]) if found else None
    if kind.id == "map":
        return partial(_map, found["value"]) if "value" in found else None
    return partial(_struct, found) if found else None


def _children(kind: DuckDBPyType) -> Iterator[tuple[str, DuckDBPyType]]:
    if kind.id in {"list", "array", "map", "struct", "union"}:
        yield from ((name, child) for name, child in kind.children if not isinstance(child, int | list))


def _levels(kind: DuckDBPyType) -> int:
    return 1 + max((_levels(child) for _, child in _children(kind)), default=0)


def _restored(read: _Read, value: Value) -> Value:
    try:
        return read(loads(value.encode())) if isinstance(value, str) else value
    except ValueError:
        # The JSON in it is nested more deeply than the parser for snapshots accepts.
        return value


def _decimal(value: Exact) -> Exact:
    return Decimal(str(value))


def _float(value: Exact) -> Exact:
    return float(str(value))


def _list(read: _Read, value: Exact) -> Exact:
    return [None if each is None else read(each) for each in value] if isinstance(value, list) else value


def _map(read: _Read, value: Exact) -> Exact:
    if not isinstance(value, dict):
        return value
    return {name: None if each is None else read(each) for name, each in value.items()}


def _struct(reads: Mapping[str, _Read], value: Exact) -> Exact:
    if not isinstance(value, dict):
        return value
    return {
        name: each if each is None or name not in reads else reads[name](each) for name, each in value.items()
    }
