"""What the ledger says of the accounts and regions that rows are chosen by: which were asked and covered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self

from poolcensus.analysis.listing import is_named
from poolcensus.engine.known_gaps import KnownGaps
from poolcensus.partitions import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcensus.analysis.listing import Choice
    from poolcensus.model import Manifest, Outcome, SkippedAccount, TargetResult
    from poolcensus.snapshot import Snapshot


class Coverage:
    """The targets in the accounts and regions of a choice, whatever else the choice says, by outcome.

    `expected` of them failed as a known gap of the run expects. `unmatched_accounts` and
    `unmatched_regions` are the entries of the choice that name none of these targets: nobody asked there.
    """

    def __init__(self, choice: Choice, manifest: Manifest) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.expected = 0
        self.unmatched_accounts = [*dict.fromkeys(choice.accounts)]
        self.unmatched_regions = [*dict.fromkeys(choice.regions)]
        self.choice = choice
        self._manifest = manifest
        self._gaps = KnownGaps(manifest.known_gaps)

    @classmethod
    def read(cls, snapshot: Snapshot, choice: Choice) -> Self:
        """Return what a snapshot says of a choice. Raises what `Snapshot.targets` does.

        The ledger is read only where accounts or regions are chosen: the manifest has the outcomes of all.
        """
        found = cls(choice, snapshot.manifest)
        if choice.is_of_places:
            for _ in found.failed(snapshot.targets()):
                pass
        else:
            found.outcomes.update(snapshot.manifest.outcomes)
            found.expected = sum(each.targets for each in snapshot.manifest.known_gaps)
        return found

    def failed(self, results: Iterable[TargetResult]) -> Iterator[TargetResult]:
        """Count those of `results`, the lines of a ledger, that are chosen. Yield those not covered."""
        for result in results:
            if not self.choice.takes_target(result):
                continue
            self.outcomes[result.outcome] += 1
            if self.unmatched_accounts:
                self.unmatched_accounts = [
                    each
                    for each in self.unmatched_accounts
                    if not is_named(result.account_id, result.account_name, (each,))
                ]
            if self.unmatched_regions:
                self.unmatched_regions = [
                    each for each in self.unmatched_regions if not matches(result.region, (each,))
                ]
            if not result.outcome.covered:
                self.expected += self._gaps.take(result)
                yield result

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

    def skipped(self) -> dict[str, Sequence[SkippedAccount]]:
        """Return the accounts that the run skipped, by the entry of `unmatched_accounts` that names them."""
        skipped = self._manifest.accounts_skipped
        found = {
            entry: [each for each in skipped if is_named(each.id, each.name, (entry,))]
            for entry in self.unmatched_accounts
        }
        return {entry: accounts for entry, accounts in found.items() if accounts}
