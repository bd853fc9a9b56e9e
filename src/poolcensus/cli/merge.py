"""`poolcensus merge`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from poolcensus.cli.command import Command
from poolcensus.cli.options import settings_options
from poolcensus.cli.publishing import (
    code_of_snapshot,
    run_to_publish,
    scope_lines,
    show_summary,
    standing,
    write_manifest,
)
from poolcensus.cli.reading import KEYS, reading_settings
from poolcensus.cli.trouble import complain, hidden_items, notice, partial_snapshot
from poolcensus.snapshot.merging import Merging

if TYPE_CHECKING:
    from pathlib import Path


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
    merging = Merging(parts, settings.dest, settings)
    snapshot, _ = run_to_publish(merging.run, lambda: merging.published)
    manifest = snapshot.manifest
    with standing(manifest):
        notice(
            *hidden_items(merging.hidden, manifest.operation),
            *scope_lines(snapshot, merging.before, settings),
        )
    with standing(manifest):
        show_summary(manifest, snapshot.location)
        if manifest.failed:
            complain(partial_snapshot(manifest, snapshot.location, settings.dest))
    if settings.json_output:
        with standing(manifest):
            write_manifest(manifest)
    return code_of_snapshot(manifest)
