"""`poolcensus collect`."""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli import logs
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode, StoppedError, code_of, drop_output
from poolcensus.cli.notify import Ending, notify
from poolcensus.cli.options import EVERYTHING, read_settings, settings_options
from poolcensus.cli.running import ending_with, run
from poolcensus.cli.trouble import closures, complain, failures, on_terminal, outdated_gaps
from poolcensus.config.sources import settings_file
from poolcensus.errors import CensusError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from pathlib import Path

    from poolcensus.census import Census
    from poolcensus.config import Settings
    from poolcensus.model import FailureGroup, Manifest
    from poolcensus.snapshot import Snapshot

# https://github.com/prometheus/node_exporter#textfile-collector
METRICS_SUFFIX = ".prom"


@click.command(
    name="collect",
    cls=Command,
    examples=(
        ("Take the census of the Organization", "poolcensus collect --dest snapshots"),
        (
            "Some accounts and regions, into a bucket",
            "poolcensus collect --dest s3://bucket/prefix --ou ou-ab12-34cd56ef --regions 'eu-*'",
        ),
        (
            "At most an hour, and only if 2% or less failed",
            "poolcensus collect --deadline 1h --max-failed 2%",
        ),
    ),
)
@settings_options(*EVERYTHING)
def command(config: Path | None, **given: object) -> int:
    """Take the census and publish a snapshot.

    Asks every active account of the caller's organization, in every region that has WorkSpaces, for its
    pools. Exits with 3 where some targets could not be covered; the snapshot's ledger says which and why.
    """
    settings = read_settings(config, given)
    logs.configure(settings, settings_file(config))
    if settings.json_output and settings.dest == "-":
        message = "--json and a destination of - both want standard output: leave one out"
        raise SettingsError(message)
    snapshot, groups = collect(settings)
    with _standing(snapshot.manifest):
        _report(snapshot, groups, settings)
    return _code(snapshot.manifest)


def collect(
    settings: Settings,
) -> tuple[Snapshot, tuple[FailureGroup, ...]]:
    """Take one census, with its progress shown and its metrics written. Return what failed in it, too."""
    from poolcensus.census import Census

    census = Census(settings)
    logs.of_run(lambda: census.run_id)
    manifest: Manifest | None = None
    failure: Exception | None = None
    stopped = False
    code = int(ExitCode.FATAL)
    try:
        snapshot, stopped = _run(census, settings)
        manifest = snapshot.manifest
        code = _code(manifest)
    except (CensusError, StoppedError, OSError) as error:
        code, failure, stopped = code_of(error), error, isinstance(error, StoppedError)
        if census.resumable:
            complain("Progress saved. Run the same command with --resume to continue.")
        raise
    finally:
        with _standing(manifest):
            complain(*closures(census.closed), *_scope_change(census), *_outdated(census, manifest))
            _write_metrics(settings.metrics_file, code, census, manifest)
            notify(settings, census, Ending(code, manifest, failure, stopped=stopped))
    return snapshot, census.failures


def _run(census: Census, settings: Settings) -> tuple[Snapshot, bool]:
    """Return what was published, and whether a signal came meanwhile."""
    from poolcensus.cli.progress import shown

    display = shown(census.progress, settings.progress)

    def decided() -> int | None:
        published = census.published
        return None if published is None else _code(published.manifest)

    try:
        return run(partial(_collect, census, display), decided), False
    except (StoppedError, CensusError, OSError) as error:
        snapshot = census.published
        if snapshot is None:
            raise
        stopped = isinstance(error, StoppedError)
        what = "when the signal came" if stopped else f"before this: {error}"
        complain(f"snapshot {snapshot.manifest.snapshot_id} was published {what}")
        return snapshot, stopped


def _standing(manifest: Manifest | None) -> AbstractContextManager[None]:
    """Have a signal in the block change nothing about what was published, nor about the exit code."""
    if manifest is None:
        return nullcontext()
    return ending_with(_code(manifest), f"snapshot {manifest.snapshot_id} was published when the signal came")


async def _collect(census: Census, display: AbstractAsyncContextManager[None]) -> Snapshot:
    async with census, display:
        return await census.collect()


def _scope_change(census: Census) -> Iterator[str]:
    """Yield a line where what was published was asked to cover something else than the snapshot before."""
    from poolcensus.snapshot import Scope

    published, before = census.published, census.before
    if published is None or before is None:
        return
    if (change := Scope.of(published.manifest).difference(before.scope)) is not None:
        yield change


def _outdated(census: Census, manifest: Manifest | None) -> Iterator[str]:
    # A run that ended early has not seen every target.
    return outdated_gaps(census.outdated_gaps) if manifest is not None else iter(())


def _code(manifest: Manifest) -> int:
    return ExitCode.UNCOVERED if manifest.failed else ExitCode.OK


def _report(
    snapshot: Snapshot,
    groups: tuple[FailureGroup, ...],
    settings: Settings,
) -> None:
    manifest = snapshot.manifest
    where = None if settings.dest == "-" else snapshot.location
    if on_terminal(sys.stderr) and not logs.is_json():
        from poolcensus.cli.summaries import manifest_summary
        from poolcensus.cli.tables import console, put

        with suppress(OSError):
            put(console(stderr=True), *manifest_summary(manifest, where))
    if manifest.failed:
        totals = manifest.totals
        complain(*failures(groups))
        at = "" if where is None else f" at {where}"
        complain(
            f"Published partial snapshot {manifest.snapshot_id}{at}: {totals.covered:,} of {totals.targets:,}"
            " targets covered."
        )
    if settings.json_output:
        from poolcensus.cli.output import write_line
        from poolcensus.format.manifest import manifest_object

        try:
            write_line(manifest_object(manifest))
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError as error:
            # The snapshot is published whatever becomes of the report: its code stands.
            drop_output()
            if not isinstance(error, BrokenPipeError):
                complain(f"Could not write to standard output: {error.strerror or error}.")


def _write_metrics(file: Path | None, code: int, census: Census, manifest: Manifest | None) -> None:
    if file is None:
        return
    from poolcensus.cli.metrics import write_metrics

    try:
        write_metrics(file, exit_code=code, progress=census.progress(), manifest=manifest)
    except OSError as error:
        complain(f"Could not write the metrics to {file}: {error.strerror or error}.")
        return
    if file.suffix != METRICS_SUFFIX and file.is_file():
        logs.warning(
            "The name of the metrics file %s does not end in %s. node_exporter's textfile collector reads no"
            " other.",
            file,
            METRICS_SUFFIX,
        )
