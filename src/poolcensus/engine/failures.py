"""Counts the targets that were not covered: by what went wrong, and by account."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.aws.refusals import denial_in, is_unexplained
from poolcensus.model import Denial, FailedAccount, FailureGroup, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.model import TargetResult
    from poolcensus.operations import Operation

# As many as fit on a line.
EXAMPLES: Final = 5


class _Kind(NamedTuple):
    outcome: Outcome
    denial: Denial | None
    unexplained: bool


class _Group:
    __slots__ = ("accounts", "codes", "regions", "targets")

    def __init__(self) -> None:
        self.targets = 0
        self.codes: set[str | None] = set()
        self.regions: set[str] = set()
        self.accounts: dict[str, FailedAccount] = {}


class FailureTally:
    """Counts failures as a run ends its targets. Memory grows with the accounts, not with the targets."""

    def __init__(self, operation: Operation | None, results: Iterable[TargetResult] = ()) -> None:
        self._operation = operation
        self._groups: dict[_Kind, _Group] = {}
        for result in results:
            self.add(result)

    def add(self, result: TargetResult) -> None:
        """Count a target, unless it is covered."""
        outcome = result.outcome
        if outcome.covered:
            return
        message = result.error_message or ""
        refused = outcome is Outcome.ACCESS_DENIED
        kind = _Kind(outcome, denial_in(message), refused and is_unexplained(message, self._operation))
        group = self._groups.get(kind)
        if group is None:
            group = self._groups[kind] = _Group()
        group.targets += 1
        group.codes.add(result.error_code)
        group.regions.add(result.region)
        before = group.accounts.get(result.account_id)
        first, regions = (result.region, 0) if before is None else (before.region, before.regions)
        group.accounts[result.account_id] = FailedAccount(
            result.account_id, result.account_name, first, regions + 1
        )

    def groups(self) -> tuple[FailureGroup, ...]:
        """Return the ways in which targets failed, those of most accounts first."""
        found = [
            FailureGroup(
                kind.outcome,
                kind.denial,
                kind.unexplained,
                code=next(iter(group.codes)) if len(group.codes) == 1 else None,
                region=next(iter(group.regions)) if len(group.regions) == 1 else None,
                targets=group.targets,
                accounts=len(group.accounts),
                examples=tuple(nsmallest(EXAMPLES, group.accounts.values(), key=lambda each: each.id)),
            )
            for kind, group in self._groups.items()
        ]
        return tuple(sorted(found, key=lambda each: -each.accounts))
