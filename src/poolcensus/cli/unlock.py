"""`poolcensus unlock`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, reading_settings
from poolcensus.cli.running import run
from poolcensus.format.text import printable
from poolcensus.snapshot import unlock

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.config import Settings
    from poolcensus.snapshot import LockHolder


@click.command(
    name="unlock",
    cls=Command,
    examples=(("Remove the lock of a run that is dead", "poolcensus unlock --dest s3://bucket/prefix"),),
)
@settings_options(*KEYS)
def command(config: Path | None, **given: object) -> int:
    """Remove the lock of a run that is known to be dead, and say whose it was.

    The lock of a run that ended on this host, or into a bucket more than two minutes ago, needs no help. This
    is for what hangs, for a client of a network file system that died, and for who can't wait. Where the run
    was alive after all, it ends with an error and publishes nothing. Nothing but the lock is removed. Exits
    with 11 where the lock names a process of this host that is still running, or was renewed meanwhile.
    """
    settings = reading_settings(config, given)
    _print(settings, run(partial(unlock, settings.dest, settings=settings)))
    return ExitCode.OK


def _print(settings: Settings, holder: LockHolder | None) -> None:
    if settings.json_output:
        from poolcensus.cli.output import unlock_object, write_line

        write_line(unlock_object(settings.dest, holder))
    elif holder is None:
        click.echo(f'Destination "{printable(settings.dest)}" is not locked.')
    else:
        whose = printable(holder.in_brackets) or ", which did not say whose it was"
        click.echo(f'Removed the lock of destination "{printable(settings.dest)}"{whose}.')
