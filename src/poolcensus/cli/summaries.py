"""Summaries of a snapshot or a plan as names and values, and sentences wrapped between words."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from poolcensus.cli.columns import LONGEST_WORD, Column, Grid, unbroken, words_in_lines
from poolcensus.cli.tables import outcome_style, seconds_between, status_style
from poolcensus.cli.wording import duration
from poolcensus.format.text import counted, listed, printable
from poolcensus.format.times import rfc3339
from poolcensus.model import Outcome
from poolcensus.snapshot.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.text import Text

    from poolcensus.model import Manifest, SkippedAccount
    from poolcensus.planned import Estimate, Plan

# Values shown of a list, such as hundreds of accounts: enough to recognize it. `show --json` has all of them.
_VALUES_SHOWN = 10
# Accounts shown of those skipped for one reason: enough to judge whether the reason is right.
_SKIPPED_SHOWN = 3


class _Facts:
    """Names and values, one below the other. A value is wrapped between words only."""

    def __init__(self, rows: Iterable[tuple[str, str, str]]) -> None:
        self._rows = [(name, printable(value), style) for name, value, style in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        names = max(len(name) for name, _, _ in self._rows) + 2
        for name, value, style in self._rows:
            for at, line in enumerate(words_in_lines(value, max(options.max_width - names, 1))):
                yield unbroken((f"{'' if at else name:<{names}}", "bold"), (line, style))


class _Sentences:
    """Sentences, each beginning on a new line and wrapped between words."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = [printable(each) for each in lines]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for each in self._lines:
            for at, line in enumerate(words_in_lines(each, options.max_width - 2, LONGEST_WORD)):
                yield unbroken(("  " if at else "", ""), (line, ""))


def sentences(lines: Iterable[str]) -> RenderableType:
    """Return sentences that are wrapped to the width of the console."""
    return _Sentences(lines)


def manifest_summary(manifest: Manifest, where: str | None) -> Iterable[RenderableType]:
    """Yield the summary of a snapshot: its facts, and its targets by outcome."""
    totals = manifest.totals
    took = duration(seconds_between(manifest.started_at, manifest.finished_at))
    yield _Facts(
        [
            ("Snapshot", manifest.snapshot_id, ""),
            ("Status", manifest.status, status_style(manifest.status)),
            *_scope_rows(Scope.of(manifest)),
            *([("Where", where, "")] if where is not None else []),
            ("Started", f"{rfc3339(manifest.started_at)}, took {took}", ""),
            ("Caller", manifest.caller.arn, ""),
            ("Accounts", f"{manifest.accounts_planned:,} asked{_skipped(manifest.accounts_skipped)}", ""),
            ("Targets", f"{totals.covered:,} of {totals.targets:,} covered{_gaps(manifest)}", ""),
            (
                manifest.operation.items.capitalize(),
                f"{totals.pools:,} on {counted(totals.pages, 'page')}",
                "",
            ),
            (
                "API calls",
                (
                    f"{totals.requests:,} ({counted(totals.retries, 'retry', 'retries')},"
                    f" {totals.throttles:,} throttled, {totals.assume_role_calls:,} AssumeRole)"
                ),
                "",
            ),
        ]
    )
    yield ""
    outcomes = [(each, count) for each in Outcome if (count := manifest.outcomes.get(each))]
    yield Grid(
        (Column("Outcome", style=outcome_style), Column("Targets", is_number=True)),
        [(outcome, f"{count:,}") for outcome, count in outcomes],
    )


def _scope_rows(scope: Scope) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each part of a scope, with the first of its names or IDs."""
    for number, (words, values) in enumerate(scope.parts()):
        shown = f"{words}: {listed(values, _VALUES_SHOWN)}" if values else words
        yield ("Scope" if number == 0 else "", shown, "")


def plan_summary(plan: Plan) -> Iterable[RenderableType]:
    """Yield the summary of a plan: its facts, its calls by operation, and the skipped accounts by reason."""
    yield _Facts(
        [
            *_who(plan),
            ("Accounts", f"{len(plan.accounts):,}{_skipped(plan.skipped)}", ""),
            ("Regions", ": ".join(filter(None, (f"{len(plan.regions):,}", ", ".join(plan.regions)))), ""),
            ("Targets", f"{plan.targets:,}{_disabled(plan)}", ""),
            *_unknown_status(plan),
            ("Calls", f"at least {sum(plan.calls.values()):,}{_by_service(plan)}", ""),
            *([("Estimate", _estimate(plan.estimate), "")] if plan.estimate is not None else []),
        ]
    )
    yield ""
    yield Grid(
        (Column("Operation"), Column("Calls", is_number=True)),
        [(operation, f"{count:,}") for operation, count in plan.calls.items()],
    )
    if plan.skipped:
        yield ""
        yield Grid(
            (Column("Skipped"), Column("Accounts", is_number=True), Column("Such as", is_sentence=True)),
            [(reason, f"{len(some):,}", _examples(some)) for reason, some in _by_reason(plan.skipped)],
        )


def _who(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yield the rows for the caller and the Organization, or a row for each of several Organizations."""
    for each in plan.organizations:
        accounts = counted(each.accounts_planned, "account")
        known = f", {each.id}" if each.id is not None else ""
        yield ("Organization", f"{each.name}{known}: {accounts}, by {each.caller.arn}", "")
    if not plan.organizations:
        yield ("Caller", plan.caller.arn, "")
        if plan.organization_id is not None:
            yield ("Organization", plan.organization_id, "")


def _by_service(plan: Plan) -> str:
    if len(plan.services) < 2:
        return ""
    return f" ({', '.join(f'{count:,} {service}' for service, count in plan.services.items())})"


def _estimate(estimate: Estimate) -> str:
    source = f", as of {estimate.snapshot_id}" if estimate.snapshot_id is not None else ", by assumed rates"
    return f"about {duration(estimate.seconds)}{source}; most of it {estimate.bound_by}"


def _by_reason(accounts: Iterable[SkippedAccount]) -> list[tuple[str, list[SkippedAccount]]]:
    reasons: dict[str, list[SkippedAccount]] = {}
    for each in accounts:
        reasons.setdefault(each.reason, []).append(each)
    return sorted(reasons.items())


def _examples(accounts: list[SkippedAccount]) -> str:
    names = [f"{each.id} ({each.name})" if each.name else each.id for each in accounts]
    return listed(names, _SKIPPED_SHOWN)


def _gaps(manifest: Manifest) -> str:
    known = sum(each.targets for each in manifest.known_gaps)
    return f", {known:,} in {'a known gap' if known == 1 else 'known gaps'}" if known else ""


def _skipped(accounts: Iterable[SkippedAccount]) -> str:
    reasons = Counter(each.reason for each in accounts)
    if not reasons:
        return ""
    listed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return f", {reasons.total():,} skipped ({listed})"


def _unknown_status(plan: Plan) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each reason why the enabled regions of some accounts are unknown."""
    reasons: dict[str | None, list[str]] = {}
    for each in plan.region_status_unknown:
        reasons.setdefault(plan.region_status_reasons.get(each), []).append(each)
    for number, (reason, accounts) in enumerate(reasons.items()):
        why = f" ({reason})" if reason is not None else ""
        such_as = f"{listed(accounts, _SKIPPED_SHOWN)}{why}"
        yield (
            "" if number else "Region status",
            f"unknown for {counted(len(accounts), 'account')}: {such_as}",
            "",
        )


def _disabled(plan: Plan) -> str:
    return f", {plan.region_disabled:,} of them in regions that are disabled" if plan.region_disabled else ""
