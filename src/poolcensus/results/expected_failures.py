"""Tells expected failures from others, and finds the known gaps that no longer hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from poolcensus import partitions
from poolcensus.model import KnownGap, Outcome, OutdatedGap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcensus.model import TargetResult

# The outcomes of a target whose calls were allowed.
_ALLOWED = frozenset({Outcome.OK, Outcome.EMPTY})


class _Seen:
    """Counts the outcomes of the targets of one gap."""

    __slots__ = ("allowed", "expected", "failed", "first_allowed", "targets")

    def __init__(self) -> None:
        self.targets = 0
        self.expected = 0
        self.failed = 0
        self.allowed = 0
        self.first_allowed: TargetResult | None = None


class KnownGaps:
    """The known gaps of a run, and the outcomes of their targets.

    An expected failure counts for the first gap that expects its outcome.
    """

    def __init__(self, gaps: Iterable[KnownGap]) -> None:
        self._gaps = tuple(gaps)
        self._seen = tuple(_Seen() for _ in self._gaps)
        self._anywhere = [number for number, gap in enumerate(self._gaps) if not gap.accounts]
        self._by_account: dict[str, list[int]] = {}
        for number, gap in enumerate(self._gaps):
            for account in gap.accounts:
                self._by_account.setdefault(account, []).append(number)

    def take(self, result: TargetResult) -> bool:
        """Count the result of a target. Return whether it is an expected failure."""
        if not self._gaps:
            return False
        expected = False
        numbers = self._by_account.get(result.account_id, [])
        for number in sorted((*numbers, *self._anywhere)) if numbers or self._anywhere else ():
            gap, seen = self._gaps[number], self._seen[number]
            if gap.regions and not partitions.matches(result.region, gap.regions):
                continue
            seen.targets += 1
            if result.outcome in gap.outcomes:
                seen.expected += not expected
                expected = True
            elif result.outcome in _ALLOWED:
                seen.allowed += 1
                seen.first_allowed = seen.first_allowed or result
            seen.failed += not result.outcome.covered
        return expected

    @property
    def expected(self) -> int:
        """The number of expected failures."""
        return sum(each.expected for each in self._seen)

    def counted(self) -> tuple[KnownGap, ...]:
        """Return the gaps, each with the number of its expected failures in `targets`."""
        return tuple(
            replace(gap, targets=seen.expected) for gap, seen in zip(self._gaps, self._seen, strict=True)
        )

    def outdated(self, has_left: Callable[[str], bool]) -> tuple[OutdatedGap, ...]:
        """Return the gaps that no longer hold, because a target was allowed or no target failed.

        A gap without a target in the run still holds, since a run may be narrowed to some accounts, regions
        or a shard. But it no longer holds if each of its accounts `has_left` the Organization.
        """
        return tuple(
            OutdatedGap(gap, seen.allowed, seen.first_allowed, seen.targets)
            for gap, seen in zip(self._gaps, self._seen, strict=True)
            if seen.allowed
            or (seen.targets and not seen.failed)
            or (not seen.targets and gap.accounts and all(map(has_left, gap.accounts)))
        )
