"""`poolcensus show`."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from poolcensus.analysis.listing import FAILURE_KEYS, Choice, SortKey, check_sort, record_keys
from poolcensus.cli.command import Command
from poolcensus.cli.completing import regions, snapshots, words
from poolcensus.cli.exits import ExitCode
from poolcensus.cli.options import comma_list, settings_options
from poolcensus.cli.reading import KEYS, dated_ahead, reading_settings
from poolcensus.cli.trouble import complain, notice
from poolcensus.errors import SnapshotError
from poolcensus.format.ids import may_begin_id
from poolcensus.model import HIDING, Outcome
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.latest import is_looked_up
from poolcensus.snapshot.refused import refused_run
from poolcensus.storage.naming import LATEST

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.analysis.coverage import Coverage
    from poolcensus.config import Settings
    from poolcensus.snapshot.refused import RefusedRun

_OUTCOMES = tuple(each.value for each in Outcome if not each.covered)

# https://docs.aws.amazon.com/workspaces/latest/api/API_WorkspacesPool.html
_STATES = ("CREATING", "DELETING", "RUNNING", "STARTING", "STOPPED", "STOPPING", "UPDATING")


def _columns() -> list[str]:
    """Return the columns that pools or failures can be sorted by."""
    from poolcensus.operations import WORKSPACES_POOLS

    return [*record_keys(WORKSPACES_POOLS.info), *(each for each in FAILURE_KEYS if each != "account")]


@click.command(
    name="show",
    cls=Command,
    examples=(
        ("The newest snapshot", "poolcensus show"),
        ("What failed, and what would mend it", "poolcensus show --failures"),
        (
            "Running pools with the most sessions, of the snapshot before",
            "poolcensus show latest~1 --pools --state RUNNING --sort -sessions",
        ),
        ("Pools that report errors, and which", "poolcensus show --pools --errors --json | jq .pool.Errors"),
        (
            "The pools of one day as CSV",
            "poolcensus show 20261123 --pools --json | jq -r '[.account_id, .region, .pool.PoolId] | @csv'",
        ),
    ),
)
@click.argument("ref", required=False, metavar="[SNAPSHOT]", shell_complete=snapshots)
@settings_options(*KEYS)
@click.option(
    "--failures", is_flag=True, help="List what failed, by account and cause, and what would mend it."
)
@click.option("--pools", is_flag=True, help="List the pools.")
@comma_list(
    "--account", "ID|NAME,...", "Only rows of these accounts, by ID, name or pattern such as 'prod-*'."
)
@comma_list(
    "--region", "PATTERN,...", "Only rows of these regions, by name or pattern such as eu-*.", regions()
)
@comma_list("--state", "STATE,...", "Only pools in these states, such as RUNNING.", words(_STATES))
@click.option("--errors", "with_errors", is_flag=True, help="Only pools that report errors.")
@comma_list(
    "--outcome", "OUTCOME,...", "Only failures with these outcomes, such as throttled.", words(_OUTCOMES)
)
@comma_list(
    "--sort",
    "[-]COLUMN,...",
    "Sort by these columns, such as -sessions,account; - sorts in descending order.",
    words(_columns),
)
def command(
    ref: str | None,
    config: Path | None,
    *,
    failures: bool,
    pools: bool,
    account: tuple[str, ...],
    region: tuple[str, ...],
    state: tuple[str, ...],
    with_errors: bool,
    outcome: tuple[str, ...],
    sort: tuple[str, ...],
    **given: object,
) -> int:
    """Print one snapshot: summary, failures, pools.

    SNAPSHOT is a path, a snapshot ID or the beginning of one, latest (the default) or latest~N, the N-th
    before the latest. The latest is the one that was published last, by its manifest.

    Rows are sorted by account, region and pool. With --json, --pools prints the records and --failures the
    lines of the ledger, as they are in the snapshot; without either, the summary is one object.

    A run that was not published, because of --strict or --max-failed, is shown by --failures alone where it
    is the last one, and with its ID.
    """
    settings = reading_settings(config, given)
    if settings.json_output and pools and failures:
        message = "with --json, --pools and --failures are different kinds of lines: ask for one of them"
        raise click.UsageError(message)
    if with_errors and not pools:
        raise click.UsageError("--errors chooses pools: add --pools")
    _check_rows(pools=pools, failures=failures, state=state, outcome=outcome, others=(account, region, sort))
    view = _View(
        settings,
        Choice(account, region, state, outcome, with_errors=with_errors),
        tuple(SortKey(each.removeprefix("-"), descending=each.startswith("-")) for each in sort),
    )
    only_failures = failures and not pools
    if only_failures and ref is None and view.show_refused(None):
        return ExitCode.OK
    try:
        view.show(LATEST if ref is None else ref, failures=failures, pools=pools)
    except SnapshotError:
        if ref is None or not view.show_refused(ref, listed=only_failures):
            raise
    return ExitCode.OK


def _check_rows(
    *,
    pools: bool,
    failures: bool,
    state: tuple[str, ...],
    outcome: tuple[str, ...],
    others: tuple[tuple[str, ...], ...],
) -> None:
    """Raise `UsageError` for an option that would have no effect, or could match nothing."""
    if state and not pools:
        raise click.UsageError("--state chooses pools: add --pools")
    if outcome and not failures:
        raise click.UsageError("--outcome chooses failures: add --failures")
    if any(others) and not (pools or failures):
        raise click.UsageError("--account, --region and --sort are for rows: add --pools or --failures")
    for each in outcome:
        if each.casefold() not in _OUTCOMES:
            raise click.UsageError(f'--outcome: "{each}" is not one of {", ".join(_OUTCOMES)}')


class _View:
    """Prints snapshots and refused runs, or selected rows of them."""

    def __init__(self, settings: Settings, choice: Choice, sort: tuple[SortKey, ...]) -> None:
        self._settings = settings
        self._choice = choice
        self._sort = sort

    def show(self, ref: str, *, failures: bool, pools: bool) -> None:
        """Print a snapshot. Raises `SnapshotError`."""
        with Snapshot.open(ref, self._settings.dest, settings=self._settings) as snapshot:
            if failures and pools:
                # Check the columns for both tables now. Otherwise the first would be printed before an error.
                keys = record_keys(snapshot.manifest.operation)
                check_sort(self._sort, [each for each in keys if each in FAILURE_KEYS])
            complain(*dated_ahead([snapshot.id] if snapshot.info.moment.is_ahead(datetime.now(UTC)) else []))
            coverage = self._put_failures(snapshot) if failures else None
            if pools and self._settings.json_output:
                self._write_pools(snapshot, ref)
            elif pools and (coverage is None or coverage.is_asked):
                if coverage is not None:
                    click.echo()
                self._put_pools(snapshot, ref, coverage)
            if not failures and not pools:
                _put_summary(snapshot, as_json=self._settings.json_output)

    def show_refused(self, ref: str | None, *, listed: bool = True) -> bool:
        """Print the failures of a run that was not published. Return whether there is such a run.

        Without `listed`, raise SnapshotError with the command that lists them.
        """
        run = refused_run(ref, self._settings.dest, settings=self._settings)
        if run is None:
            return False
        why = f"Run {run.id} was not published ({_reason(run)})"
        if not listed:
            at_dest = ref is None or run.id.startswith(ref.rstrip("/"))
            place = f" --dest {shlex.quote(self._settings.dest)}" if at_dest else ""
            again = f"poolcensus show {shlex.quote(ref or run.id)} --failures{place}"
            message = f"{why}: only its ledger is kept. Run '{again}' to list its failures."
            raise SnapshotError(message)
        complain(f"{why}; these are its failures.")
        self._put_failures(run)
        return True

    def _put_failures(self, run: Snapshot | RefusedRun) -> Coverage:
        from poolcensus.analysis.coverage import Coverage
        from poolcensus.analysis.listing import failed_results
        from poolcensus.cli import failing
        from poolcensus.cli.asked import not_asked
        from poolcensus.cli.output import write_line

        if not self._settings.json_output:
            return failing.put_failures(run, self._choice, self._sort)
        coverage = Coverage(self._choice, run.manifest)
        for each in failed_results(coverage.failed(run.targets()), self._choice, self._sort):
            write_line(run.schema.result_object(each))
        notice(*not_asked(coverage))
        return coverage

    def _write_pools(self, snapshot: Snapshot, ref: str) -> None:
        from poolcensus.analysis.coverage import Coverage
        from poolcensus.analysis.listing import record_lines
        from poolcensus.cli.asked import not_asked, not_covered, not_listed
        from poolcensus.cli.output import json_text, write_lines

        written = write_lines(map(json_text, record_lines(snapshot, self._choice, self._sort)))
        if written and self._is_all_seen(snapshot):
            return
        coverage = Coverage.read(snapshot, self._choice)
        notice(*not_asked(coverage))
        # Failures that the run expects are mentioned only if no row was printed.
        if not written or coverage.uncovered.total() > coverage.expected:
            notice(*not_covered(coverage, self._failures_of(ref)))
        if not written and self._choice.is_of_places:
            notice(*not_listed(coverage))

    def _put_pools(self, snapshot: Snapshot, ref: str, coverage: Coverage | None) -> None:
        """Print the pools. `coverage` is not None if the failures have been printed before."""
        from poolcensus.analysis.coverage import Coverage
        from poolcensus.analysis.listing import ALL, records_in_order
        from poolcensus.cli.asked import not_asked, not_covered, not_listed
        from poolcensus.cli.summaries import sentences
        from poolcensus.cli.tables import console, put, record_table
        from poolcensus.operations import columns_of

        records = records_in_order(snapshot, self._choice, self._sort)
        manifest = snapshot.manifest
        table = record_table(
            records,
            columns_of(manifest.operation),
            [each.name for each in self._sort],
            with_organization=bool(manifest.organizations),
        )
        screen = console()
        put(screen, table)
        if table.rows_read and self._is_all_seen(snapshot):
            return
        lines: list[str] = []
        again: str | None = self._failures_of(ref)
        if coverage is None:
            coverage = Coverage.read(snapshot, self._choice)
            lines += not_asked(coverage)
        elif not self._choice.outcomes:
            # The failures are listed above.
            again = None
        if not table.rows_read and coverage.is_asked:
            items = snapshot.manifest.operation.items
            click.echo(f"No {items}." if self._choice == ALL else f"No {items} match.")
            self._put_states(snapshot, coverage)
        lines += not_covered(coverage, again)
        if not table.rows_read and self._choice.is_of_places:
            lines += not_listed(coverage)
        if lines:
            put(screen, *([""] if table.rows_read else []), sentences(lines))

    def _put_states(self, snapshot: Snapshot, coverage: Coverage) -> None:
        """If states are selected, print those of the pools that match everything else."""
        from poolcensus.analysis.listing import records_in_order
        from poolcensus.operations import facets_of, value_at

        if not self._choice.states:
            return
        keys = facets_of(snapshot.manifest.operation).state
        in_any = records_in_order(snapshot, replace(self._choice, states=()))
        states = Counter(str(value_at(each.pool, keys) or "none") for each in in_any)
        counts = ", ".join(f"{state} ({number:,})" for state, number in sorted(states.items()))
        if states:
            click.echo(f"Their states are {counts}.")
        elif not coverage.uncovered and not HIDING & coverage.outcomes.keys():
            click.echo("None match in any other state either.")

    def _is_all_seen(self, snapshot: Snapshot) -> bool:
        """Return whether the ledger need not be read once a row is found, since it would add nothing."""
        totals = snapshot.manifest.totals
        is_one = len(self._choice.accounts) <= 1 and len(self._choice.regions) <= 1
        return totals.covered == totals.targets and is_one

    def _failures_of(self, ref: str) -> str:
        """Return the command that lists the failures in the selected accounts and regions."""
        from poolcensus.cli.columns import LONGEST_WORD

        # With the reference. Without it, the command might show a newer run that was not published.
        words = ["poolcensus", "show", ref, "--failures"]
        for option, entries in (("--account", self._choice.accounts), ("--region", self._choice.regions)):
            # A longer list would be cut when it is printed, and then select something else.
            if entries and len(named := ",".join(entries)) < LONGEST_WORD // 2:
                words += [option, named]
        name = ref.rstrip("/")
        if is_looked_up(name) or may_begin_id(name):
            words += ["--dest", self._settings.dest]
        return shlex.join(words)


def _reason(run: RefusedRun) -> str:
    rule = run.rule
    return f"`{rule.setting}`" if rule.allowed is None else f"`{rule.setting}` {rule.allowed}"


def _put_summary(snapshot: Snapshot, *, as_json: bool) -> None:
    if as_json:
        _write_object(snapshot)
        return
    from poolcensus.cli.failing import put_causes
    from poolcensus.cli.summaries import manifest_summary
    from poolcensus.cli.tables import console, put

    put(console(), *manifest_summary(snapshot.manifest, snapshot.location))
    put_causes(snapshot.uncovered(), snapshot.manifest)


def _write_object(snapshot: Snapshot) -> None:
    from poolcensus.analysis.listing import failed_results
    from poolcensus.cli.output import write_line
    from poolcensus.format.manifest import manifest_object

    write_line(
        {
            "path": snapshot.location,
            "location": snapshot.location,
            "scope": snapshot.info.scope.summary,
            "manifest": manifest_object(snapshot.manifest),
            "failures": [
                snapshot.schema.result_object(each) for each in failed_results(snapshot.uncovered())
            ],
        }
    )
