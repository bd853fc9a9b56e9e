"""The failures of each account: its targets that are not covered, grouped by cause."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from poolcensus.results.expected_failures import KnownGaps
from poolcensus.results.failure_tally import failure_kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.model import KnownGap, Outcome, TargetResult
    from poolcensus.operations import Operation
    from poolcensus.results.failure_tally import FailureKind


@dataclass(frozen=True, slots=True)
class AccountFailure:
    """The targets of one account that failed for the same cause.

    `regions` are sorted. All the targets have the error code `code`. `message` is the error message of the
    first region. `is_known` is true if a known gap expects all these failures.
    """

    account_id: str
    account_name: str | None
    outcome: Outcome
    code: str | None
    message: str | None
    regions: tuple[str, ...]
    is_known: bool = False
    organization: str | None = None


def failures_by_account(
    results: Iterable[TargetResult], operation: Operation | None, known_gaps: Iterable[KnownGap] = ()
) -> tuple[AccountFailure, ...]:
    """Return the failures among `results`, sorted by account ID, outcome and error code.

    `operation` is the operation of the census, or None if this version of poolcensus does not know it.
    `known_gaps` are the gaps that the run expected.
    """
    expected = KnownGaps(known_gaps)
    groups: dict[tuple[str, FailureKind, str | None, bool], list[TargetResult]] = {}
    for result in results:
        if not result.outcome.covered:
            is_known = expected.take(result)
            key = (result.account_id, failure_kind_of(result, operation), result.error_code, is_known)
            groups.setdefault(key, []).append(result)
    found = [
        _failure(sorted(targets, key=attrgetter("region")), is_known=is_known)
        for (*_, is_known), targets in groups.items()
    ]
    return tuple(
        sorted(found, key=lambda each: (each.account_id, each.outcome, each.code or "", each.regions))
    )


def _failure(targets: list[TargetResult], *, is_known: bool) -> AccountFailure:
    first = targets[0]
    return AccountFailure(
        account_id=first.account_id,
        account_name=first.account_name,
        outcome=first.outcome,
        code=first.error_code,
        message=first.error_message,
        regions=tuple(each.region for each in targets),
        is_known=is_known,
        organization=first.organization,
    )
