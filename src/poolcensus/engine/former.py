"""What an interrupted run has finished goes in as accounts are listed, before anything is called for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from poolcensus.model import Target

if TYPE_CHECKING:
    from poolcensus.engine.counts import RunCounts
    from poolcensus.engine.interfaces import PreviousRun, Sink
    from poolcensus.flow.breaker import Work
    from poolcensus.model import Account
    from poolcensus.scope.regions import RegionChoice


class FormerTargets:
    """The targets that an interrupted run has finished, put into the sink of the run that goes on with it.

    `unfinished` counts the targets of the account that is being looked at which have no result yet.
    """

    def __init__(
        self,
        former: PreviousRun | None,
        *,
        regions: RegionChoice,
        sink: Sink,
        counts: RunCounts,
        work: Work,
    ) -> None:
        self._former = former
        self._regions = regions
        self._sink = sink
        self._counts = counts
        self._work = work
        self.unfinished = 0

    @property
    def is_there(self) -> bool:
        """Whether the run goes on with another one."""
        return self._former is not None

    async def rest_of(self, account: Account) -> Account | None:
        """Put in what was finished of an account, and return it with the regions that are left, if any are.

        A run that ends early has lost none of it then: until all accounts are listed, what the former run
        left is kept.
        """
        former = self._former
        if former is None:
            return account
        targets = [Target(account, region) for region in self._regions.of(account)]
        if not any(map(former.has, targets)):
            return account
        left = []
        self.unfinished = len(targets)
        # Work, as a call is: a region that is silent meanwhile is not all that is left.
        with self._work:
            for target in targets:
                await self._sink.room()
                result = await former.restore(target) if former.has(target) else None
                if result is None:
                    left.append(target.region)
                    continue
                self._sink.done(result, target)
                self._counts.take(result)
                self._counts.add_former_calls(result)
                self.unfinished -= 1
        self.unfinished = 0
        return replace(account, regions=tuple(left)) if left else None
