"""`poolcensus show`."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import click

from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, dated_ahead, reading_settings
from poolcensus.cli.trouble import complain
from poolcensus.errors import SnapshotError
from poolcensus.snapshot import Snapshot, refused_run
from poolcensus.storage.naming import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.model import TargetResult
    from poolcensus.snapshot import RefusedRun

# A table's columns are as wide as its rows need: a part at a time keeps a large snapshot out of memory.
ROWS_PER_TABLE = 500

Row = TypeVar("Row")


@click.command(name="show")
@click.argument("ref", required=False, metavar="[SNAPSHOT]")
@settings_options(*KEYS)
@click.option("--failures", is_flag=True, help="List every target that is not covered, and why.")
@click.option("--pools", is_flag=True, help="List the pools; with --json, one record a line.")
def command(ref: str | None, config: Path | None, *, failures: bool, pools: bool, **given: object) -> int:
    """Print one snapshot: summary, failures, pools.

    SNAPSHOT is a path, a snapshot id, latest (the default) or latest~N, the N-th before the latest. The
    latest is the one that was published last, by its manifest.

    A run that was not published, because of --strict or --max-failed, is shown by --failures alone where it
    is the last one, and with its id.
    """
    settings = reading_settings(config, given)
    if settings.json_output and pools and failures:
        message = "with --json, --pools and --failures are different kinds of lines: ask for one of them"
        raise click.UsageError(message)
    only_failures = failures and not pools
    if only_failures and ref is None and _show_refused(settings, None):
        return ExitCode.OK
    try:
        _show(settings, ref or LATEST, failures=failures, pools=pools)
    except SnapshotError:
        if ref is None or not _show_refused(settings, ref, listed=only_failures):
            raise
    return ExitCode.OK


def _show(settings: Settings, ref: str, *, failures: bool, pools: bool) -> None:
    with Snapshot.open(ref, settings.dest, settings=settings) as snapshot:
        complain(*dated_ahead([snapshot.id] if snapshot.info.moment.is_ahead(datetime.now(UTC)) else []))
        if not settings.json_output:
            _print(snapshot, failures=failures, pools=pools)
        elif pools:
            _write_pools(snapshot)
        else:
            _write_object(snapshot)


def _show_refused(settings: Settings, ref: str | None, *, listed: bool = True) -> bool:
    """Print the failures of a run that was not published. Return whether there is such a run."""
    run = refused_run(ref, settings.dest, settings=settings)
    if run is None:
        return False
    why = f"Run {run.id} was not published ({_reason(run)})"
    if not listed:
        place = f" --dest {shlex.quote(settings.dest)}" if ref == run.id else ""
        again = f"poolcensus show {shlex.quote(ref or run.id)} --failures{place}"
        message = f"{why}: only its ledger is kept. Run '{again}' to list its failures."
        raise SnapshotError(message)
    complain(f"{why}; these are its failures.")
    if settings.json_output:
        _write_refused(run)
    else:
        _put_failures(run.uncovered())
    return True


def _reason(run: RefusedRun) -> str:
    setting, _, value = run.reason.partition(" ")
    return f"`{setting}` {value}".rstrip()


def _put_failures(results: Iterable[TargetResult]) -> None:
    from poolcensus.cli import tables

    screen = tables.console()
    for some in _parts(results):
        tables.put(screen, tables.failure_table(some))


def _print(snapshot: Snapshot, *, failures: bool, pools: bool) -> None:
    from poolcensus.cli import tables
    from poolcensus.cli.trouble import failures as failure_lines
    from poolcensus.engine.failures import FailureTally
    from poolcensus.operations import columns_of, operation_named

    screen = tables.console()
    operation = operation_named(snapshot.manifest.operation.name)
    columns = columns_of(snapshot.manifest.operation)
    if failures or pools:
        _put_failures(snapshot.uncovered() if failures else ())
        for records in _parts(snapshot.pools() if pools else ()):
            tables.put(screen, tables.record_table(records, columns))
        return
    tables.put(screen, *tables.manifest_summary(snapshot.manifest, snapshot.location))
    if lines := [*failure_lines(FailureTally(operation, snapshot.uncovered()).groups())]:
        lines.insert(0, "")
    for each in lines:
        tables.put(screen, tables.text(each))


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while part := list(islice(rest, ROWS_PER_TABLE)):
        yield part


def _write_pools(snapshot: Snapshot) -> None:
    from poolcensus.cli.output import write_line

    for record in snapshot.pools():
        write_line(snapshot.schema.record_object(snapshot.id, record))


def _write_object(snapshot: Snapshot) -> None:
    from poolcensus.cli.output import write_line
    from poolcensus.format.schema import manifest_object

    write_line(
        {
            "path": snapshot.location,
            "scope": snapshot.info.scope.summary,
            "manifest": manifest_object(snapshot.manifest),
            "failures": [snapshot.schema.result_object(each) for each in snapshot.uncovered()],
        }
    )


def _write_refused(run: RefusedRun) -> None:
    from poolcensus.cli.output import write_line
    from poolcensus.format.schema import manifest_object

    write_line(
        {
            "refused": run.reason,
            "manifest": manifest_object(run.manifest),
            "failures": [run.schema.result_object(each) for each in run.uncovered()],
        }
    )
