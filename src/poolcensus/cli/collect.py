"""`poolcensus collect`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from poolcensus.cli import logs
from poolcensus.cli.command import Command
from poolcensus.cli.exits import ExitCode, StoppedError, code_of
from poolcensus.cli.options import EVERYTHING, read_settings, settings_options
from poolcensus.cli.places import both_on_standard_output
from poolcensus.cli.publishing import (
    code_of_snapshot,
    run_to_publish,
    scope_lines,
    show_summary,
    standing,
    write_manifest,
)
from poolcensus.cli.trouble import complain, failures, hidden_items, notice, outdated_gaps, partial_snapshot
from poolcensus.config.sources import settings_file
from poolcensus.errors import CensusError, SettingsError, reason_of
from poolcensus.paths import is_file
from poolcensus.storage.naming import STANDARD_OUTPUT, in_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager
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

    Asks every active account of the caller's Organization, in every region that has WorkSpaces, for its
    pools. Exits with 3 where some targets could not be covered; the snapshot's ledger says which and why.
    """
    settings = read_settings(config, given)
    logs.configure(settings, settings_file(config))
    if settings.json_output and settings.dest == STANDARD_OUTPUT:
        raise SettingsError(both_on_standard_output("a destination of -"))
    if settings.metrics_file is not None and (wrong := in_snapshot(settings.metrics_file)) is not None:
        raise SettingsError(f"`metrics_file`: {wrong}.")
    snapshot, groups = collect(settings)
    with standing(snapshot.manifest):
        _report(snapshot, groups, settings)
    if settings.json_output:
        with standing(snapshot.manifest):
            write_manifest(snapshot.manifest)
    return code_of_snapshot(snapshot.manifest)


def collect(settings: Settings, *, can_resume: bool = True) -> tuple[Snapshot, tuple[FailureGroup, ...]]:
    """Take one census, show its progress and write its metrics. Return the snapshot and its failures.

    `can_resume` says whether the command has --resume, which continues an interrupted run.
    """
    from poolcensus.census import Census

    census = Census(settings)
    logs.of_run(lambda: census.run_id)
    manifest: Manifest | None = None
    failure: BaseException | None = None
    stopped = False
    code = int(ExitCode.FATAL)
    try:
        snapshot, stopped = _run(census, settings)
        manifest = snapshot.manifest
        code = code_of_snapshot(manifest)
    except (CensusError, StoppedError, OSError) as error:
        code, failure, stopped = code_of(error), error, isinstance(error, StoppedError)
        if census.resumable and can_resume:
            error.add_note("Progress saved. Run the same command with --resume to continue.")
        raise
    finally:
        with standing(manifest):
            notice(
                *hidden_items(census.hidden, census.operation.info),
                *scope_lines(census.published, census.before, settings),
                *_outdated(census, manifest),
            )
        # In blocks of their own: a defect in one must not prevent the others.
        with standing(manifest):
            _write_metrics(settings.metrics_file, code, census, manifest)
        with standing(manifest):
            _notify(settings, census, manifest, code=code, failure=failure, stopped=stopped)
    return snapshot, census.failures


def _run(census: Census, settings: Settings) -> tuple[Snapshot, bool]:
    """Return the published snapshot, and whether a signal arrived after it was published."""
    from poolcensus.cli.progress import shown

    display = shown(census.progress, settings.progress)
    return run_to_publish(partial(_collect, census, display), lambda: census.published)


async def _collect(census: Census, display: AbstractAsyncContextManager[None]) -> Snapshot:
    async with census, display:
        return await census.collect()


def _outdated(census: Census, manifest: Manifest | None) -> Iterator[str]:
    # Only for a run that published: one that ended early has not seen every target.
    return outdated_gaps(census.outdated_gaps) if manifest is not None else iter(())


def _report(
    snapshot: Snapshot,
    groups: tuple[FailureGroup, ...],
    settings: Settings,
) -> None:
    manifest = snapshot.manifest
    where = None if settings.dest == STANDARD_OUTPUT else snapshot.location
    show_summary(manifest, where)
    if manifest.failed:
        complain(*failures(groups), partial_snapshot(manifest, where, settings.dest))


def _notify(
    settings: Settings,
    census: Census,
    manifest: Manifest | None,
    *,
    code: int,
    failure: BaseException | None,
    stopped: bool,
) -> None:
    command = settings.notify_command
    if command is None:
        return
    from poolcensus.cli.notify import Ending, notify

    notify(command, settings, census, Ending(code, manifest, failure, stopped=stopped))


def _write_metrics(file: Path | None, code: int, census: Census, manifest: Manifest | None) -> None:
    if file is None:
        return
    from poolcensus.cli.metrics import write_metrics

    try:
        write_metrics(file, exit_code=code, progress=census.progress(), manifest=manifest)
    except OSError as error:
        complain(f"Could not write the metrics to {file}: {reason_of(error)}.")
        return
    if file.suffix != METRICS_SUFFIX and is_file(file):
        logs.warning(
            "The name of the metrics file %s does not end in %s. node_exporter's textfile collector reads no"
            " other.",
            file,
            METRICS_SUFFIX,
        )
