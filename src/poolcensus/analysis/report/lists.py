"""Makes the lists of the page: what could not be read, what changed, and which items are left."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.analysis.causes import cause_of, remedy_of
from poolcensus.analysis.changes import ChangeKind
from poolcensus.analysis.report import commands, wording
from poolcensus.analysis.report.tables import (
    CHANGE_BYTES,
    FAILURE_BYTES,
    SKIPPED_BYTES,
    WORKLIST_BYTES,
    Heading,
    Row,
    cell,
    row,
    short,
    size_of,
    table,
)
from poolcensus.analysis.report.values import as_text
from poolcensus.format.text import counted
from poolcensus.operations import value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from poolcensus.analysis.changes import Change
    from poolcensus.analysis.report.facts import Comparison, Facts, WorkItem
    from poolcensus.analysis.report.tables import Table
    from poolcensus.model import JsonValue


class CauseSection(NamedTuple):
    """The accounts that could not be read for one cause, and what to do about it."""

    title: str
    remedy: list[tuple[str, bool]]
    table: Table


def causes(facts: Facts) -> list[CauseSection]:
    """Return the accounts that could not be read, by cause. The cause with the most accounts comes first."""
    budget = FAILURE_BYTES
    made = []
    for at, group in enumerate(facts.failures):
        code = f" ({group.code})" if group.code else ""
        rows = (row(cell(each.name or each.id, each.id), wording.regions_of(each)) for each in group.examples)
        listed = table(
            f"cause-{at}",
            f"Accounts: {cause_of(group)}",
            (Heading("Account"), Heading("Regions")),
            rows,
            budget=max(budget, 0),
            command=commands.show(facts, "--failures"),
            beyond=group.accounts - len(group.examples),
        )
        budget -= sum(map(size_of, listed.rows))
        accounts = counted(group.accounts, "account")
        title = f"{cause_of(group)} in {accounts}, {counted(group.targets, 'target')}{code}"
        made.append(CauseSection(short(title), wording.parts_of(remedy_of(group)), listed))
    return made


def skipped(facts: Facts) -> Table:
    """Return the accounts that the run skipped."""
    rows = (row(cell(each.name or each.id, each.id), each.reason) for each in facts.skipped)
    headings = (Heading("Account"), Heading("Reason"))
    command = commands.show(facts, "--json")
    return table(
        "skipped", "Accounts that were not asked", headings, rows, budget=SKIPPED_BYTES, command=command
    )


def changes(facts: Facts, comparison: Comparison) -> Table:
    """Return the differences from the snapshot before."""
    statistics = comparison.statistics
    total = 0 if statistics is None else statistics.found
    item = facts.operation.item.capitalize()
    headings = (Heading("Change"), Heading(item), Heading("Account"), Heading("Region"), Heading("What"))
    return table(
        "changes",
        "Changes since the snapshot before",
        headings,
        (_change(facts, each) for each in comparison.changes),
        budget=CHANGE_BYTES,
        command=commands.diff(facts, comparison.before),
        beyond=total - len(comparison.changes),
    )


def _change(facts: Facts, change: Change) -> Row:
    name = as_text(value_at(change.pool or {}, facts.facets.name))
    what = change.reason or ""
    if change.kind is ChangeKind.CHANGED:
        what = "; ".join(f"{field}: {_shown(a)} → {_shown(b)}" for field, (a, b) in change.fields.items())
    elif change.kind is not ChangeKind.UNKNOWN:
        what = as_text(value_at(change.pool or {}, facts.facets.state))
    item = cell(name or change.pool_id, change.pool_id if name else "")
    account = cell(change.account_name or change.account_id, change.account_id)
    return row(change.kind.value, item, account, change.region, what)


def _shown(value: JsonValue) -> str:
    return "(none)" if value is None else as_text(value)


def worklist(facts: Facts) -> Table:
    """Return the items that are left, sorted by account, region and ID."""
    facets, listed = facts.facets, facts.worklist
    has_use = listed.in_use is not None
    headings = [Heading(facts.operation.item.capitalize()), Heading("Account"), Heading("Region")]
    headings += [Heading("State")] if facets.state else []
    headings += [Heading(each.title) for each in facets.details]
    headings += [Heading("Last use seen")] if has_use else [Heading("Seen")]
    headings += [Heading("Days left", True)] if facts.days_left is not None else []
    return table(
        "worklist",
        f"{facts.facets.title}: what is left",
        headings,
        _work_rows(facts, listed.rows, has_use=has_use),
        budget=WORKLIST_BYTES,
        command=commands.show(facts, "--pools --json"),
        beyond=listed.total - len(listed.rows),
    )


def _work_rows(facts: Facts, items: Iterable[WorkItem], *, has_use: bool) -> Iterator[Row]:
    days = [] if facts.days_left is None else [cell(wording.number(max(facts.days_left, 0)))]
    newest = facts.info.started_at
    for each in items:
        missing = (
            "" if each.missing is None else f"not seen since {wording.day(each.last_seen)}: {each.missing}"
        )
        item = cell(each.name or each.id, each.id if each.name else "")
        state = cell(each.state, missing)
        cells = [item if facts.facets.state else cell(each.name or each.id, missing)]
        cells += [cell(each.account_name or each.account_id, each.account_id), cell(each.region)]
        cells += [state] if facts.facets.state else []
        cells += map(cell, each.details)
        kinds = ["missing"] if missing else []
        if not has_use:
            cells.append(cell(wording.sightings(each)))
        elif not each.told:
            cells.append(cell("not known", wording.sightings(each)))
            kinds.append("unknown")
        elif each.last_used is None:
            cells.append(cell("never", wording.sightings(each)))
            kinds.append("never")
        elif each.last_used == newest and each.missing is None:
            cells.append(cell(wording.day(each.last_used), counted(each.in_use or 0, "session")))
            kinds.append("now")
        else:
            cells.append(cell(wording.day(each.last_used)))
            kinds.append("before")
        yield Row((*cells, *days), " ".join(kinds))
