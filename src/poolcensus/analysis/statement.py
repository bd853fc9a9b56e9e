"""Checks that the SQL of a query is one SELECT that reads only the views of the snapshots.

DuckDB's own parser parses the SQL. Other tables, and functions that read anything else, are refused before
anything runs. In addition, the connection is locked: see `database`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

from poolcensus.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import duckdb

    from poolcensus.model import JsonObject, JsonValue

# The table functions that only make rows from their arguments. All others read files, other databases or the
# state of the connection, or change it.
_TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "json_each", "json_tree", "range", "repeat", "unnest"}
)
_ONE_SELECT: Final = "query takes one SELECT statement"


@dataclass(frozen=True, slots=True)
class Statement:
    """A SELECT statement, as the names of the views that it reads."""

    views: frozenset[str]
    is_description: bool = False
    """Whether it is a DESCRIBE or a SUMMARIZE."""


def parse(connection: duckdb.DuckDBPyConnection, sql: str, views: Collection[str]) -> Statement:
    """Parse and check `sql`.

    Raises `QueryError` if it is not exactly one SELECT, or if it reads anything but `views` and its own
    subqueries.
    """
    # DuckDB accepts only UTF-8, and stops reading at a NUL.
    if "\0" in sql or any("\ud800" <= sign <= "\udfff" for sign in sql):
        raise QueryError("The SQL is not text in UTF-8, or it holds a NUL.")
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone() or ("{}",)
    try:
        # This needs a deeper limit than the parser for snapshots has: a sum of 100 terms has 200 levels.
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise QueryError("The SQL is nested too deeply.") from error
    if parsed.get("error"):
        raise QueryError(_mistake(connection, sql))
    statements = parsed.get("statements")
    if not isinstance(statements, list) or len(statements) != 1:
        count = len(statements) if isinstance(statements, list) else 0
        raise QueryError(f"{_ONE_SELECT}; this is {'none' if not count else f'{count:,} statements'}.")
    nodes = [*_nodes(statements[0])]
    for each in nodes:
        if each.get("type") == "TABLE_FUNCTION":
            _check_function(each)
    own = {name.lower() for each in nodes for name in _subqueries(each)}
    known = {name.lower() for name in views}
    named = {name for each in nodes if each.get("type") == "BASE_TABLE" for name in _table(each)}
    for name in sorted(named):
        if name.lower() not in known | own:
            raise QueryError(f'There is no view "{name}". {_views(views)}')
    shown = [each for each in nodes if each.get("type") == "SHOW_REF"]
    if any(each.get("query") is None for each in shown):
        raise QueryError("SHOW is not available. Run 'poolcensus query --schema' to list the views.")
    return Statement(frozenset(name.lower() for name in named) & known, bool(shown))


def _views(views: Collection[str]) -> str:
    *most, last = views
    return (
        f"The views are {', '.join(most)} and {last}; 'poolcensus query --schema' lists their columns, and no"
        " file can be read."
    )


def _check_function(node: JsonObject) -> None:
    function = node.get("function")
    name = function.get("function_name") if isinstance(function, dict) else None
    if name not in _TABLE_FUNCTIONS:
        raise QueryError(
            f"{name}() is not available: a query reads the views of the snapshots, and no file, database or"
            " setting."
        )


def _mistake(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return what is wrong with SQL that is not a SELECT: its syntax error, or which statement it is."""
    import duckdb  # noqa: PLC0415 - an extra

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        return wording(error)
    # DuckDB replaces a PRAGMA with a SELECT.
    kinds = [
        "PRAGMA" if each.type.name == "SELECT" and each.query not in sql else each.type.name
        for each in statements
    ]
    if "MULTI" in kinds or {"CREATE", "SELECT"} <= {*kinds}:
        return f"{_ONE_SELECT}. Name the values of PIVOT, as in: PIVOT pools ON state IN ('RUNNING')"
    return (
        f"{_ONE_SELECT}, and can't change or read anything but the snapshots; this is {' and '.join(kinds)}."
    )


def wording(error: duckdb.Error, lines_before: int = 0) -> str:
    """Return DuckDB's message without empty lines. `lines_before` is subtracted from its line numbers."""
    found = [line.rstrip() for line in str(error).splitlines() if line.strip()]
    for number, line in enumerate(found):
        head, colon, rest = line.partition(": ")
        at = head.removeprefix("LINE ")
        if lines_before and head.startswith("LINE ") and colon and at.isdecimal():
            counted = f"LINE {int(at) - lines_before}"
            found[number] = f"{counted}: {rest}"
            # Shift the caret on the next line by as much, so that it stays under its column.
            if number + 1 < len(found):
                found[number + 1] = found[number + 1][len(head) - len(counted) :]
    return "\n".join(found)


def _nodes(value: JsonValue) -> Iterator[JsonObject]:
    """Yield every object of a parsed statement."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def _subqueries(node: JsonObject) -> Iterator[str]:
    """Yield the names that the WITH clause of this node defines."""
    named = node.get("cte_map")
    entries = named.get("map") if isinstance(named, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and isinstance(name := entry.get("key"), str):
            yield name


def _table(node: JsonObject) -> Iterator[str]:
    """Yield the name of a table, with its catalog and its schema if it has them."""
    parts = [node.get(key) for key in ("catalog_name", "schema_name", "table_name")]
    name = ".".join(part for part in parts if isinstance(part, str) and part)
    if name:
        yield name
