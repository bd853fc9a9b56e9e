"""The sentences about accounts and regions that rows are chosen by: not asked, and not covered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from poolcensus.cli.trouble import LONGEST_NAME
from poolcensus.cli.wording import counted
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from poolcensus.analysis.coverage import Coverage
    from poolcensus.model import SkippedAccount

# Of a list of hundreds of accounts: enough to see what is wrong with it.
_SHOWN: Final = 5


def not_asked(coverage: Coverage) -> Iterator[str]:
    """Yield a sentence where accounts or regions are chosen that the run did not ask, with the reason."""
    skipped = coverage.skipped()
    if skipped:
        yield _skipped([*{each.id: each for accounts in skipped.values() for each in accounts}.values()])
    choice = coverage.choice
    accounts = [each for each in coverage.unmatched_accounts if each not in skipped]
    if accounts:
        yield _no_target(accounts, choice.regions)
    # Where there is no target at all, that has been said of the accounts.
    if coverage.unmatched_regions and (coverage.targets or not choice.accounts):
        yield _no_target(choice.accounts, coverage.unmatched_regions)


def not_covered(coverage: Coverage, again: str | None) -> Iterator[str]:
    """Yield a sentence where targets are not covered, with the command `again` that lists them."""
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


def _skipped(accounts: Sequence[SkippedAccount]) -> str:
    if len(accounts) == 1:
        return f"Account {_named(accounts[0])} was not asked: it is {accounts[0].reason}."
    names = ", ".join(f"{_named(each)} ({each.reason})" for each in accounts[:_SHOWN])
    return f"{len(accounts):,} accounts were not asked: {names}{_more(accounts)}."


def _named(account: SkippedAccount) -> str:
    return f"{account.id} {account.name[:LONGEST_NAME]}" if account.name else account.id


def _no_target(accounts: Sequence[str], regions: Sequence[str]) -> str:
    kinds = (("account", accounts), ("region", regions))
    where = " in ".join(_listed(kind, entries) for kind, entries in kinds if entries)
    return f"Not asked: no target matches {where}."


def _listed(kind: str, entries: Sequence[str]) -> str:
    names = ", ".join(f'"{each[:LONGEST_NAME]}"' for each in entries[:_SHOWN])
    return f"{kind if len(entries) == 1 else f'{kind}s'} {names}{_more(entries)}"


def _more(entries: Sequence[object]) -> str:
    return f" and {len(entries) - _SHOWN:,} more" if len(entries) > _SHOWN else ""
