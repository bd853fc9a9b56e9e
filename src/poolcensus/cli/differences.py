"""The differences between two snapshots as text: a line for each, by account and region.

Lines are printed as soon as they are found. They are not wrapped, so that IDs can be copied.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

import click

from poolcensus.analysis.changes import ChangeKind
from poolcensus.analysis.diff import same
from poolcensus.cli.tables import console
from poolcensus.format.codec import dumps
from poolcensus.format.text import counted, printable
from poolcensus.operations import facets_of, value_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from poolcensus.analysis.changes import Change, Statistics
    from poolcensus.analysis.diff import Diff
    from poolcensus.model import JsonValue, OperationInfo
    from poolcensus.operations import Keys
    from poolcensus.snapshot import Snapshot

    Paint = Callable[[str, str], str]

# Characters shown of a name or a value. Others choose them, and they may be very long; `--json` has all.
_LONGEST: Final = 200
# A line of 80 columns has room for this many regions. More are counted instead of named.
_REGIONS_NAMED: Final = 3

_COLOURS: Final = {
    ChangeKind.ADDED: "green",
    ChangeKind.REMOVED: "red",
    ChangeKind.CHANGED: "yellow",
    ChangeKind.UNKNOWN: "magenta",
}


def put_differences(found: Diff, a: Snapshot, b: Snapshot) -> None:
    """Print the differences and their totals."""
    screen = console()
    coloured = screen.color_system is not None and not screen.no_color

    def paint(text: str, colour: str) -> str:
        return click.style(text, fg=colour) if coloured else text

    is_first = True
    operation = b.manifest.operation
    for line in _lines(found, operation, paint):
        if is_first:
            for letter, snapshot in (("A", a), ("B", b)):
                click.echo(f"{letter}  {_described(snapshot)}")
            click.echo()
            is_first = False
        click.echo(line, color=coloured)
    if not is_first:
        click.echo()
    click.echo(_summary(found.statistics, operation))


def _described(snapshot: Snapshot) -> str:
    totals = snapshot.manifest.totals
    operation = snapshot.manifest.operation
    items = counted(totals.pools, operation.item, operation.items)
    return f"{snapshot.id}  {items}, {totals.covered:,} of {counted(totals.targets, 'target')} covered"


def _lines(changes: Iterable[Change], operation: OperationInfo, paint: Paint) -> Iterator[str]:
    # What people know an item by, besides its ID.
    facets = facets_of(operation)
    names = (facets.name, facets.state)
    # Targets that both runs expect to be refused are only counted, in the summary.
    news = (each for each in changes if not each.is_expected)
    for account_id, of_account in groupby(news, lambda each: each.account_id):
        unknown: dict[str, list[Change]] = {}
        region = None
        account = account_id
        for change in of_account:
            account = _with_name(change)
            if change.kind is ChangeKind.UNKNOWN:
                unknown.setdefault(change.reason or "", []).append(change)
                continue
            if region is None:
                yield account
            if change.region != region:
                region = change.region
                yield f"  {printable(region)}"
            yield from _item_lines(change, names, paint)
        before = f"{account}  " if region is None else "  "
        for reason, targets in unknown.items():
            yield before + _unknown_line(reason, targets, operation, paint)


def _with_name(change: Change) -> str:
    return f"{printable(change.account_id)} {_cut(change.account_name or '')}".rstrip()


def _item_lines(change: Change, names: Iterable[Keys], paint: Paint) -> Iterator[str]:
    item = change.pool or {}
    # A value that changed has its own line below.
    values = [value_at(item, keys) for keys in names if not change.fields.keys() & keys[:1]]
    named = " ".join(_shown(value) for value in values if value)
    kind = paint(f"{change.kind:7}", _COLOURS[change.kind])
    yield f"    {kind}  {printable(change.pool_id or '')}  {named}".rstrip()
    for name, (before, after) in _changed_values(change.fields):
        yield f"             {_cut(name)}: {_shown(before)} -> {_shown(after)}"


def _changed_values(
    fields: Mapping[str, tuple[JsonValue, JsonValue]], prefix: str = ""
) -> Iterator[tuple[str, tuple[JsonValue, JsonValue]]]:
    """Yield each value that differs. A field of an object is named by its path: `TimeoutSettings.…`."""
    for name, (before, after) in fields.items():
        if isinstance(before, dict) and isinstance(after, dict):
            inner = {
                each: (before.get(each), after.get(each))
                for each in sorted(before.keys() | after.keys())
                if not same(before.get(each), after.get(each))
            }
            # If they differ only in a null field that one of them lacks, both objects are shown whole.
            if inner:
                yield from _changed_values(inner, f"{prefix}{name}.")
                continue
        yield f"{prefix}{name}", (before, after)


def _unknown_line(reason: str, targets: list[Change], operation: OperationInfo, paint: Paint) -> str:
    regions = [each.region for each in targets]
    if len(regions) <= _REGIONS_NAMED:
        where = ", ".join(map(printable, regions))
    else:
        where = counted(len(regions), "region")
    known = [
        f"{counted(count, operation.item, operation.items)} in {letter}"
        for letter, side in (("A", 0), ("B", 1))
        if (count := sum(each.pools[side] or 0 for each in targets))
    ]
    items = f" ({', '.join(known)})" if known else ""
    return f"{paint('unknown', _COLOURS[ChangeKind.UNKNOWN])}  {where}: {printable(reason)}{items}"


def _summary(found: Statistics, operation: OperationInfo) -> str:
    known = f"{counted(found.expected, 'target')} refused as both runs expect" if found.expected else ""
    if not found.found:
        items = counted(found.unchanged, operation.item, operation.items)
        unchanged = f"{items} unchanged between {found.a} and {found.b}"
        return f"No differences: {'; '.join(filter(None, (unchanged, known)))}."
    changes = (
        f"{found.added:,} added, {found.removed:,} removed, {found.changed:,} changed,"
        f" {found.unchanged:,} unchanged"
    )
    news = found.unknown - found.expected
    unknown = f"{counted(news, 'target')} unknown" if news else ""
    return "; ".join(filter(None, (changes, unknown, known)))


def _shown(value: JsonValue) -> str:
    if value is None:
        return "(none)"
    return _cut(value if isinstance(value, str) else dumps(value).decode())


def _cut(text: str) -> str:
    if len(text) <= _LONGEST:
        return printable(text)
    return f"{printable(text[:_LONGEST])}... ({len(text):,} characters)"
