"""A compact set of targets."""

from __future__ import annotations


class TargetSet:
    """A set of targets, stored as one integer for each account, with a bit for each region.

    A set of pairs would take some 150 bytes for each target, which is most of the memory of a run over many
    accounts without pools.
    """

    def __init__(self) -> None:
        self._bits: dict[str, int] = {}
        self._regions: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(regions.bit_count() for regions in self._bits.values())

    def add(self, account_id: str, region: str) -> None:
        """Add a target."""
        bit = self._regions.setdefault(region, 1 << len(self._regions))
        self._bits[account_id] = self._bits.get(account_id, 0) | bit

    def has(self, account_id: str, region: str) -> bool:
        """Return whether the set has a target."""
        return bool(self._bits.get(account_id, 0) & self._regions.get(region, 0))
