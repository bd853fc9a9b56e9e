"""`poolcensus query`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolcensus.cli.command import Command
from poolcensus.cli.completing import queries, snapshots, words
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import check_output_file, settings_options
from poolcensus.cli.reading import KEYS, code_of_reading, dated_ahead, reading_settings
from poolcensus.cli.running import signals_raised
from poolcensus.cli.trouble import complain, on_terminal
from poolcensus.storage.naming import LATEST, STANDARD_OUTPUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from poolcensus.analysis.query import Rows
    from poolcensus.analysis.views import View
    from poolcensus.cli.rows import Table
    from poolcensus.config import Settings

_FORMATS = ("table", "json", "csv", "parquet")
_OF_A_TABLE = ("", ".txt")
_SUFFIXES = {".json": "json", ".ndjson": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
_STANDARD_INPUT = "-"
_CHUNK = 1 << 20


def _refuse_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    # The other commands have --json. Here it would be a second way to choose one of four formats. If a file
    # or the environment sets `json`, that is the default format.
    if value and not ctx.resilient_parsing:
        raise click.UsageError("query has no --json: give --format json")


@click.command(
    name="query",
    cls=Command,
    extra="query",
    examples=(
        (
            "Pools by region",
            "poolcensus query 'SELECT region, count(*) AS pools FROM pools GROUP BY ALL'",
        ),
        (
            "A query that comes with the program, into a file",
            "poolcensus query --named idle-pools --format csv --output idle.csv",
        ),
    ),
)
@click.argument("sql", required=False, metavar="[SQL]")
@settings_options(*(key for key in KEYS if key != "json"))
@click.option(
    "--snapshot",
    "ref",
    metavar="SNAPSHOT",
    shell_complete=snapshots,
    help="Read this snapshot.  [default: latest]",
)
@click.option("--all", "every", is_flag=True, help="Read every snapshot at the destination.")
@click.option(
    "--named",
    metavar="NAME",
    shell_complete=words(queries),
    help="Run a query that comes with the program.",
)
@click.option(
    "--json",
    is_flag=True,
    hidden=True,
    expose_value=False,
    callback=_refuse_json,
    help="Refused, with the option that is meant.",
)
@click.option("--list", "listed", is_flag=True, help="List the queries that come with the program.")
@click.option("--schema", is_flag=True, help="List the views and their columns.")
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS, case_sensitive=False),
    help="How to print the rows; json is NDJSON, parquet needs --output.  [default: by the name of --output,"
    " else table]",
)
@click.option(
    "--output",
    metavar="FILE",
    shell_complete=words((), "file"),
    help="Write the rows to this file; - is standard output.",
)
def command(
    sql: str | None,
    config: Path | None,
    *,
    ref: str | None,
    every: bool,
    named: str | None,
    listed: bool,
    schema: bool,
    form: str | None,
    output: str | None,
    **given: object,
) -> int:
    """Run SQL over one snapshot or all of them.

    SQL is one SELECT for DuckDB over the views pools, targets, snapshots and changes; "-" reads it from
    standard input. SNAPSHOT is a path, a snapshot ID, latest or latest~N.

    Exits with 2 where the SQL can't be run, and with 1 where a snapshot is damaged; no row is printed then.
    With --all, a snapshot whose manifest can't be read is named and left out, and the exit code is 1, too.
    """
    settings = reading_settings(config, given)
    file: Path | None = None
    if output is not None and output != STANDARD_OUTPUT:
        check_output_file(output)
        file = Path(output)
    chosen = form or ("json" if file is None and settings.json_output else _form_of(file))
    if listed or schema:
        _check_listing(chosen, sql, named, ref, every=every, both=listed and schema)
        _put(_listing(chosen, file, is_schema=schema), file, settings)
        return ExitCode.OK
    if chosen == "parquet" and file is None:
        _check_parquet(output)
    if every and ref is not None:
        raise click.UsageError("--snapshot and --all exclude each other")
    run = _runner_of(sql, named, ref, every=every)
    with signals_raised(), run(settings.dest, settings=settings) as rows:
        pieces = _chunks(rows.parquet()) if chosen == "parquet" else _pieces(rows, chosen, file)
        _put(pieces, file, settings)
        complain(*dated_ahead(rows.ahead, left_out=True))
        return code_of_reading(rows.unreadable)


def _form_of(output: Path | None) -> str:
    """Return the format that belongs to a file's suffix. Raises UsageError for an unknown suffix."""
    suffix = output.suffix.lower() if output is not None else ""
    if suffix in _OF_A_TABLE:
        return "table"
    if suffix not in _SUFFIXES:
        message = f'--output: "{output}" ends in none of {", ".join(_SUFFIXES)}. Give --format as well'
        raise click.UsageError(message)
    return _SUFFIXES[suffix]


