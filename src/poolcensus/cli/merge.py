"""`poolcensus merge`."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli import logs
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import settings_options
from poolcensus.cli.reading import KEYS, reading_settings
from poolcensus.cli.running import run
from poolcensus.cli.trouble import complain, on_terminal
from poolcensus.snapshot.merge import merge

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.snapshot import Snapshot


@click.command(
    name="merge",
    cls=Command,
    examples=(
        ("Join the shards of a run, each from its destination", "poolcensus merge shards/* --dest snapshots"),
        (
            "The same in a bucket",
            "poolcensus merge s3://bucket/shards/1 s3://bucket/shards/2 --dest s3://bucket/census",
        ),
    ),
)
@click.argument("parts", metavar="PART...", nargs=-1, required=True)
@settings_options(*KEYS, "compress")
def command(parts: tuple[str, ...], config: Path | None, **given: object) -> int:
    """Join the shards of one run into one snapshot.

    PART is a snapshot of a shard (its folder, s3://BUCKET/PREFIX/ID, or an ID at --dest), or a destination,
    of which the latest snapshot is taken. Nothing is published unless they are all the shards of one run,
    each once, with the same list of accounts. The parts stay as they are. Exits with 3 where some targets
    are not covered.
    """
    settings = reading_settings(config, given)
    snapshot = run(partial(merge, parts, settings.dest, settings=settings))
    _report(snapshot)
    if settings.json_output:
        from poolcensus.cli.output import write_line
        from poolcensus.format.manifest import manifest_object

        write_line(manifest_object(snapshot.manifest))
    return ExitCode.UNCOVERED if snapshot.manifest.failed else ExitCode.OK


def _report(snapshot: Snapshot) -> None:
    manifest = snapshot.manifest
    if on_terminal(sys.stderr) and not logs.is_json():
        from poolcensus.cli.summaries import manifest_summary
        from poolcensus.cli.tables import console, put

        with suppress(OSError):
            put(console(stderr=True), *manifest_summary(manifest, snapshot.location))
    if manifest.failed:
        complain(
            f"Published partial snapshot {manifest.snapshot_id} at {snapshot.location}:"
            f" {manifest.totals.covered:,} of {manifest.totals.targets:,} targets covered. Run"
            f" 'poolcensus show --failures {manifest.snapshot_id}' to see why."
        )
