"""Which targets a snapshot has, in a few bytes each."""

from __future__ import annotations


class TargetSet:
    """A set of accounts and regions: for each account a number with a bit for each region.

    A set of pairs would hold some 150 bytes for each target, which are most of what a run over many accounts
    without pools has to keep.
    """

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._regions: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(regions.bit_count() for regions in self._bits.values())

    def add(self, account_id: str, region: str) -> None:
        """Put a target in."""
        bit = self._regions.setdefault(region, 1 << len(self._regions))
        self._bits[account_id] = self._bits.get(account_id, 0) | bit

    def has(self, account_id: str, region: str) -> bool:
        """Whether a target is in."""
        return bool(self._bits.get(account_id, 0) & self._regions.get(region, 0))
