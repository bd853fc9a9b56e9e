"""`poolcensus snapshots`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, listed, reading_settings

if TYPE_CHECKING:
    from pathlib import Path


@click.command(name="snapshots")
@settings_options(*KEYS)
def command(config: Path | None, **given: object) -> int:
    """List the snapshots at a destination, the newest last."""
    settings = reading_settings(config, given)
    found = listed(settings)
    if settings.json_output:
        from poolcensus.cli.output import info_object, write_line

        write_line([info_object(each) for each in found])
    elif found:
        from poolcensus.cli.tables import console, put, snapshot_table

        put(console(), snapshot_table(found))
    else:
        click.echo(f"poolcensus: there are no snapshots in {settings.dest}", err=True)
    return ExitCode.OK
