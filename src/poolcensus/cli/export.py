"""`poolcensus export`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from poolcensus.cli.command import Command
from poolcensus.cli.completing import snapshots, words
from poolcensus.cli.options import check_no_bucket, check_outside_snapshots, settings_options
from poolcensus.cli.reading import KEYS, code_of_reading, dated_ahead, reading_settings
from poolcensus.cli.running import signals_raised
from poolcensus.cli.trouble import complain, on_terminal
from poolcensus.format.text import counted, printable
from poolcensus.paths import exists, is_folder
from poolcensus.storage.naming import LATEST


@click.command(
    name="export",
    cls=Command,
    extra="query",
    examples=(
        ("The newest snapshot", "poolcensus export --output parquet"),
        (
            "All of them, for Athena",
            "poolcensus export --all --output parquet && aws s3 sync parquet s3://BUCKET/PREFIX",
        ),
    ),
)
@click.argument("ref", required=False, metavar="[SNAPSHOT]", shell_complete=snapshots)
@settings_options(*KEYS)
@click.option("--all", "every", is_flag=True, help="Export every snapshot at the destination.")
@click.option(
    "--output",
    metavar="DIR",
    required=True,
    shell_complete=words((), "dir"),
    help="Write the files into this folder.",
)
def command(ref: str | None, config: Path | None, *, every: bool, output: str, **given: object) -> int:
    """Write snapshots as Parquet files, partitioned by date.

    SNAPSHOT is a path, a snapshot ID, latest (the default) or latest~N. It becomes
    pools/date=YYYY-MM-DD/ID.parquet and targets/date=YYYY-MM-DD/ID.parquet, in place of those that an
    export before has written.

    Exits with 1 where a snapshot is damaged or, with --all, where one can't be read; the others are exported
    then.
    """
    from poolcensus.analysis.export import export

    _check_folder(output)
    settings = reading_settings(config, given)
    if every and ref is not None:
        raise click.UsageError("SNAPSHOT and --all exclude each other")
    wanted = LATEST if ref is None else ref
    with signals_raised():
        done = export(output, settings.dest, ref=None if every else wanted, settings=settings)
    if settings.json_output:
        from poolcensus.cli.output import write_line

        for each in done.files:
            write_line({"file": str(each), "bytes": each.stat().st_size})
    elif on_terminal(sys.stdout):
        click.echo(f"{counted(len(done.files), 'file')} written to {printable(output)}")
    complain(*dated_ahead(done.ahead, left_out=True))
    return code_of_reading(done.unreadable)


def _check_folder(output: str) -> None:
    """Raise `UsageError` if --output can't be a folder, before any work is done."""
    if not output:
        raise click.UsageError("--output needs the name of a folder")
    check_no_bucket(output, folder=True)
    # A Path drops the final slash, with which a file would seem not to exist.
    path = Path(output)
    if exists(path) and not is_folder(path):
        raise click.UsageError(f"--output: {output} is a file, not a folder")
    check_outside_snapshots(output)
