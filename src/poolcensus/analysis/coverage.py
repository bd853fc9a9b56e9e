"""Counts what the ledger says of the chosen accounts and regions: which were asked, and which covered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self, TypeAlias

from poolcensus.analysis.listing import Naming
from poolcensus.partitions import matches
from poolcensus.results.expected_failures import KnownGaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcensus.analysis.listing import Choice
    from poolcensus.model import Manifest, Outcome, SkippedAccount, TargetResult
    from poolcensus.snapshot import Snapshot

_Account: TypeAlias = tuple[str, str | None]


class Coverage:
    """The outcomes of the targets in the accounts and regions of a choice.

    The other fields of the choice are ignored. `expected` is how many of the targets failed as a known gap of
    the run expects.
    """

    def __init__(self, choice: Choice, manifest: Manifest) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.expected = 0
        self.choice = choice
        # The accounts and regions of the ledger, each with whether it is chosen, and those of chosen targets.
        self._accounts: dict[_Account, bool] = {}
        self._regions: dict[str, bool] = {}
        self._with_targets: set[_Account] = set()
        self._regions_with_targets: set[str] = set()
        self._manifest = manifest
        self._gaps = KnownGaps(manifest.known_gaps)

    @classmethod
    def read(cls, snapshot: Snapshot, choice: Choice) -> Self:
        """Return the coverage of a choice in a snapshot. Raises what `Snapshot.targets` raises.

        The ledger is read only if the choice has accounts or regions. Otherwise the manifest has the numbers.
        """
        found = cls(choice, snapshot.manifest)
        if choice.is_of_places:
            for result in snapshot.targets():
                found.take(result)
        else:
            found.outcomes.update(snapshot.manifest.outcomes)
            found.expected = sum(each.targets for each in snapshot.manifest.known_gaps)
        return found

    def failed(self, results: Iterable[TargetResult]) -> Iterator[TargetResult]:
        """Count the chosen targets among `results`, and yield those that are not covered."""
        return (result for result in results if self.take(result) and not result.outcome.covered)

    def take(self, result: TargetResult) -> bool:
        """Count a target if it is chosen, and return whether it is."""
        choice = self.choice
        account, region = (result.account_id, result.account_name), result.region
        if (is_account := self._accounts.get(account)) is None:
            is_account = choice.takes_account(*account)
            self._accounts[account] = is_account
        if (is_region := self._regions.get(region)) is None:
            is_region = self._regions[region] = not choice.regions or matches(region, choice.regions)
        if not (is_account and is_region):
            return False
        self._with_targets.add(account)
        self._regions_with_targets.add(region)
        self.outcomes[result.outcome] += 1
        if not result.outcome.covered:
            self.expected += self._gaps.take(result)
        return True

    @property
    def items(self) -> str:
        """The plural noun for the items of the snapshot, such as "pools"."""
        return self._manifest.operation.items

    @property
    def targets(self) -> int:
        """The number of chosen targets."""
        return self.outcomes.total()

    @property
    def is_asked(self) -> bool:
        """Whether there is a chosen target. True if the choice has neither accounts nor regions."""
        return self.targets > 0 or not self.choice.is_of_places

    @property
    def uncovered(self) -> Counter[Outcome]:
        """The number of chosen targets that are not covered, by outcome."""
        return Counter({each: count for each, count in self.outcomes.items() if count and not each.covered})

    @property
    def unmatched_accounts(self) -> list[str]:
        """The chosen accounts that match no account in the ledger."""
        return _naming_none(self.choice.accounts, self._accounts)

    @property
    def unmatched_regions(self) -> list[str]:
        """The chosen regions that match no region in the ledger."""
        return [each for each in dict.fromkeys(self.choice.regions) if not _any_matches(self._regions, each)]

    @property
    def accounts_without_target(self) -> list[str]:
        """The chosen accounts that are in the ledger, but have no target in the chosen regions."""
        known = {*_naming_none(self.choice.accounts, self._accounts)}
        return [each for each in _naming_none(self.choice.accounts, self._with_targets) if each not in known]

    @property
    def regions_without_target(self) -> list[str]:
        """The chosen regions that are in the ledger, but have no target in the chosen accounts."""
        return [
            each
            for each in dict.fromkeys(self.choice.regions)
            if _any_matches(self._regions, each) and not _any_matches(self._regions_with_targets, each)
        ]

    def skipped(self) -> dict[str, Sequence[SkippedAccount]]:
        """Return, for entries of `unmatched_accounts`, the accounts they match that the run skipped."""
        skipped = self._manifest.accounts_skipped
        entries = ((entry, Naming.of((entry,))) for entry in self.unmatched_accounts)
        found = {entry: [each for each in skipped if one.names(each.id, each.name)] for entry, one in entries}
        return {entry: accounts for entry, accounts in found.items() if accounts}


def _naming_none(entries: Iterable[str], accounts: Iterable[_Account]) -> list[str]:
    """Return the entries that match none of the accounts."""
    known = [*accounts]
    ids, names = {each for each, _ in known}, {(name or "").casefold() for _, name in known}
    return [each for each in dict.fromkeys(entries) if not Naming.of((each,)).names_any(ids, names)]


def _any_matches(regions: Iterable[str], entry: str) -> bool:
    return any(matches(each, (entry,)) for each in regions)
