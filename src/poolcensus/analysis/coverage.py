"""What the ledger says of the accounts and regions that rows are chosen by: which were asked and covered."""

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
    """The targets in the accounts and regions of a choice, whatever else the choice says, by outcome.

    `expected` of them failed as a known gap of the run expects.
    """

    def __init__(self, choice: Choice, manifest: Manifest) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.expected = 0
        self.choice = choice
        # Whether those of the ledger are chosen, and which of them have a target that is.
        self._accounts: dict[_Account, bool] = {}
        self._regions: dict[str, bool] = {}
        self._with_targets: set[_Account] = set()
        self._regions_with_targets: set[str] = set()
        self._manifest = manifest
        self._gaps = KnownGaps(manifest.known_gaps)

    @classmethod
    def read(cls, snapshot: Snapshot, choice: Choice) -> Self:
        """Return what a snapshot says of a choice. Raises what `Snapshot.targets` does.

        The ledger is read only where accounts or regions are chosen: the manifest has the outcomes of all.
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
        """Count all of `results`, lines of a ledger, that are chosen. Yield those not covered."""
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
        """What the operation of the snapshot lists."""
        return self._manifest.operation.items

    @property
    def targets(self) -> int:
        """How many targets there are."""
        return self.outcomes.total()

    @property
    def is_asked(self) -> bool:
        """Whether there is one, if accounts or regions are chosen."""
        return self.targets > 0 or not self.choice.is_of_places

    @property
    def uncovered(self) -> Counter[Outcome]:
        """How many targets are not covered, by outcome."""
        return Counter({each: count for each, count in self.outcomes.items() if count and not each.covered})

    @property
    def unmatched_accounts(self) -> list[str]:
        """The entries that name no account of the ledger."""
        return _naming_none(self.choice.accounts, self._accounts)

    @property
    def unmatched_regions(self) -> list[str]:
        """The entries that name no region of the ledger."""
        return [each for each in dict.fromkeys(self.choice.regions) if not _any_matches(self._regions, each)]

    @property
    def accounts_without_target(self) -> list[str]:
        """The entries that name accounts of the ledger, but none with a target in the regions."""
        known = {*_naming_none(self.choice.accounts, self._accounts)}
        return [each for each in _naming_none(self.choice.accounts, self._with_targets) if each not in known]

    @property
    def regions_without_target(self) -> list[str]:
        """The entries that name regions of the ledger, but none with a target in the accounts."""
        return [
            each
            for each in dict.fromkeys(self.choice.regions)
            if _any_matches(self._regions, each) and not _any_matches(self._regions_with_targets, each)
        ]

    def skipped(self) -> dict[str, Sequence[SkippedAccount]]:
        """Return the accounts that the run skipped, by the entry of `unmatched_accounts` that names them."""
        skipped = self._manifest.accounts_skipped
        entries = ((entry, Naming.of((entry,))) for entry in self.unmatched_accounts)
        found = {entry: [each for each in skipped if one.names(each.id, each.name)] for entry, one in entries}
        return {entry: accounts for entry, accounts in found.items() if accounts}


def _naming_none(entries: Iterable[str], accounts: Iterable[_Account]) -> list[str]:
    """Return the entries that name none of the accounts."""
    known = [*accounts]
    ids, names = {each for each, _ in known}, {(name or "").casefold() for _, name in known}
    return [each for each in dict.fromkeys(entries) if not Naming.of((each,)).names_any(ids, names)]


def _any_matches(regions: Iterable[str], entry: str) -> bool:
    return any(matches(each, (entry,)) for each in regions)
