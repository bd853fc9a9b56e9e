"""One run over the targets, and what it has come to so far."""

from __future__ import annotations

import logging
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

from poolcensus.engine.engine import Engine, EngineLimits
from poolcensus.engine.failures import FailureTally
from poolcensus.engine.known_gaps import KnownGaps
from poolcensus.engine.sinks import ClosedTargets, ResultRecorder
from poolcensus.errors import FatalError, IncompleteError
from poolcensus.model import Progress, Totals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.config import Settings
    from poolcensus.engine.engine import PreviousRun, Sink
    from poolcensus.model import FailureGroup, Outcome, TargetResult
    from poolcensus.operations import Operation
    from poolcensus.scope.opening import Opened

_log = logging.getLogger("poolcensus")

_NOTHING_YET = Progress(
    elapsed=0.0,
    listing=True,
    accounts=0,
    skipped=0,
    totals=Totals(),
    done=0,
    uncovered=0,
    in_flight=0,
    slowest=(),
)


class Run:
    """A run that has not begun, is under way or has ended."""

    def __init__(self, settings: Settings, operation: Operation) -> None:
        self._settings = settings
        self._engine: Engine | None = None
        self._uncovered: list[TargetResult] = []
        self._tally = FailureTally(operation)
        self.known_gaps = KnownGaps(settings.known_gaps)
        self.closed_targets = ClosedTargets(())

    async def take(
        self,
        opened: Opened,
        sink: Sink,
        long: Mapping[tuple[str, str], int] = MappingProxyType({}),
        former: PreviousRun | None = None,
    ) -> None:
        """Run all targets into a sink. Raises a FatalError where that can't be, or where there are none."""
        settings = self._settings
        self.closed_targets = ClosedTargets(opened.regions.regions)
        engine = self._engine = Engine(
            aws=opened.aws,
            listing=opened.listing,
            regions=opened.regions,
            sink=ResultRecorder(sink, self._uncovered, self._tally, self.closed_targets, self.known_gaps),
            limits=EngineLimits(
                concurrency=settings.concurrency,
                per_account=settings.per_account,
                per_region=settings.per_region,
                target_timeout=settings.target_timeout,
                deadline=settings.deadline,
            ),
            long=long,
            former=former,
            tracing=opened.tracing,
        )
        regions = len(opened.regions.regions)
        _log.info("Querying %d region%s as %s", regions, "s" * (regions != 1), opened.aws.caller.arn)
        await engine.run()
        totals = engine.totals()
        _log.info(
            "%d of %d targets covered, %d pools, %d API calls",
            totals.covered,
            totals.targets,
            totals.pools,
            totals.requests,
        )
        check_accounts(engine.accounts, opened, settings)

    def check_stream(self) -> None:
        """Say how many targets failed, of whom a stream tells nothing. Raises IncompleteError if `strict`."""
        failed, targets = self.failed, self.totals.targets
        if failed and self._settings.strict:
            raise IncompleteError(f"{failed} of {targets} targets were not covered")
        if failed:
            _log.warning("%d of %d targets were not covered", failed, targets)

    @property
    def progress(self) -> Progress:
        """Where the run is, or where it ended."""
        return self._engine.progress() if self._engine is not None else _NOTHING_YET

    @property
    def totals(self) -> Totals:
        """What the run has come to."""
        return self._engine.totals() if self._engine is not None else Totals()

    @property
    def failed(self) -> int:
        """How many targets were not covered, less those that failed as was expected."""
        totals = self.totals
        return totals.targets - totals.covered - self.known_gaps.expected

    @property
    def accounts(self) -> int:
        """How many accounts are asked."""
        return self._engine.accounts if self._engine is not None else 0

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """How many targets have ended in which way."""
        return Counter(self._engine.outcomes) if self._engine is not None else Counter()

    @property
    def uncovered(self) -> tuple[TargetResult, ...]:
        """The first of the targets that were not covered."""
        return tuple(self._uncovered)

    @property
    def failures(self) -> tuple[FailureGroup, ...]:
        """How many targets were not covered, by what went wrong."""
        return self._tally.groups()


def check_accounts(accounts: int, opened: Opened, settings: Settings) -> None:
    """Raise a FatalError where there is no account to ask."""
    if accounts == 0 and settings.shard is None:
        skipped = len(opened.listing.skipped)
        # Not the settings' error: calls were made to know it.
        raise FatalError(
            f"No accounts match: all {skipped:,} were filtered out. Check `account_tags`, `ous` and"
            " `accounts`."
        )
