"""`poolcensus prune`."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli import logs
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, dated_ahead, reading_settings
from poolcensus.cli.running import run
from poolcensus.cli.trouble import complain, on_terminal
from poolcensus.cli.usage import count
from poolcensus.format.text import counted
from poolcensus.snapshot.pruning import prune
from poolcensus.snapshot.retention import Keep, Reason
from poolcensus.storage.naming import no_snapshots

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.snapshot.pruning import Pruning


@click.command(
    name="prune",
    cls=Command,
    examples=(
        ("See what would be removed", "poolcensus prune --keep-last 7 --keep-daily 30 --dry-run"),
        ("Remove it", "poolcensus prune --keep-last 7 --keep-daily 30"),
    ),
)
@settings_options(*KEYS)
@click.option("--keep-last", metavar="N", type=count, help="Keep the N newest snapshots of each scope.")
@click.option(
    "--keep-daily",
    metavar="N",
    type=count,
    help="Keep one snapshot of each of the last N days, in UTC, that have one, for each scope.",
)
@click.option(
    "--keep-monthly",
    metavar="N",
    type=count,
    help="Keep one snapshot of each of the last N months, in UTC, that have one, for each scope.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and remove nothing.")
def command(
    config: Path | None,
    keep_last: int | None,
    keep_daily: int | None,
    keep_monthly: int | None,
    dry_run: bool,
    **given: object,
) -> int:
    """Remove the snapshots that no rule keeps.

    At least one --keep rule is needed; a snapshot that any of them keeps is kept. A rule compares snapshots
    of the same request only, its scope, and of the same operation and partition; of a day or a month it keeps
    the newest complete one, or the newest where none is complete. The newest complete snapshot of each scope,
    the latest one, those that are dated in the future and those that can't be read always stay. Exits with 1
    where a snapshot could not be removed.
    """
    if keep_last is keep_daily is keep_monthly is None:
        message = "Specify at least one of --keep-last, --keep-daily or --keep-monthly."
        raise click.UsageError(message)
    settings = reading_settings(config, given)
    keep = Keep(keep_last, keep_daily, keep_monthly)
    pruning = run(partial(prune, settings.dest, keep, dry_run=dry_run, settings=settings))
    # Before the rows: their reader may close standard output.
    complain(*(f"left alone: {why}" for why in pruning.unreadable.values()))
    complain(*dated_ahead([each.snapshot_id for each in pruning.decisions if Reason.FUTURE in each.reasons]))
    complain(*pruning.failures.values())
    _print(pruning, settings, shown=dry_run or on_terminal(sys.stdout))
    if pruning.failures:
        left = f"{counted(len(pruning.failures), 'snapshot')} could not be removed"
        logs.exit_error(ExitCode.FATAL, left)
        return ExitCode.FATAL
    return ExitCode.OK


def _print(pruning: Pruning, settings: Settings, *, shown: bool) -> None:
    if settings.json_output:
        from poolcensus.cli.output import decision_object, write_line

        for each in pruning.decisions:
            write_line(decision_object(each, pruning.failures.get(each.snapshot_id)))
    elif shown and pruning.decisions:
        from poolcensus.cli.tables import console, decision_table, put

        put(console(), decision_table(pruning.decisions))
    elif shown:
        complain(no_snapshots(settings.dest))
