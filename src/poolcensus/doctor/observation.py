"""Runs the engine of a census over some accounts, and returns their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from poolcensus.aws.region_status.status import StatusReport
from poolcensus.engine.engine import Engine
from poolcensus.engine.interfaces import EngineLimits
from poolcensus.results.expected_failures import KnownGaps
from poolcensus.scope.given import GivenListing

if TYPE_CHECKING:
    from poolcensus.aws.region_status.status import RegionStatus
    from poolcensus.config import Settings
    from poolcensus.engine.deadlines import Deadline
    from poolcensus.model import Account, Page, Target, TargetResult
    from poolcensus.scope.opening import Opened


@dataclass(slots=True)
class Observed:
    """The results of an account: its targets, the regions with known gaps, and its region status."""

    account: Account
    results: list[TargetResult] = field(default_factory=list)
    known_gaps: set[str] = field(default_factory=set)
    status: StatusReport = field(default_factory=StatusReport)


class _Observer:
    """A sink that keeps the results, and drops the pages."""

    def __init__(self, accounts: tuple[Account, ...], settings: Settings, status: RegionStatus) -> None:
        self.observed = {account.id: Observed(account) for account in accounts}
        self._known_gaps = KnownGaps(settings.known_gaps)
        self._status = status

    def full(self) -> bool:
        return False

    async def room(self) -> None:
        pass

    def page(self, page: Page) -> None:
        pass

    def done(self, result: TargetResult, target: Target) -> None:
        seen = self.observed[target.account.id]
        seen.results.append(result)
        # Now, because the region status is forgotten after the account's last target.
        seen.status = self._status.report(target.account.id)
        if self._known_gaps.take(result):
            seen.known_gaps.add(target.region)


async def observe(
    opened: Opened, settings: Settings, accounts: tuple[Account, ...], deadline: Deadline
) -> tuple[Observed, ...]:
    """Run the engine over the accounts, in every region, and return their results in order.

    It makes the same calls as a census, so it meets the same errors. Raises FatalError if it can't go on.
    """
    observer = _Observer(accounts, settings, opened.aws.region_status)
    engine = Engine(
        aws=opened.aws,
        listing=GivenListing(accounts),
        regions=opened.regions,
        sink=observer,
        limits=EngineLimits.of(settings, deadline),
    )
    await engine.run()
    for each in observer.observed.values():
        each.results.sort(key=lambda result: result.region)
    return tuple(observer.observed.values())
