"""The views that a query reads: their columns with types and descriptions, and their SQL.

The types are fixed here and don't depend on the data. If a field of an item has another type than its column,
the column is NULL. The field is still in the column of the whole item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.format.codec import dumps
from poolcensus.model import ColumnType, Compression, Outcome
from poolcensus.operations import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from poolcensus.model import OperationInfo
    from poolcensus.operations import Field

TARGETS: Final = "targets"
SNAPSHOTS: Final = "snapshots"
CHANGES: Final = "changes"

_TEXT, _INTEGER, _JSON, _TIMESTAMP = (
    ColumnType.TEXT,
    ColumnType.INTEGER,
    ColumnType.JSON,
    ColumnType.TIMESTAMP,
)
# The form of every time in a snapshot, for LIKE. Other texts become NULL: DuckDB would accept "infinity", for
# example.
_RFC_3339: Final = "____-__-__T__:__:__.___Z"


class ViewColumn(NamedTuple):
    """A column of a view.

    `sql` is its expression. By default, it is the column of the same name in the file.
    """

    name: str
    type: ColumnType
    description: str
    sql: str = ""


class View(NamedTuple):
    """A view. `description` says what one row is."""

    name: str
    description: str
    columns: tuple[ViewColumn, ...]


_ACCOUNT: Final = (
    ViewColumn("account_id", _TEXT, "12 digits of the account"),
    ViewColumn("account_name", _TEXT, "name of the account"),
    ViewColumn("organization", _TEXT, "what the settings call its Organization, in a run of several"),
    ViewColumn("ou_path", _TEXT, "place in the Organization, if the run asked for it"),
    ViewColumn("account_tags", _JSON, "tags of the account, if the run asked for them"),
    ViewColumn("region", _TEXT, "region"),
)
_COVERED: Final = ", ".join(f"'{each.value}'" for each in Outcome if each.covered)


def items_view(operation: OperationInfo) -> View:
    """Return the view of the items that an operation lists. For WorkSpaces Pools, it is `pools`."""
    item = operation.item
    return View(
        operation.items,
        f"a {item} in a snapshot",
        (
            ViewColumn("snapshot_id", _TEXT, "ID of the snapshot"),
            ViewColumn("collected_at", _TIMESTAMP, "when the page was received", _time("collected_at")),
            ViewColumn("partition", _TEXT, "partition: aws, aws-cn, aws-us-gov"),
            *_ACCOUNT,
            *(
                ViewColumn(each.name, each.type, each.description, _field(each))
                for each in fields_of(operation)
            ),
            ViewColumn(item, _JSON, f"the whole {item}, as the service answered it"),
        ),
    )


def targets_view(operation: OperationInfo) -> View:
    """Return the view of the ledgers."""
    items = operation.items
    return View(
        TARGETS,
        "an account in a region: a line of the ledger of a snapshot",
        (
            ViewColumn(
                "snapshot_id",
                _TEXT,
                "ID of the snapshot",
                # The folder of the file has the snapshot's ID as its name.
                "regexp_extract(filename, '([^/]+)/[^/]+$', 1)",
            ),
            *_ACCOUNT,
            ViewColumn(
                "operation", _TEXT, "IAM action that was called", f"coalesce(operation, '{operation.name}')"
            ),
            ViewColumn("outcome", _TEXT, "how the target ended"),
            ViewColumn(
                "covered",
                ColumnType.BOOLEAN,
                f"whether the census knows its {items}",
                f"outcome IN ({_COVERED})",
            ),
            ViewColumn(items, _INTEGER, f"number of {items}"),
            ViewColumn("pages", _INTEGER, "pages that were read"),
            ViewColumn("attempts", _INTEGER, "calls that were sent"),
            ViewColumn("throttles", _INTEGER, "calls that were throttled"),
            ViewColumn("seconds", ColumnType.NUMBER, "from the first call to the end"),
            ViewColumn("error_code", _TEXT, "error code of the service"),
            ViewColumn("error_message", _TEXT, "message of the service"),
            ViewColumn("request_id", _TEXT, "request ID of the service"),
        ),
    )


def snapshots_view(operation: OperationInfo) -> View:
    """Return the view of the manifests."""
    items = operation.items
    return View(
        SNAPSHOTS,
        "a snapshot, by its manifest",
        (
            ViewColumn("snapshot_id", _TEXT, "ID of the snapshot"),
            ViewColumn("status", _TEXT, "complete or partial"),
            ViewColumn("started_at", _TIMESTAMP, "start of the run"),
            ViewColumn("finished_at", _TIMESTAMP, "end of the run"),
            ViewColumn("scope", _TEXT, "what the run was asked to cover"),
            ViewColumn("organization_id", _TEXT, "ID of the Organization"),
            ViewColumn("partition", _TEXT, "partition of the caller"),
            ViewColumn("operation", _TEXT, "IAM action that was called"),
            ViewColumn("accounts", _INTEGER, "accounts that were asked"),
            ViewColumn("accounts_skipped", _INTEGER, "accounts that were not"),
            ViewColumn("targets", _INTEGER, "targets that were planned"),
            ViewColumn("covered", _INTEGER, "targets that were covered"),
            ViewColumn(items, _INTEGER, f"{items} that were found"),
            ViewColumn("requests", _INTEGER, "calls to AWS"),
            ViewColumn("retries", _INTEGER, "calls that were retries"),
            ViewColumn("throttles", _INTEGER, "calls that were throttled"),
            ViewColumn("bytes", _INTEGER, "size of the data files"),
            ViewColumn("manifest", _JSON, "the whole manifest"),
        ),
    )


CHANGES_VIEW: Final = View(
    CHANGES,
    "a difference between a snapshot and the one of the same scope before it",
    (
        ViewColumn("snapshot_id", _TEXT, "ID of the snapshot"),
        ViewColumn("snapshot_before", _TEXT, "ID of the one before"),
        ViewColumn("finished_at", _TIMESTAMP, "end of the snapshot's run"),
        ViewColumn("change", _TEXT, "added, removed, changed or unknown"),
        ViewColumn("account_id", _TEXT, "12 digits of the account"),
        ViewColumn("account_name", _TEXT, "name of the account"),
        ViewColumn("region", _TEXT, "region"),
        ViewColumn("pool_id", _TEXT, "ID of the pool; NULL where a whole target is unknown"),
        ViewColumn("fields", _JSON, "each field that differs, with its values before and after"),
        ViewColumn("pool", _JSON, "the pool that was added or removed"),
        ViewColumn("reason", _TEXT, "why the target is unknown"),
        ViewColumn("pools", _JSON, "numbers of its pools before and after, null where not known"),
        ViewColumn(
            "expected",
            ColumnType.BOOLEAN,
            "whether the target is a known gap of both runs",
            "coalesce(expected, false)",
        ),
    ),
)


def views_of(operation: OperationInfo) -> tuple[View, ...]:
    """Return all views over snapshots of an operation."""
    return (items_view(operation), targets_view(operation), snapshots_view(operation), CHANGES_VIEW)


def items_sql(operation: OperationInfo, paths: Sequence[Path]) -> str:
    """Return the SELECT for the view of items over these files."""
    item = operation.item
    fields = fields_of(operation)
    # Fields that a query is likely to read together are parsed together. DuckDB does not parse groups that
    # are unused.
    groups = {_group(each): [other for other in fields if _group(other) == _group(each)] for each in fields}
    picked = ", ".join(
        f'json_transform({item}, {literal(_shape(some))}) AS "{name}"' for name, some in groups.items()
    )
    plain = [each.name for each in _ACCOUNT if each.type is _TEXT]
    types = dict.fromkeys(("snapshot_id", "collected_at", "partition", *plain), _TEXT)
    types |= {"account_tags": _JSON, item: _JSON}
    return _select(items_view(operation).columns, f"(SELECT *, {picked} FROM {_file(types, paths)})")


def targets_sql(operation: OperationInfo, paths: Sequence[Path]) -> str:
    """Return the SELECT for the view of ledgers over these files."""
    columns = targets_view(operation).columns
    types = {each.name: each.type for each in columns if each.name not in {"snapshot_id", "covered"}}
    return _select(columns, _file(types, paths))


def table_sql(view: View, path: Path) -> str:
    """Return the SELECT for a view over a file that has the columns of the view."""
    return _select(view.columns, _file({each.name: each.type for each in view.columns}, [path]))


def _select(columns: Iterable[ViewColumn], source: str) -> str:
    expressions = (f'{each.sql} AS "{each.name}"' if each.sql else f'"{each.name}"' for each in columns)
    return f"SELECT {', '.join(expressions)} FROM {source}"


def _file(types: dict[str, ColumnType], paths: Sequence[Path]) -> str:
    columns = ", ".join(f"{literal(name)}: '{kind.value}'" for name, kind in types.items())
    # The compression is stated because DuckDB would misread it from a path with a "?", as if it were a URL.
    by_compression: dict[str, list[str]] = {}
    for each in paths:
        by_compression.setdefault(_compression_of(each), []).append(literal(str(each)))
    # Hive partitions are off: they would add columns that DuckDB finds in paths.
    sources = (
        f"FROM read_json([{', '.join(files)}], format = 'newline_delimited', columns = {{{columns}}},"
        f" compression = '{compression}', filename = true, hive_partitioning = false)"
        for compression, files in by_compression.items()
    )
    return f"({' UNION ALL '.join(sources)})"


def _compression_of(path: Path) -> str:
    """Return DuckDB's name for the compression of a data file."""
    return {Compression.GZIP.suffix: "gzip", Compression.ZSTD.suffix: "zstd"}.get(path.suffix, "uncompressed")


