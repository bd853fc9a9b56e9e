"""`poolcensus snapshots`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, dated_ahead, reading_settings, unreadable_lines
from poolcensus.cli.trouble import complain
from poolcensus.errors import SnapshotError
from poolcensus.snapshot.inventory import read_inventory
from poolcensus.storage.naming import no_snapshots, snapshot_itself

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    name="snapshots",
    cls=Command,
    examples=(
        ("The snapshots in ./snapshots", "poolcensus snapshots"),
        (
            "The IDs of those that are complete",
            "poolcensus snapshots --json | jq -r 'select(.status == \"complete\").snapshot_id'",
        ),
    ),
)
@settings_options(*KEYS)
def command(config: Path | None, **given: object) -> int:
    """List the snapshots at a destination, with what each was asked to cover.

    The one that was published last, by its manifest, is at the end.
    """
    settings = reading_settings(config, given)
    inventory = read_inventory(settings.dest, settings=settings)
    found = inventory.snapshots
    now = datetime.now(UTC)
    complain(*unreadable_lines(inventory.unreadable))
    complain(*dated_ahead([each.id for each in found if each.moment.is_ahead(now)]))
    if not found:
        if not inventory.unreadable:
            if (itself := snapshot_itself(settings.dest)) is not None:
                raise SnapshotError(itself)
            complain(no_snapshots(settings.dest))
    elif settings.json_output:
        from poolcensus.cli.output import info_object, write_line

        for each in found:
            write_line(info_object(each, now))
    else:
        from poolcensus.cli.tables import console, put, snapshot_table

        put(console(), snapshot_table(found))
    return ExitCode.OK
