"""Sentences about the accounts and regions that a user selects: which were not asked, which not covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.format.text import LONGEST_NAME, counted, listed
from poolcensus.model import HIDING, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from poolcensus.analysis.coverage import Coverage
    from poolcensus.model import SkippedAccount


def not_asked(coverage: Coverage) -> Iterator[str]:
    """Yield sentences about the selected accounts and regions that the run did not ask, with the reason."""
    choice, skipped = coverage.choice, coverage.skipped()
    if skipped:
        yield _skipped([*{each.id: each for accounts in skipped.values() for each in accounts}.values()])
    unmatched = coverage.unmatched_accounts
    if accounts := [each for each in unmatched if each not in skipped]:
        yield _no_target(accounts, ())
    unmatched_regions = coverage.unmatched_regions
    if unmatched_regions:
        yield _no_target((), unmatched_regions)
    # If none of the regions or none of the accounts exists, a sentence above has said so.
    if choice.regions and len(unmatched_regions) < len({*choice.regions}):
        if accounts := coverage.accounts_without_target:
            yield _no_target(accounts, choice.regions)
        elif len(unmatched) < len({*choice.accounts}) and (regions := coverage.regions_without_target):
            yield _no_target(choice.accounts, regions)


def not_covered(coverage: Coverage, again: str | None) -> Iterator[str]:
    """Yield a sentence if targets are not covered. `again` is the command that lists them."""
    uncovered = coverage.uncovered
    number = uncovered.total()
    if not number:
        return
    chosen = " chosen" if coverage.choice.is_of_places else ""
    outcomes = ", ".join(f"{each} ({uncovered[each]:,})" for each in Outcome if each in uncovered)
    advice = f" Run '{again}' to see why." if again is not None else ""
    yield (
        f"{number:,} of {counted(coverage.targets, 'target')}{chosen} {'is' if number == 1 else 'are'} not"
        f" covered: {outcomes}.{advice}"
    )


def not_listed(coverage: Coverage) -> Iterator[str]:
    """Yield a sentence if targets are covered but may hide items, such as those in a disabled region."""
    hidden = {each: coverage.outcomes[each] for each in Outcome if each in HIDING and coverage.outcomes[each]}
    if hidden:
        outcomes = ", ".join(f"{each} ({count:,})" for each, count in hidden.items())
        targets = counted(coverage.targets, "target")
        yield (
            f"{sum(hidden.values()):,} of {targets} chosen may have {coverage.items} that AWS does not list:"
            f" {outcomes}."
        )


def _skipped(accounts: Sequence[SkippedAccount]) -> str:
    if len(accounts) == 1:
        return f"Account {_named(accounts[0])} was not asked: it is {accounts[0].reason}."
    names = listed([f"{_named(each)} ({each.reason})" for each in accounts])
    return f"{len(accounts):,} accounts were not asked: {names}."


def _named(account: SkippedAccount) -> str:
    return f"{account.id} {account.name[:LONGEST_NAME]}" if account.name else account.id


def _no_target(accounts: Sequence[str], regions: Sequence[str]) -> str:
    kinds = (("account", accounts), ("region", regions))
    where = " in ".join(_listed(kind, entries) for kind, entries in kinds if entries)
    return f"Not asked: no target matches {where}."


def _listed(kind: str, entries: Sequence[str]) -> str:
    names = listed([f'"{each[:LONGEST_NAME]}"' for each in entries])
    return f"{kind if len(entries) == 1 else f'{kind}s'} {names}"
