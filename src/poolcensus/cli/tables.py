"""Tables on a console. Names are untrusted: markup and control characters in them have no effect."""

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
    from poolcensus.snapshot import SnapshotInfo
    from poolcensus.snapshot.retention import Decision

# The width assumed for a pipe or a file, where every row should be on one line.
_NO_TERMINAL_WIDTH = 1000
# The minimum width. With less, some of our columns would have no room at all and be left out.
_NARROWEST = 40
# Variables that are ignored unless positive: a terminal without a known size sets 0, which would show
# nothing.
_SIZES = frozenset({"COLUMNS", "LINES"})

_STYLES: Mapping[str, str] = {Outcome.OK: "green", Outcome.EMPTY: "green"}

# More would take the room that the error needs.
_REGIONS_NAMED = 2
# Put before an error that is expected, and needs no fix.
_KNOWN = "known gap"


def console(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Return a console that prints text literally: no markup, no highlighting, no emoji codes.

    It prints to `file` if given, else to standard error or standard output.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _SIZES}
    for name in _SIZES & os.environ.keys():
        if re.fullmatch("0*[1-9][0-9]{0,3}", os.environ[name]):
            environment[name] = os.environ[name]
    made = Console(
        file=file,
        stderr=stderr,
        # With NO_COLOR, rich keeps bold and dim, which many terminals show as colours: https://no-color.org
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
    """Print each of `what`. In a pipe or a file, lines have no trailing blanks."""
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
    # Not through the console, which takes a millisecond for each of maybe a million lines.
    limited = screen.width < _NO_TERMINAL_WIDTH
    lines = (each.plain.rstrip() for each in grid.styled(screen.width)) if limited else grid.texts()
    write_lines(lines, to_stderr=screen.stderr)


def text(value: object, style: str = "") -> Text:
    """Return a value as text for the console: with control characters escaped, and without markup."""
    return Text(printable("" if value is None else str(value)), style=style, overflow="fold")


def failure_table(
    failures: Iterable[AccountFailure], *, all_regions: bool = True, with_organization: bool = False
) -> Grid:
    """Return a table of failures, with a row for each account and cause.

    More than two regions are only counted, unless `all_regions` is set. Known gaps are marked.
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
    """Return a table with a row for each record: its account and region, and the `columns` of its item.

    The columns in `sorted_by` are never left out.
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
    """Return a table with a row for each snapshot."""
    return Grid(
        (
            Column("Snapshot"),
            Column("Status", rank=1, style=status_style),
            Column("Targets", rank=3, is_number=True),
            Column("Failed", rank=1, is_number=True),
            Column("Pools", is_number=True),
            Column("Took", rank=4, is_number=True),
            Column("Size", rank=5, is_number=True),
            # As wide as "whole organization", the most frequent scope.
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
    """Return a table of what `prune` does with each snapshot."""
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
    """Return the style of an outcome."""
    return _STYLES.get(outcome, "" if Outcome(outcome).covered else "yellow")


def status_style(status: str) -> str:
    """Return the style of a snapshot's status."""
    return "green" if status == SnapshotStatus.COMPLETE else "yellow"


def _action_style(action: str) -> str:
    return "green" if action == "keep" else "yellow"


def seconds_between(started_at: datetime, finished_at: datetime) -> float:
    """Return the seconds that a run took, or 0 if the clock was set back during it."""
    return max((finished_at - started_at).total_seconds(), 0.0)
