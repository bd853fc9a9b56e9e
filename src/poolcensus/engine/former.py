"""Restores the targets that an interrupted run has finished, as their accounts are listed."""

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
    """Puts the finished targets of an interrupted run into the sink of the run that continues it.

    `unfinished` counts the targets without a result in the account that is being restored.
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
    def is_resuming(self) -> bool:
        """Whether the run continues an interrupted one."""
        return self._former is not None

    async def rest_of(self, account: Account) -> Account | None:
        """Restore an account's finished targets. Return the account with its other regions, or None.

        If this run ends early too, nothing is lost: the draft of the interrupted run is kept until a run
        publishes.
        """
        former = self._former
        if former is None:
            return account
        targets = [Target(account, region) for region in self._regions.of(account)]
        if not any(map(former.has, targets)):
            return account
        left = []
        self.unfinished = len(targets)
        # Restoring counts as work, as a call does. Otherwise silent regions would seem to be all that is
        # left.
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
