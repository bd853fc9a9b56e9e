"""`poolcensus report`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from poolcensus.cli.command import Command
from poolcensus.cli.completing import snapshots, words
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import check_output_file, settings_options
from poolcensus.cli.reading import KEYS, reading_settings, unreadable_lines
from poolcensus.cli.running import signals_raised
from poolcensus.cli.trouble import complain, on_terminal
from poolcensus.format.text import printable
from poolcensus.storage.naming import LATEST, STANDARD_OUTPUT

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    name="report",
    cls=Command,
    extra="report",
    examples=(
        ("The newest snapshot, with those before it as its history", "poolcensus report --output pools.html"),
        (
            "As it stood thirty snapshots ago, from a bucket",
            "poolcensus report latest~30 --dest s3://BUCKET/PREFIX --output pools.html",
        ),
    ),
)
@click.argument("ref", default=LATEST, metavar="[SNAPSHOT]", shell_complete=snapshots)
@settings_options(*(key for key in KEYS if key != "json"))
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    shell_complete=words((), "file"),
    help="Write the page to this file, or to standard output where it is -.",
)
def command(ref: str, config: Path | None, *, output: str, **given: object) -> int:
    """Write an HTML page about a snapshot and those before it.

    SNAPSHOT is a path, a snapshot ID, latest (the default) or latest~N. The page says whether the census is
    whole, what is there, what changed, and what is left to do before the end of support. It needs no other
    file and no network.

    The page names accounts and their pools: only you can read the file.
    """
    from poolcensus.analysis.report import report

    if output != STANDARD_OUTPUT:
        check_output_file(output)
    settings = reading_settings(config, given)
    with signals_raised():
        made = report(ref, settings.dest, settings=settings)
    complain(*unreadable_lines(made.unread))
    if output == STANDARD_OUTPUT:
        click.echo(made.html.encode(), nl=False)
        return ExitCode.OK
    made.write(output, mode=settings.file_mode)
    if on_terminal(sys.stdout):
        click.echo(f"Report on {made.snapshot_id} written to {printable(output)}")
    return ExitCode.OK
