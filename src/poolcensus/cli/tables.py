"""Tables for people. Names of accounts and pools come from others: nothing in them is markup or control."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from poolcensus.cli.wording import counted, duration, printable
from poolcensus.format.times import rfc3339
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.snapshot.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from poolcensus.model import Manifest, Plan, PoolRecord, SkippedAccount, TargetResult
    from poolcensus.operations import Column
    from poolcensus.snapshot import Decision, SnapshotInfo

# Wide enough that a pipe or a file gets every row on one line.
_NO_TERMINAL_WIDTH = 1000
# Columns of a table that have no room at all are left out: in this width, each of ours has some.
_NARROWEST = 40
# A terminal that does not know its size says 0, and a display of that size shows nothing.
_SIZES = frozenset({"COLUMNS", "LINES"})

# Of a list of hundreds of accounts: enough to tell it from another. `show --json` has all of them.
_VALUES_SHOWN = 10

_STYLES = {Outcome.OK: "green", Outcome.EMPTY: "green"}


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints what it is given: no markup, no highlighting, no emoji codes."""
    environment = {name: value for name, value in os.environ.items() if name not in _SIZES}
    for name in _SIZES & os.environ.keys():
        if re.fullmatch("0*[1-9][0-9]{0,3}", os.environ[name]):
            environment[name] = os.environ[name]
    made = Console(stderr=stderr, markup=False, highlight=False, emoji=False, _environ=environment)
    if "COLUMNS" in environment:
        made.width = max(made.width, _NARROWEST)
    elif not made.is_terminal:
        made.width = _NO_TERMINAL_WIDTH
    return made


def put(screen: Console, *what: RenderableType) -> None:
    """Print one after the other. A pipe or a file gets no blanks at the ends of lines."""
    if screen.is_terminal:
        screen.print(*what, sep="\n")
        return
    with screen.capture() as captured:
        screen.print(*what, sep="\n")
    lines = captured.get().split("\n")
    click.echo("\n".join(line.rstrip() for line in lines), nl=False, err=screen.stderr)


def text(value: object, style: str = "") -> Text:
    """Return a cell: printable, never markup."""
    return Text(printable("" if value is None else str(value)), style=style, overflow="fold")


