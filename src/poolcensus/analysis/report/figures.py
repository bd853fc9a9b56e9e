"""Makes the figures of the page: charts, each with the table of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.analysis.report import commands, wording
from poolcensus.analysis.report.charts import MOST_BARS, Bar, Line, bar_chart, line_chart
from poolcensus.analysis.report.tables import (
    ACCOUNT_BYTES,
    FEW_BYTES,
    TREND_BYTES,
    Heading,
    cell,
    row,
    short,
    table,
)
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcensus.analysis.report.facts import Facts, Group, TrendPoint
    from poolcensus.analysis.report.tables import Table


class Figure(NamedTuple):
    """A chart with its caption, and the table of its values. `svg` is None if there is nothing to draw."""

    title: str
    caption: str
    svg: str | None
    table: Table


class Chart(NamedTuple):
    """A chart with its caption. Its values are in a table that it shares with other charts."""

    title: str
    caption: str
    svg: str


def outcomes(facts: Facts) -> Figure:
    """Return the targets by outcome."""
    known = [(name, covered, count) for name, covered, count in facts.outcomes]
    known.sort(key=lambda each: (each[1], -each[2]))
    bars = [Bar(name, count, warning="" if covered else "not covered") for name, covered, count in known]
    rows = (
        row(name, "yes" if covered else "no", wording.number(count), wording.OUTCOMES[Outcome(name)])
        for name, covered, count in known
    )
    headings = (Heading("Outcome"), Heading("Covered"), Heading("Targets", True), Heading("Means"))
    listed = table("outcomes", "Targets by outcome", headings, rows, budget=FEW_BYTES, command="")
    caption = "How the census of each target ended."
    return Figure("Targets by outcome", caption, bar_chart(bars) if bars else None, listed)


def contents(facts: Facts) -> Iterator[Figure]:
    """Yield the items of the snapshot by region, account, OU, state and error."""
    found, items = facts.contents, facts.operation.items
    use = ""
    if found.use.compared is not None:
        use = "Outline: sessions that can be had. Bar: sessions in use."
        if found.use.compared != (found.use.in_use, found.use.capacity):
            use += f" Used is of {items} that state both; where others are in use, there is no outline."
    yield _groups(facts, "region", "Region", found.regions, use)
    yield _groups(facts, "account", "Account", found.accounts, use)
    if found.units:
        yield _groups(facts, "ou", "OU", found.units, use)
    if facts.facets.state:
        yield _groups(facts, "state", "State", found.states, f"Number of {items}.", counts_only=True)
    if found.errors:
        caption = f"Number of {items} that report the error. One may report several."
        yield _groups(facts, "error", "Error", found.errors, caption, counts_only=True)


def _groups(
    facts: Facts,
    table_id: str,
    title: str,
    groups: Sequence[Group],
    caption: str,
    *,
    counts_only: bool = False,
) -> Figure:
    has_use = facts.contents.use.in_use is not None and not counts_only
    items = facts.operation.items
    headings = [Heading(title), Heading(items.capitalize(), True)]
    if has_use:
        headings += [Heading("In use", True), Heading("Capacity", True), Heading("Used", True)]
    rows = []
    bars = []
    by_size = sorted(groups, key=lambda each: -(each.use.capacity or 0)) if has_use else groups
    for group in by_size:
        use, name = group.use, group.name or group.id
        numbers = [wording.number(use.items)]
        if has_use:
            numbers += [
                wording.number(use.in_use),
                wording.number(use.capacity),
                _share(use.compared),
            ]
        rows.append(row(cell(name, group.id if group.name else ""), *numbers))
        bars.append(
            Bar(short(name), (use.in_use or 0) if has_use else use.items, use.whole if has_use else None)
        )
    listed = table(
        table_id,
        f"{items.capitalize()} by {title if title == 'OU' else title.lower()}",
        headings,
        rows,
        budget=ACCOUNT_BYTES if table_id == "account" else FEW_BYTES,
        command=commands.show(facts, "--pools --json"),
    )
    svg = bar_chart(bars) if bars else None
    if len(bars) > MOST_BARS:
        caption = f"{caption} The chart has the first {MOST_BARS} of {len(bars):,}.".strip()
    return Figure(f"By {title if title == 'OU' else title.lower()}", caption, svg, listed)


def _share(compared: tuple[int, int] | None) -> str:
    return f"{compared[0] / compared[1]:.0%}" if compared and compared[1] else ""


def trend(facts: Facts) -> list[Chart]:
    """Return the charts over time. With a single snapshot there are none."""
    points = facts.history.points
    if len(points) < 2:
        return []
    moments = [each.info.started_at for each in points]
    partial = [each.info.covered < each.info.targets for each in points]
    items = facts.operation.items
    lines = [
        (items.capitalize(), "Found in each snapshot.", [Line(items, [each.use.items for each in points])]),
        (
            "Targets",
            "Solid: covered. Dashed: planned.",
            [
                Line("covered", [each.info.covered for each in points]),
                Line("planned", [each.info.targets for each in points]),
            ],
        ),
    ]
    if _has_use(points):
        sessions = [
            Line("in use", [each.use.in_use for each in points]),
            Line("capacity", [each.use.capacity for each in points]),
        ]
        lines.insert(1, ("Sessions", "Solid: in use. Dashed: capacity.", sessions))
    mark = " Diamond: a partial snapshot." if any(partial) else ""
    return [
        Chart(title, f"{caption}{mark}", line_chart(moments, each, partial)) for title, caption, each in lines
    ]


def _has_use(points: Iterable[TrendPoint]) -> bool:
    return any(each.use.in_use is not None for each in points)


def trend_table(facts: Facts) -> Table:
    """Return the snapshots of the trend, the newest first."""
    headings = [Heading("Snapshot"), Heading("Status"), Heading("Covered", True), Heading("Targets", True)]
    headings.append(Heading(facts.operation.items.capitalize(), True))
    has_use = _has_use(facts.history.points)
    if has_use:
        headings += [Heading("In use", True), Heading("Capacity", True)]
    rows = []
    for each in reversed(facts.history.points):
        info, use = each.info, each.use
        numbers = [info.covered, info.targets, use.items, *([use.in_use, use.capacity] if has_use else [])]
        when = cell(wording.minute(info.started_at), info.id)
        rows.append(row(when, info.status.value, *map(wording.number, numbers)))
    command = commands.snapshots(facts)
    return table("trend", "Snapshots of this scope", headings, rows, budget=TREND_BYTES, command=command)
