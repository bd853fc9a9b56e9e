"""`poolcensus diff`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from poolcensus.analysis.diff import diff
from poolcensus.cli.command import Command
from poolcensus.cli.completing import snapshots
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, dated_ahead, reading_settings
from poolcensus.cli.trouble import complain
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from poolcensus.analysis.diff import Diff
    from poolcensus.model import OperationInfo

# Allows one wrong letter in five. PoolType, which the service may add, must not be taken for PoolName.
_CLOSE = 0.8


@click.command(
    name="diff",
    cls=Command,
    examples=(
        ("The latest snapshot against the one before", "poolcensus diff"),
        (
            "Pools that were removed between the newest snapshot and the seventh before it",
            "poolcensus diff latest~7 latest --json | jq -c 'select(.change == \"removed\")'",
        ),
    ),
)
@click.argument("a", default="latest~1", metavar="[A]", shell_complete=snapshots)
@click.argument("b", default="latest", metavar="[B]", shell_complete=snapshots)
@settings_options(*KEYS)
@click.option(
    "--ignore",
    metavar="FIELD,...",
    multiple=True,
    help=(
        "Fields of a pool not to compare; '' compares all."
        f"  [may be repeated; default: {','.join(WORKSPACES_POOLS.facets.volatile)}]"
    ),
)
@click.option(
    "--exit-code",
    is_flag=True,
    help="Exit with 1 where anything differs or is unknown, but for known gaps of both.",
)
def command(
    a: str, b: str, config: Path | None, *, ignore: tuple[str, ...], exit_code: bool, **given: object
) -> int:
    """Compare two snapshots: pools added, removed, changed, and targets where it is unknown.

    A and B are each a path, a snapshot ID or the beginning of one, latest or latest~N. By default A is
    latest~1 and B is latest.

    What became of pools is unknown in a target that A or B did not cover. It is never called removed.
    """
    settings = reading_settings(config, given)
    compared = [Snapshot.open(ref, settings.dest, settings=settings) for ref in (a, b)]
    now = datetime.now(UTC)
    complain(*dated_ahead(sorted({each.id for each in compared if each.info.moment.is_ahead(now)})))
    fields = [part for each in ignore for name in each.split(",") if (part := name.strip())]
    _check_fields(fields, compared[0].manifest.operation)
    found = diff(*compared, ignore=fields if ignore else None)
    if settings.json_output:
        _write(found)
    else:
        from poolcensus.cli.differences import put_differences

        put_differences(found, *compared)
    complain(*found.warnings)
    return ExitCode.FOUND if exit_code and found.statistics.found else ExitCode.OK


def _check_fields(given: Iterable[str], operation: OperationInfo) -> None:
    """Raise `UsageError` for a name that resembles a known field. Other unknown names are accepted.

    The service may have more fields than this version knows.
    """
    from poolcensus.format.text import did_you_mean, nearest
    from poolcensus.operations import fields_of

    known = {each.keys[0].casefold(): each.keys[0] for each in fields_of(operation)}
    for name in given:
        # A user may write a field like the column of a query, with underscores.
        alike = nearest(name.casefold().replace("_", ""), known, cutoff=_CLOSE, beginnings=False)
        if alike is not None and name not in known.values():
            hint = did_you_mean(known[alike])
            raise click.UsageError(f'--ignore: a {operation.item} has no field "{name}".{hint}')


def _write(found: Diff) -> None:
    from poolcensus.analysis.changes import change_object, statistics_object
    from poolcensus.cli.output import write_line

    for change in found:
        write_line(change_object(change))
    write_line(statistics_object(found.statistics))
