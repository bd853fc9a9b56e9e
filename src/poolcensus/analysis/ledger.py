"""The ledgers of two snapshots in memory, and by them, whether the pools of a target can be compared."""

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
    """The outcome of a target, its number of pools, and whether its failure is a known gap of the run."""

    outcome: Outcome
    pools: int
    is_expected: bool = False


class Ledger:
    """The ledger of a snapshot, by account and region. Messages call the snapshot `letter`.

    It takes about 100 bytes of memory per target.
    """

    def __init__(self, letter: str, skipped: Iterable[SkippedAccount] = ()) -> None:
        self.letter = letter
        self._skipped = {each.id: each.reason for each in skipped}
        self._entries: dict[str, dict[str, Entry]] = {}
        self._names: dict[str, str | None] = {}
        # Most entries are equal, such as those of targets without pools. Equal ones share one object.
        self._alike: dict[Entry, Entry] = {}

    @classmethod
    def read(cls, letter: str, snapshot: Snapshot) -> Self:
        """Read the ledger of a snapshot. Blocks.

        Raises what `Snapshot.targets` raises, and `DamagedSnapshotError` if a target has two lines.
        """
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
        """Add a line."""
        entry = Entry(result.outcome, result.pools, is_expected)
        regions = self._entries.setdefault(result.account_id, {})
        regions[sys.intern(result.region)] = self._alike.setdefault(entry, entry)
        self._names[result.account_id] = result.account_name

    def accounts(self) -> set[str]:
        """Return the IDs of the accounts that have a line."""
        return {*self._entries}

    def regions(self, account_id: str) -> set[str]:
        """Return the regions in which the account has a line."""
        return {*self._entries.get(account_id, ())}

    def name_of(self, account_id: str) -> str | None:
        """Return the name of an account, or None if it is not known."""
        return self._names.get(account_id)

    def entry(self, account_id: str, region: str) -> Entry | None:
        """Return the entry of a target, or None if it has no line."""
        return self._entries.get(account_id, {}).get(region)

    def has_pools(self, account_id: str, region: str) -> bool:
        """Return whether the target has a line with pools."""
        entry = self.entry(account_id, region)
        return entry is not None and entry.pools > 0

    def with_pools(self) -> Iterator[tuple[str, str, int]]:
        """Yield the account ID, the region and the number of pools of each target that has pools."""
        for account_id, regions in self._entries.items():
            for region, entry in regions.items():
                if entry.pools:
                    yield account_id, region, entry.pools

    def absence(self, account_id: str) -> str:
        """Return why a target of the account has no line, as far as the snapshot says."""
        reason = self._skipped.get(account_id)
        skipped = "" if reason is None else f" (account skipped: {reason})"
        return f"not in {self.letter}'s ledger{skipped}"


def known_pools(entry: Entry | None) -> int | None:
    """Return a target's number of pools, or None if the snapshot does not know it."""
    if entry is None or not entry.outcome.covered or entry.outcome in HIDING:
        return None
    return entry.pools


def reason_unknown(a: Ledger, b: Ledger, account_id: str, region: str) -> str | None:
    """Return why a target's pools can't be compared, or None if they can.

    They can't be compared if A or B did not cover the target, for instance because it was not asked to. There
    is one exception: if one of them has no line for the target and the other knows that it has no pools,
    there is nothing to report.

    They also can't be compared if A has pools and B says that none can be listed: pools in a disabled region,
    or in an account to which the service is closed, continue to exist. In the other direction, the pools of B
    count as added.
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
    """Return whether the pools of a target can be compared, so that its records are needed."""
    return reason_unknown(a, b, account_id, region) is None