def literal(text: str) -> str:
    """Return a text as a string literal in SQL."""
    quoted = text.replace("'", "''")
    return f"'{quoted}'"


def _shape(fields: Iterable[Field]) -> str:
    """Return the structure of the fields for DuckDB's json_transform.

    Each field is read as JSON of any type.
    """
    shape: dict[str, object] = {}
    for each in fields:
        level = shape
        for key in each.keys[:-1]:
            level = level.setdefault(key, {})  # type: ignore[assignment] # keys lead through objects alone
        level[each.keys[-1]] = "JSON"
    return dumps(shape).decode()


def _group(field: Field) -> str:
    """Return the name of the structure that a field is parsed into. There is one per object in an item."""
    return "picked " + " ".join(field.keys[:-1])


def _field(field: Field) -> str:
    found = ".".join(f'"{key}"' for key in (_group(field), *field.keys))
    text = f"CASE WHEN starts_with({found}::VARCHAR, '\"') THEN {found} ->> '$' END"
    match field.type:
        case ColumnType.TEXT:
            return text
        case ColumnType.TIMESTAMP:
            return _time(text)
        case ColumnType.INTEGER:
            whole = f"json_type({found}) IN ('BIGINT', 'UBIGINT')"
            return f"TRY_CAST(CASE WHEN {whole} THEN {found}::VARCHAR END AS BIGINT)"
        case ColumnType.NUMBER:
            number = f"json_type({found}) IN ('BIGINT', 'UBIGINT', 'DOUBLE')"
            return f"TRY_CAST(CASE WHEN {number} THEN {found}::VARCHAR END AS DOUBLE)"
        case ColumnType.BOOLEAN:
            return f"TRY_CAST(CASE WHEN json_type({found}) = 'BOOLEAN' THEN {found}::VARCHAR END AS BOOLEAN)"
        case _:
            return found


def _time(text: str) -> str:
    return f"TRY_CAST(CASE WHEN {text} LIKE '{_RFC_3339}' THEN {text} END AS TIMESTAMP)"
