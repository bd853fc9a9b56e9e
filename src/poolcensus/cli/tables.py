"""Tables for people. Names of accounts and pools come from others: nothing in them is markup or control."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text

from poolcensus.cli.columns import Column, Grid
from poolcensus.cli.output import write_lines
from poolcensus.cli.wording import duration
from poolcensus.format.text import counted, printable
from poolcensus.model import Outcome, SnapshotStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from typing import IO

    from rich.console import RenderableType

    from poolcensus.analysis.account_failures import AccountFailure
    from poolcensus.model import PoolRecord
    from poolcensus.operations import ItemColumn
    from poolcensus.snapshot import Decision, SnapshotInfo

# Wide enough that a pipe or a file gets every row on one line.
_NO_TERMINAL_WIDTH = 1000
# Columns of a table that have no room at all are left out: in this width, each of ours has some.
_NARROWEST = 40
# A terminal that does not know its size says 0, and a display of that size shows nothing.
_SIZES = frozenset({"COLUMNS", "LINES"})

_STYLES: Mapping[str, str] = {Outcome.OK: "green", Outcome.EMPTY: "green"}

# More of them would take the room that the error needs.
_REGIONS_NAMED = 2
# Before the error, which nobody has to mend then.
_KNOWN = "known gap"


def console(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Return a console that prints what it is given: no markup, no highlighting, no emoji codes.

    It prints to `file` where there is one, to standard error or to standard output.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _SIZES}
    for name in _SIZES & os.environ.keys():
        if re.fullmatch("0*[1-9][0-9]{0,3}", os.environ[name]):
            environment[name] = os.environ[name]
    made = Console(
        file=file,
        stderr=stderr,
        # rich leaves bold and dim on, which are colours on many terminals: https://no-color.org
        color_system=None if environment.get("NO_COLOR") else "auto",
        markup=False,
        highlight=False,
        emoji=False,
        _environ=environment,
    )
    if "COLUMNS" in environment:
        made.width = max(made.width, _NARROWEST)
    elif not made.is_terminal:
        made.width = _NO_TERMINAL_WIDTH
    return made


def put(screen: Console, *what: RenderableType) -> None:
    """Print one after the other. A pipe or a file gets no blanks at the ends of lines."""
    for each in what:
        if isinstance(each, Grid):
            _put_grid(screen, each)
        elif screen.is_terminal:
            screen.print(each, soft_wrap=True)
        else:
            with screen.capture() as captured:
                screen.print(each, soft_wrap=True)
            lines = captured.get().split("\n")
            click.echo("\n".join(line.rstrip() for line in lines), nl=False, err=screen.stderr)


def _put_grid(screen: Console, grid: Grid) -> None:
    if screen.is_terminal:
        for styled in grid.styled(screen.width):
            screen.print(styled, soft_wrap=True)
        return
    # No console in between: it would take a millisecond for a line, and there may be a million.
    limited = screen.width < _NO_TERMINAL_WIDTH
    lines = (each.plain.rstrip() for each in grid.styled(screen.width)) if limited else grid.texts()
    write_lines(lines, to_stderr=screen.stderr)


def text(value: object, style: str = "") -> Text:
    """Return a cell: printable, never markup."""
    return Text(printable("" if value is None else str(value)), style=style, overflow="fold")


def failure_table(
    failures: Iterable[AccountFailure], *, all_regions: bool = True, with_organization: bool = False
) -> Grid:
    """Return what failed, a row for each account and cause.

    More than two regions are counted, unless `all_regions` are to be named. A known gap is marked as one.
    """
    return Grid(
        (
            Column("Account"),
            Column("Name", rank=2, least=10),
            *((Column("Organization", rank=1),) if with_organization else ()),
            Column("Outcome", style=outcome_style),
            Column("Regions", rank=1),
            Column("Error", is_sentence=True),
        ),
        (
            (
                each.account_id,
                each.account_name or "",
                *((each.organization or "",) if with_organization else ()),
                each.outcome,
                _regions(each.regions, all_of_them=all_regions),
                ": ".join(
                    part for part in (_KNOWN if each.is_known else "", each.code, each.message) if part
                ),
            )
            for each in failures
        ),
    )


def _regions(regions: Sequence[str], *, all_of_them: bool) -> str:
    if all_of_them or len(regions) <= _REGIONS_NAMED:
        return ", ".join(regions)
    return counted(len(regions), "region")


def record_table(
    records: Iterable[PoolRecord],
    columns: Sequence[ItemColumn],
    sorted_by: Collection[str] = (),
    *,
    with_organization: bool = False,
) -> Grid:
    """Return a table of records, one a row: where each was seen, and what the columns show of it.

    The columns that they are sorted by are shown in any width.
    """

    def rank(name: str, otherwise: int) -> int:
        return 0 if name in sorted_by else otherwise

    return Grid(
        (
            Column("Account"),
            Column("Name", rank("name", 3), least=10),
            *((Column("Organization", rank("organization", 2)),) if with_organization else ()),
            Column("Region"),
            *(
                Column(each.title, rank(each.name, each.rank), each.least, is_number=each.is_number)
                for each in columns
            ),
        ),
        (
            (
                record.account_id,
                record.account_name or "",
                *((record.organization or "",) if with_organization else ()),
                record.region,
                *(_cell(each.cell(record.pool)) for each in columns),
            )
            for record in records
        ),
    )


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def snapshot_table(snapshots: Iterable[SnapshotInfo]) -> Grid:
    """Return snapshots, one a row."""
    return Grid(
        (
            Column("Snapshot"),
            Column("Status", rank=1, style=status_style),
            Column("Targets", rank=3, is_number=True),
            Column("Failed", rank=1, is_number=True),
            Column("Pools", is_number=True),
            Column("Took", rank=4, is_number=True),
            Column("Size", rank=5, is_number=True),
            # As wide as "whole organization", which most are.
            Column("Scope", rank=2, least=18),
        ),
        (
            (
                each.id,
                each.status,
                f"{each.targets:,}",
                f"{each.failed:,}",
                f"{each.pools:,}",
                duration(seconds_between(each.started_at, each.finished_at)),
                decimal(each.bytes),
                each.scope.summary,
            )
            for each in snapshots
        ),
    )


def decision_table(decisions: Iterable[Decision]) -> Grid:
    """Return what becomes of each snapshot."""
    return Grid(
        (
            Column("Snapshot"),
            Column("Action", style=_action_style),
            Column("Scope", rank=2, least=18),
            Column("Kept by", rank=1, least=12),
        ),
        (
            (
                each.snapshot_id,
                "keep" if each.keep else "remove",
                each.scope.summary,
                ", ".join(each.reasons),
            )
            for each in decisions
        ),
    )


def outcome_style(outcome: str) -> str:
    """Return how an outcome is shown."""
    return _STYLES.get(outcome, "" if Outcome(outcome).covered else "yellow")


def status_style(status: str) -> str:
    """Return how the status of a snapshot is shown."""
    return "green" if status == SnapshotStatus.COMPLETE else "yellow"


def _action_style(action: str) -> str:
    return "green" if action == "keep" else "yellow"


def seconds_between(started_at: datetime, finished_at: datetime) -> float:
    """Return the time that a run took, 0 where a clock was put back meanwhile."""
    return max((finished_at - started_at).total_seconds(), 0.0)
