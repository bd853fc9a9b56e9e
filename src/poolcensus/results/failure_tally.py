"""Counts the targets that were not covered, by the kind of failure and by account."""

from __future__ import annotations

import re
from heapq import nsmallest
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from poolcensus.aws.refusals.table import denial_in, is_unexplained
from poolcensus.model import Denial, FailedAccount, FailureGroup, Outcome
from poolcensus.partitions import always_on_regions
from poolcensus.results.role_trouble import role_trouble_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.model import TargetResult
    from poolcensus.operations import Operation

# How many accounts fit on a line.
EXAMPLES: Final = 5
_ORDER: Final = {outcome: place for place, outcome in enumerate(Outcome)}
# A role's name follows its path: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
_ROLE = re.compile(r":role/(?:[!-~]*/)?([\w+=,.@-]+)")

_T = TypeVar("_T")


class FailureKind(NamedTuple):
    """A kind of failure. The fields are those of `FailureGroup`, and one more.

    `ended_by` is the error code of a target that timed out, or None if the target's own time limit was
    exceeded.
    """

    outcome: Outcome
    operation: str
    denial: Denial | None
    unexplained: bool
    organization: str | None
    role_trouble: str | None
    ended_by: str | None


def failure_kind_of(result: TargetResult, operation: Operation | None) -> FailureKind:
    """Return the kind of failure of a target that is not covered."""
    message = result.error_message or ""
    refused = result.outcome is Outcome.ACCESS_DENIED
    name = operation.iam_action if operation is not None else result.operation
    unexplained = refused and is_unexplained(message, operation)
    is_role = result.outcome is Outcome.ASSUME_ROLE_FAILED
    trouble = role_trouble_of(result.error_code, message) if is_role else None
    ended_by = result.error_code if result.outcome is Outcome.TIMED_OUT else None
    return FailureKind(
        result.outcome, name, denial_in(message), unexplained, result.organization, trouble, ended_by
    )


class _Group:
    __slots__ = ("accounts", "always_on", "codes", "regions", "roles", "targets")

    def __init__(self) -> None:
        self.targets = 0
        self.codes: set[str | None] = set()
        self.regions: set[str] = set()
        self.roles: set[str | None] = set()
        self.accounts: dict[str, FailedAccount] = {}
        # The accounts in which a region failed that is not an opt-in region.
        self.always_on: set[str] = set()


class FailureTally:
    """Counts failures as targets end. Its memory grows with the number of accounts, not of targets."""

    def __init__(self, operation: Operation | None, results: Iterable[TargetResult] = ()) -> None:
        self._operation = operation
        self._groups: dict[FailureKind, _Group] = {}
        self._always_on = always_on_regions()
        for result in results:
            self.add(result)

    def add(self, result: TargetResult) -> None:
        """Count a target that is not covered."""
        message = result.error_message or ""
        kind = failure_kind_of(result, self._operation)
        group = self._groups.get(kind)
        if group is None:
            group = self._groups[kind] = _Group()
        group.targets += 1
        group.codes.add(result.error_code)
        group.regions.add(result.region)
        if result.region in self._always_on:
            group.always_on.add(result.account_id)
        if result.outcome is Outcome.ASSUME_ROLE_FAILED:
            group.roles.add(found[1] if (found := _ROLE.search(message)) else None)
        before = group.accounts.get(result.account_id)
        first, regions = (result.region, 0) if before is None else (before.region, before.regions)
        group.accounts[result.account_id] = FailedAccount(
            result.account_id, result.account_name, first, regions + 1
        )

    def groups(self, examples: int = EXAMPLES) -> tuple[FailureGroup, ...]:
        """Return the failures by kind, the kinds with most accounts first.

        Kinds with equally many accounts are in the order of the outcomes, and unexplained refusals are last.
        Each group has up to `examples` accounts, those in which most regions failed.
        """
        return tuple(
            FailureGroup(
                kind.outcome,
                kind.operation,
                kind.denial,
                kind.unexplained,
                code=_only(group.codes),
                region=_only(group.regions),
                role=_only(group.roles),
                targets=group.targets,
                accounts=len(group.accounts),
                examples=tuple(nsmallest(examples, group.accounts.values(), key=_most_regions)),
                organization=kind.organization,
                role_trouble=kind.role_trouble,
                opt_in=len(group.always_on) * 2 < len(group.accounts),
            )
            # Sorted, since the order in which kinds occur is random, and people compare two runs.
            for kind, group in sorted(self._groups.items(), key=_most_accounts)
        )


def _most_accounts(entry: tuple[FailureKind, _Group]) -> tuple[int, bool, int, tuple[str, ...]]:
    kind, group = entry
    texts = tuple("" if each is None else str(each) for each in kind)
    return -len(group.accounts), kind.unexplained, _ORDER[kind.outcome], texts


def _most_regions(account: FailedAccount) -> tuple[int, str]:
    return -account.regions, account.id


def _only(values: set[_T]) -> _T | None:
    """Return the only value, or None if there is not exactly one."""
    return next(iter(values)) if len(values) == 1 else None