def table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """Return an empty table. The columns in `numbers` are aligned to the right."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    return made


def _facts(rows: Iterable[tuple[str, Text]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def manifest_summary(manifest: Manifest, where: str | None) -> Iterable[RenderableType]:
    """Yield what a snapshot holds, and what it does not."""
    totals = manifest.totals
    complete = manifest.status == SnapshotStatus.COMPLETE
    rows = [
        ("Snapshot", text(manifest.snapshot_id)),
        ("Status", text(manifest.status, "green" if complete else "yellow")),
        *_scope_rows(Scope.of(manifest)),
        *([("Where", text(where))] if where is not None else []),
        (
            "Started",
            text(
                f"{rfc3339(manifest.started_at)},"
                f" took {duration(_seconds(manifest.started_at, manifest.finished_at))}"
            ),
        ),
        ("Caller", text(manifest.caller.arn)),
        ("Accounts", text(f"{manifest.accounts_planned:,} asked{_skipped(manifest.accounts_skipped)}")),
        ("Targets", text(f"{totals.covered:,} of {totals.targets:,} covered")),
        (manifest.operation.items.capitalize(), text(f"{totals.pools:,} on {counted(totals.pages, 'page')}")),
        (
            "API calls",
            text(
                f"{totals.requests:,} ({counted(totals.retries, 'retry', 'retries')}, {totals.throttles:,}"
                f" throttled, {totals.assume_role_calls:,} AssumeRole)"
            ),
        ),
    ]
    yield _facts(rows)
    yield ""
    outcomes = table("Outcome", "Targets", numbers=("Targets",))
    for outcome in Outcome:
        if count := manifest.outcomes.get(outcome):
            style = _STYLES.get(outcome, "" if outcome.covered else "yellow")
            outcomes.add_row(text(outcome, style), f"{count:,}")
    yield outcomes


def _scope_rows(scope: Scope) -> Iterator[tuple[str, Text]]:
    """Yield a row for each part of a scope, with the first of the names or ids that it stands for."""
    for number, (words, values) in enumerate(scope.parts()):
        shown = ", ".join(values[:_VALUES_SHOWN])
        more = f", and {len(values) - _VALUES_SHOWN:,} more" if len(values) > _VALUES_SHOWN else ""
        yield ("Scope" if number == 0 else "", text(f"{words}: {shown}{more}" if values else words))


def plan_summary(plan: Plan) -> Iterable[RenderableType]:
    """Yield what a census would do."""
    calls = sum(plan.calls.values())
    yield _facts(
        [
            ("Caller", text(plan.caller.arn)),
            *([("Organization", text(plan.organization_id))] if plan.organization_id else []),
            ("Accounts", text(f"{len(plan.accounts):,}{_skipped(plan.skipped)}")),
            ("Regions", text(f"{len(plan.regions):,}: {', '.join(plan.regions)}")),
            ("Targets", text(f"{plan.targets:,}{_disabled(plan)}")),
            ("Calls", text(f"at least {calls:,}")),
        ]
    )
    yield ""
    operations = table("Operation", "Calls", numbers=("Calls",))
    for operation, count in plan.calls.items():
        operations.add_row(text(operation), f"{count:,}")
    yield operations


def failure_table(uncovered: Iterable[TargetResult]) -> Table:
    """Return the targets that are not covered, and why."""
    made = table("Account", "Name", "Region", "Outcome", "Attempts", "Error", numbers=("Attempts",))
    for target in uncovered:
        error = " ".join(part for part in (target.error_code, target.error_message) if part)
        made.add_row(
            target.account_id,
            text(target.account_name),
            text(target.region),
            text(target.outcome, "yellow"),
            f"{target.attempts:,}",
            text(error),
        )
    return made


def record_table(records: Iterable[PoolRecord], columns: Sequence[Column]) -> Table:
    """Return a table of records, one a row: where each was seen, and what the columns show of it."""
    titles = [each.title for each in columns]
    numbers = tuple(each.title for each in columns if each.is_number)
    made = table("Account", "Name", "Region", *titles, numbers=numbers)
    for record in records:
        made.add_row(
            text(record.account_id),
            text(record.account_name),
            text(record.region),
            *(text(each.cell(record.pool)) for each in columns),
        )
    return made


def snapshot_table(snapshots: Iterable[SnapshotInfo]) -> Table:
    """Snapshots, one a row."""
    numbers = ("Targets", "Not covered", "Pools", "Took", "Size")
    made = table("Snapshot", "Status", *numbers, "Scope", numbers=numbers)
    for each in snapshots:
        complete = each.status == SnapshotStatus.COMPLETE
        made.add_row(
            text(each.id),
            text(each.status, "green" if complete else "yellow"),
            f"{each.targets:,}",
            f"{each.targets - each.covered:,}",
            f"{each.pools:,}",
            duration(_seconds(each.started_at, each.finished_at)),
            decimal(each.bytes),
            text(each.scope.summary),
        )
    return made


def decision_table(decisions: Iterable[Decision]) -> Table:
    """Return what becomes of each snapshot."""
    made = table("Snapshot", "Action", "Scope", "Kept by")
    for each in decisions:
        action = text("keep", "green") if each.keep else text("remove", "yellow")
        reasons = text(", ".join(each.reasons))
        made.add_row(text(each.snapshot_id), action, text(each.scope.summary), reasons)
    return made


def _seconds(started_at: datetime, finished_at: datetime) -> float:
    return max((finished_at - started_at).total_seconds(), 0.0)


def _skipped(accounts: Iterable[SkippedAccount]) -> str:
    reasons = Counter(each.reason for each in accounts)
    if not reasons:
        return ""
    listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return f", {reasons.total():,} skipped ({listed})"


def _disabled(plan: Plan) -> str:
    return f", {plan.region_disabled:,} of them in regions that are disabled" if plan.region_disabled else ""
