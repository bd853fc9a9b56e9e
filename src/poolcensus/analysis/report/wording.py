"""The sentences and formats of the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from poolcensus.format.text import counted
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from datetime import date, datetime

    from poolcensus.analysis.report.facts import Facts, History, WorkItem
    from poolcensus.model import FailedAccount

_CODE: Final = re.compile(r"`([a-z0-9_]+)`")

OUTCOMES: Final = {
    Outcome.OK: "all pages were read",
    Outcome.EMPTY: "all pages were read, and nothing is there",
    Outcome.REGION_DISABLED: "the account has not enabled the region",
    Outcome.REGION_UNSUPPORTED: "the region does not offer it",
    Outcome.NOT_ENTITLED: "AWS has closed the service to the account",
    Outcome.ACCESS_DENIED: "refused by a policy",
    Outcome.SCP_DENIED: "refused by a service control policy",
    Outcome.ASSUME_ROLE_FAILED: "the role could not be assumed",
    Outcome.THROTTLED: "still throttled after the last attempt",
    Outcome.UNREACHABLE: "the service could not be reached",
    Outcome.TIMED_OUT: "timed out",
    Outcome.BAD_RESPONSE: "the response was invalid",
    Outcome.EXPIRED: "credentials expired",
    Outcome.ERROR: "the service returned an error",
    Outcome.CANCELLED: "the run ended first",
}
"""What each outcome means, in a few words."""


def number(value: int | None) -> str:
    """Return a number with thousands separators, or an empty text for None."""
    return "" if value is None else f"{value:,}"


def day(moment: date | datetime) -> str:
    """Return the day of a moment in UTC, as text that sorts."""
    return f"{moment:%Y-%m-%d}"


def minute(moment: datetime) -> str:
    """Return a moment in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def verdict(facts: Facts) -> str:
    """Return sentences on whether the census is complete."""
    info = facts.info
    gaps, accounts = (
        info.targets - info.covered,
        {each.id for group in facts.failures for each in group.examples},
    )
    if not info.targets:
        return "No. No account and no region was asked."
    if not gaps:
        return f"Yes. {_all(info.targets)} covered.{_hidden(facts)}"
    items = facts.operation.items
    where = counted(len(accounts), "account")
    if not info.covered:
        return (
            f"No. None of {counted(info.targets, 'target')} is covered{f', in {where}' if accounts else ''}."
            f" That this page has no {items} says nothing."
        )
    if not info.failed:
        return (
            f"Yes, but for known gaps. {info.covered:,} of {counted(info.targets, 'target')}"
            f" {'is' if info.covered == 1 else 'are'} covered.{_hidden(facts)}"
        )
    return (
        f"No. {gaps:,} of {counted(info.targets, 'target')} {'is' if gaps == 1 else 'are'} not covered,"
        f"{f' {info.failed:,} of them unexpectedly,' if facts.expected else ''} in {where}. How many {items}"
        " there are is unknown."
    )


def _hidden(facts: Facts) -> str:
    """Return a further sentence on earlier items that a complete census can't list, or an empty text."""
    hidden = facts.worklist.hidden
    if not hidden:
        return ""
    what = counted(hidden, facts.operation.item, facts.operation.items)
    return f" But {what} of earlier snapshots can't be listed now, and may still be there."


def _all(targets: int) -> str:
    return "The only target is" if targets == 1 else f"All {targets:,} targets are"


def period(history: History) -> str:
    """Return the number of snapshots, and the days of the first and the last."""
    points = history.points
    first, last = day(points[0].info.started_at), day(points[-1].info.started_at)
    if len(points) == 1:
        return f"1 snapshot, of {first}"
    return f"{len(points):,} snapshots from {first} to {last}"


def sightings(item: WorkItem) -> str:
    """Return in how many snapshots an item was seen and when, and how many of them don't say its use."""
    first, last = day(item.first_seen), day(item.last_seen)
    silent = f", {item.seen - item.told:,} of them without its use" if 0 < item.told < item.seen else ""
    if item.seen == 1 or first == last:
        return f"in {counted(item.seen, 'snapshot')}, {first}{silent}"
    until = f" to {last}" if item.missing is not None else ""
    return f"in {counted(item.seen, 'snapshot')} from {first}{until}{silent}"


def regions_of(account: FailedAccount) -> str:
    """Return the region of an account that failed, or the number of its regions if there are several."""
    return account.region if account.regions == 1 else counted(account.regions, "region")


def parts_of(text: str) -> list[tuple[str, bool]]:
    """Return a sentence in parts, each with whether it is in backticks: the name of a setting."""
    return [(part, at % 2 == 1) for at, part in enumerate(_CODE.split(text)) if part]


def time_left(days: int) -> str:
    """Return how long support still lasts, as the end of a sentence."""
    if days < 0:
        return f", {counted(-days, 'day')} ago"
    return ", which is today" if days == 0 else f": {counted(days, 'day')} left"
