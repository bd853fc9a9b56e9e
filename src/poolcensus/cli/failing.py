"""Failures as text: a row for each account and cause, then how to fix each cause."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from poolcensus.analysis.account_failures import failures_by_account
from poolcensus.analysis.causes import remedy_of, without_remedies
from poolcensus.analysis.coverage import Coverage
from poolcensus.analysis.listing import ALL, FAILURE_KEYS, sorted_rows
from poolcensus.cli.asked import not_asked
from poolcensus.cli.summaries import sentences
from poolcensus.cli.tables import console, failure_table, put
from poolcensus.cli.trouble import failures, with_options
from poolcensus.format.text import counted
from poolcensus.operations import operation_named
from poolcensus.results.expected_failures import KnownGaps
from poolcensus.results.failure_tally import FailureTally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from poolcensus.analysis.listing import Choice, SortKey
    from poolcensus.model import FailureGroup, Manifest, TargetResult
    from poolcensus.snapshot import Snapshot
    from poolcensus.snapshot.refused import RefusedRun


def put_failures(run: Snapshot | RefusedRun, choice: Choice, sort: Sequence[SortKey]) -> Coverage:
    """Print the selected failures, then how to fix them, then which selected places were not asked.

    Return what the ledger says about the selected accounts and regions.
    """
    manifest = run.manifest
    coverage = Coverage(choice, manifest)
    results = [each for each in coverage.failed(run.targets()) if choice.takes_result(each)]
    operation = operation_named(manifest.operation.name)
    rows = sorted_rows(failures_by_account(results, operation, manifest.known_gaps), FAILURE_KEYS, sort)
    unasked = [*not_asked(coverage)]
    if not rows:
        totals = manifest.totals
        covered = f"No failures: {totals.covered:,} of {counted(totals.targets, 'target')} covered."
        if coverage.is_asked:
            click.echo(covered if choice == ALL else "No failures match.")
        put(console(), sentences(unasked))
        return coverage
    screen = console()
    groups = _groups(results, manifest)
    remedies = [remedy_of(each) for each in groups]
    # The remedies follow the table, so they are removed from its messages.
    shown = [replace(each, message=without_remedies(each.message or "", remedies)) for each in rows]
    put(
        screen,
        failure_table(
            shown,
            all_regions=not screen.is_terminal,
            with_organization=bool(manifest.organizations),
        ),
    )
    _put_groups(groups)
    gaps = KnownGaps(manifest.known_gaps)
    if known := sum(gaps.take(each) for each in results):
        line = with_options(f"{counted(known, 'target')} failed as `known_gaps` expects.")
        put(screen, "", sentences([line]))
    if unasked:
        put(screen, "", sentences(unasked))
    return coverage


def put_causes(uncovered: Iterable[TargetResult], manifest: Manifest) -> None:
    """Print an empty line, then a sentence for each cause: its first accounts, and how to fix it.

    Failures that a known gap expects are left out.
    """
    _put_groups(_groups(uncovered, manifest))


def _groups(uncovered: Iterable[TargetResult], manifest: Manifest) -> tuple[FailureGroup, ...]:
    operation = operation_named(manifest.operation.name)
    gaps = KnownGaps(manifest.known_gaps)
    return FailureTally(operation, (each for each in uncovered if not gaps.take(each))).groups()


def _put_groups(groups: Iterable[FailureGroup]) -> None:
    lines = [with_options(each) for each in failures(groups)]
    if lines:
        put(console(), "", sentences(lines))
