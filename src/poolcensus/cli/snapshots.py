"""`poolcensus snapshots`."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, dated_ahead, reading_settings
from poolcensus.cli.trouble import complain
from poolcensus.cli.wording import counted
from poolcensus.snapshot.inventory import read_inventory
from poolcensus.storage.naming import no_snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poolcensus.snapshot import Inventory

# A line has room for a few.
_IDS_SHOWN = 3


@click.command(name="snapshots")
@settings_options(*KEYS)
def command(config: Path | None, **given: object) -> int:
    """List the snapshots at a destination, with what each was asked to cover.

    The one that was published last, by its manifest, is at the end.
    """
    settings = reading_settings(config, given)
    inventory = read_inventory(settings.dest, settings=settings)
    found = inventory.snapshots
    now = datetime.now(UTC)
    complain(*_unreadable(settings.dest, inventory))
    complain(*dated_ahead([each.id for each in found if each.moment.is_ahead(now)]))
    if settings.json_output:
        from poolcensus.cli.output import info_object, write_line

        write_line([info_object(each, now) for each in found])
    elif found:
        from poolcensus.cli.tables import console, put, snapshot_table

        put(console(), snapshot_table(found))
    else:
        complain(no_snapshots(settings.dest))
    return ExitCode.OK


def _unreadable(dest: str, inventory: Inventory) -> Iterator[str]:
    """Yield a line where there are snapshots that can't be read."""
    ids = sorted(inventory.unreadable)
    if not ids:
        return
    names = ", ".join(ids[:_IDS_SHOWN])
    more = f", and {len(ids) - _IDS_SHOWN:,} more" if len(ids) > _IDS_SHOWN else ""
    again = f"poolcensus verify {ids[0]} --dest {shlex.quote(dest)}"
    yield f"Can't read {counted(len(ids), 'snapshot')}: {names}{more}. Run '{again}' to see why."
