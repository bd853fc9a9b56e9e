"""`poolcensus show`."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import click

from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, dated_ahead, opened, reading_settings
from poolcensus.cli.trouble import complain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from poolcensus.snapshot import Snapshot

# A table's columns are as wide as its rows need: a part at a time keeps a large snapshot out of memory.
ROWS_PER_TABLE = 500

Row = TypeVar("Row")


@click.command(name="show")
@click.argument("ref", default="latest", metavar="[SNAPSHOT]")
@settings_options(*KEYS)
@click.option("--failures", is_flag=True, help="List every target that is not covered, and why.")
@click.option("--pools", is_flag=True, help="List the pools; with --json, one record a line.")
def command(ref: str, config: Path | None, *, failures: bool, pools: bool, **given: object) -> int:
    """Print one snapshot: summary, failures, pools.

    SNAPSHOT is a path, a snapshot id, latest (the default) or latest~N, the N-th before the latest. The
    latest is the one that was published last, by its manifest.
    """
    settings = reading_settings(config, given)
    if settings.json_output and pools and failures:
        message = "with --json, --pools and --failures are different kinds of lines: ask for one of them"
        raise click.UsageError(message)
    with opened(settings, ref, pools=pools) as (snapshot, where):
        complain(*dated_ahead([snapshot.id] if snapshot.info.moment.is_ahead(datetime.now(UTC)) else []))
        if not settings.json_output:
            _print(snapshot, where, failures=failures, pools=pools)
        elif pools:
            _write_pools(snapshot)
        else:
            _write_object(snapshot, where)
    return ExitCode.OK


def _print(snapshot: Snapshot, where: str, *, failures: bool, pools: bool) -> None:
    from poolcensus.cli import tables
    from poolcensus.cli.trouble import failures as failure_lines
    from poolcensus.engine.failures import FailureTally
    from poolcensus.operations import WORKSPACES_POOLS

    screen = tables.console()
    if failures or pools:
        for some in _parts(snapshot.uncovered() if failures else ()):
            tables.put(screen, tables.failure_table(some))
        for records in _parts(snapshot.pools() if pools else ()):
            tables.put(screen, tables.pool_table(records))
        return
    tables.put(screen, *tables.manifest_summary(snapshot.manifest, where))
    if lines := [*failure_lines(FailureTally(WORKSPACES_POOLS, snapshot.uncovered()).groups())]:
        lines.insert(0, "")
    for each in lines:
        tables.put(screen, tables.text(each))


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rest = iter(rows)
    while part := list(islice(rest, ROWS_PER_TABLE)):
        yield part


def _write_pools(snapshot: Snapshot) -> None:
    from poolcensus.cli.output import record_object, write_line

    for record in snapshot.pools():
        write_line(record_object(snapshot.id, record))


def _write_object(snapshot: Snapshot, where: str) -> None:
    from poolcensus.cli.output import manifest_object, result_object, write_line

    write_line(
        {
            "path": where,
            "scope": snapshot.info.scope.summary,
            "manifest": manifest_object(snapshot.manifest),
            "failures": [result_object(each) for each in snapshot.uncovered()],
        }
    )