def _runner_of(sql: str | None, named: str | None, ref: str | None, *, every: bool) -> Callable[..., Rows]:
    from poolcensus.analysis.query import query, query_named

    if (sql is None) == (named is None):
        message = "Give the SQL, or --named NAME" if sql is None else "SQL and --named exclude each other"
        raise click.UsageError(message)
    if named is not None:
        return partial(query_named, named, ref=ref, every=every)
    text = _standard_input() if sql == _STANDARD_INPUT else sql or ""
    wanted = LATEST if ref is None else ref
    return partial(query, text, ref=None if every else wanted)


def _standard_input() -> str:
    try:
        if sys.stdin is not None:
            return sys.stdin.read()
    except UnicodeDecodeError as error:
        message = "Standard input is not text in UTF-8"
        raise click.UsageError(message) from error
    raise click.UsageError("Standard input is closed")


def _pieces(rows: Table, form: str, output: Path | None) -> Iterator[bytes]:
    from poolcensus.cli.rows import csv_pieces, json_pieces, table_pieces

    for_terminal = output is None and on_terminal(sys.stdout)
    match form:
        case "json":
            return json_pieces(rows, for_terminal=for_terminal)
        case "csv":
            return csv_pieces(rows, for_terminal=for_terminal)
        case _:
            return table_pieces(rows, _width() if output is None else None)


def _width() -> int | None:
    """Return the width of the terminal, or None without a terminal."""
    if not on_terminal(sys.stdout):
        return None
    from poolcensus.cli.tables import console

    return console().width


def _put(pieces: Iterable[bytes], output: Path | None, settings: Settings) -> None:
    if output is None:
        for each in pieces:
            click.echo(each, nl=False)
        return
    from poolcensus.storage.output import output_file

    with output_file(output, settings.file_mode) as file:
        for each in pieces:
            file.write(each)


def _check_parquet(output: str | None) -> None:
    """Raise `UsageError` without an --output, or if Parquet would go to a terminal."""
    if output is None:
        raise click.UsageError("--format parquet needs --output FILE")
    if on_terminal(sys.stdout):
        message = "--format parquet can't go to a terminal: name a file with --output, or redirect the output"
        raise click.UsageError(message)


def _chunks(made: Path) -> Iterator[bytes]:
    with made.open("rb") as source:
        while chunk := source.read(_CHUNK):
            yield chunk


def _check_listing(
    form: str, sql: str | None, named: str | None, ref: str | None, *, every: bool, both: bool
) -> None:
    """Raise `UsageError` for options that --list or --schema would ignore."""
    if both:
        raise click.UsageError("--list and --schema exclude each other")
    if sql is not None or named is not None or ref is not None or every:
        message = "--list and --schema read no snapshot: leave out SQL, --named, --snapshot and --all"
        raise click.UsageError(message)
    if form == "parquet":
        raise click.UsageError("--list and --schema can be table, json or csv, not parquet")


def _listing(form: str, output: Path | None, *, is_schema: bool) -> Iterator[bytes]:
    from poolcensus.cli.rows import TextTable

    if is_schema and form == "table":
        return _schema_tables(_width() if output is None else None)
    if not is_schema:
        from poolcensus.analysis.named import named_queries

        queries = [(each.name, each.description) for each in named_queries()]
        names = ("Name", "Shows") if form == "table" else ("name", "shows")
        return _pieces(TextTable(names, queries), form, output)
    columns = [
        (view.name, each.name, each.type.value, each.description)
        for view in _views()
        for each in view.columns
    ]
    return _pieces(TextTable(("view", "column", "type", "holds"), columns), form, output)


def _schema_tables(width: int | None) -> Iterator[bytes]:
    from poolcensus.cli.uncut import uncut_table

    for number, view in enumerate(_views()):
        yield f"{chr(10) if number else ''}{view.name}: {view.description}\n".encode()
        rows = [[each.name, each.type.value, each.description] for each in view.columns]
        yield uncut_table(["Column", "Type", "Holds"], [False] * 3, rows, width).encode()


def _views() -> Iterable[View]:
    from poolcensus.analysis.views import views_of
    from poolcensus.operations import WORKSPACES_POOLS

    return views_of(WORKSPACES_POOLS.info)
