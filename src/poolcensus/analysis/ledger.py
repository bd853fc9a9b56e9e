"""What the ledgers of two snapshots say of a target: whether its pools can be compared."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple, Self

from poolcensus.errors import DamagedSnapshotError
from poolcensus.model import HIDING
from poolcensus.results.expected_failures import KnownGaps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from poolcensus.model import Outcome, SkippedAccount, TargetResult
    from poolcensus.snapshot import Snapshot


class Entry(NamedTuple):
    """How a target ended, the number of its pools, and whether its run expected it to fail as it did."""

    outcome: Outcome
    pools: int
    is_expected: bool = False


class Ledger:
    """The ledger of a snapshot, which is called `letter` in messages, by account and region.

    Takes some 100 bytes of memory a target.
    """

    def __init__(self, letter: str, skipped: Iterable[SkippedAccount] = ()) -> None:
        self.letter = letter
        self._skipped = {each.id: each.reason for each in skipped}
        self._entries: dict[str, dict[str, Entry]] = {}
        self._names: dict[str, str | None] = {}
        # Most entries are alike, such as those of the targets without pools.
        self._alike: dict[Entry, Entry] = {}

    @classmethod
    def read(cls, letter: str, snapshot: Snapshot) -> Self:
        """Return the ledger of a snapshot. Blocks, and raises what `Snapshot.targets` does."""
        ledger = cls(letter, snapshot.manifest.accounts_skipped)
        gaps = KnownGaps(snapshot.manifest.known_gaps)
        for result in snapshot.targets():
            if ledger.entry(result.account_id, result.region) is not None:
                raise DamagedSnapshotError(
                    f"{snapshot.files.place_of(snapshot.targets_file[0].name)} has two lines for"
                    f" {result.account_id} {result.region}; the snapshot is damaged"
                )
            ledger.add(result, is_expected=gaps.take(result))
        return ledger

    def add(self, result: TargetResult, *, is_expected: bool = False) -> None:
        """Put a line in."""
        entry = Entry(result.outcome, result.pools, is_expected)
        regions = self._entries.setdefault(result.account_id, {})
        regions[sys.intern(result.region)] = self._alike.setdefault(entry, entry)
        self._names[result.account_id] = result.account_name

    def accounts(self) -> set[str]:
        """Return the ids of the accounts that have a line."""
        return {*self._entries}

    def regions(self, account_id: str) -> set[str]:
        """Return the regions in which an account has a line."""
        return {*self._entries.get(account_id, ())}

    def name_of(self, account_id: str) -> str | None:
        """Return the name of an account, None where it is not known."""
        return self._names.get(account_id)

    def entry(self, account_id: str, region: str) -> Entry | None:
        """Return the line of a target, None where there is none."""
        return self._entries.get(account_id, {}).get(region)

    def has_pools(self, account_id: str, region: str) -> bool:
        """Whether the target has a line that counts pools."""
        entry = self.entry(account_id, region)
        return entry is not None and entry.pools > 0

    def with_pools(self) -> Iterator[tuple[str, str, int]]:
        """Yield account, region and number of pools of each target that has pools."""
        for account_id, regions in self._entries.items():
            for region, entry in regions.items():
                if entry.pools:
                    yield account_id, region, entry.pools

    def absence(self, account_id: str) -> str:
        """Return why a target of the account has no line, as far as the snapshot tells."""
        reason = self._skipped.get(account_id)
        skipped = "" if reason is None else f" (account skipped: {reason})"
        return f"not in {self.letter}'s ledger{skipped}"


def known_pools(entry: Entry | None) -> int | None:
    """Return the number of a target's pools, None where a snapshot does not know it."""
    if entry is None or not entry.outcome.covered or entry.outcome in HIDING:
        return None
    return entry.pools


def reason_unknown(a: Ledger, b: Ledger, account_id: str, region: str) -> str | None:
    """Return why nobody can say what became of a target's pools; None where they can be compared.

    They can't where A or B did not cover the target. A target that one of them was not asked about is not
    covered there; but where the other knows that it has no pools, there is nothing to be said of it.

    Nor can they where A has pools and B says that none can be listed: an account to which the service is
    closed, and a region that is disabled, keep what they have. In the other direction the pools of B are
    added: that hides none.
    """
    old, new = a.entry(account_id, region), b.entry(account_id, region)
    if old is None or new is None:
        other = old or new
        if other is None or (other.outcome.covered and not other.pools):
            return None
    elif old.outcome.covered and new.outcome.covered:
        return f"{new.outcome} in B" if old.pools and new.outcome in HIDING else None
    elif old.outcome is new.outcome:
        return f"{old.outcome} in A and B"
    gaps = [
        f"{entry.outcome} in {ledger.letter}" if entry is not None else ledger.absence(account_id)
        for ledger, entry in ((a, old), (b, new))
        if entry is None or not entry.outcome.covered
    ]
    return ", ".join(gaps)


def is_compared(a: Ledger, b: Ledger, account_id: str, region: str) -> bool:
    """Whether the pools of a target can be compared, so that its records are needed."""
    return reason_unknown(a, b, account_id, region) is None
