"""One run over all targets, and its results so far."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from math import inf
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from poolcensus.aws.credentials.patience import Waiting
from poolcensus.engine.deadlines import NO_DEADLINE, Deadline
from poolcensus.engine.engine import SLOWEST_SHOWN, Engine
from poolcensus.engine.interfaces import EngineLimits
from poolcensus.engine.sinks import ResultRecorder
from poolcensus.errors import IncompleteError, first_reason_raised
from poolcensus.model import Progress, Totals
from poolcensus.results.expected_failures import KnownGaps
from poolcensus.results.failure_tally import FailureTally
from poolcensus.scope.joining import naming
from poolcensus.scope.opening import check_accounts, check_any
from poolcensus.snapshot.hidden import HiddenTargets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from poolcensus.census.spread import Spread
    from poolcensus.config import Settings
    from poolcensus.engine.interfaces import PreviousRun, Sink, TargetEngine
    from poolcensus.model import FailureGroup, Outcome, OutdatedGap, TargetResult
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
    """A run over all targets. Its figures can be read before, during and after it."""

    def __init__(self, settings: Settings, operation: Operation) -> None:
        self._settings = settings
        self._operation = operation
        self._engines: tuple[TargetEngine, ...] = ()
        self._organizations: tuple[Opened, ...] = ()
        self._deadline = NO_DEADLINE
        self._opening: anyio.CancelScope | None = None
        self._uncovered: list[TargetResult] = []
        self._tally = FailureTally(operation)
        self.known_gaps = KnownGaps(settings.known_gaps)
        self.hidden_targets = HiddenTargets()
        self.waiting = Waiting()

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Begin the run.

        The deadline counts from here, and bounds the code in the block until `take` is called. Raises a
        FatalError if the deadline passes before `take`, which then observes the deadline itself.
        """
        self._deadline = Deadline.after(self._settings.deadline)
        with self._deadline.bounding("AWS and the destination had answered") as self._opening:
            yield

    async def take(
        self,
        organizations: Sequence[Opened],
        sink: Sink,
        long: Mapping[tuple[str, str], int] = MappingProxyType({}),
        former: PreviousRun | None = None,
        spread: Spread | None = None,
    ) -> None:
        """Run all targets, and deliver the results to a sink. Several Organizations run concurrently.

        `long` has the pages of targets that had many in the newest snapshot, `former` the finished targets of
        an interrupted run, and `spread` the workers, if any. Raises a FatalError if the run can't go on, or
        if there is no account to query.
        """
        if self._opening is not None:
            self._opening.deadline = inf
        recorder = ResultRecorder(sink, self._uncovered, self._tally, self.hidden_targets, self.known_gaps)
        engines = {
            each.name: self._engine(each, recorder, long=long, former=former)
            if spread is None
            else self._spread(each, recorder, spread, former)
            for each in organizations
        }
        self._engines = tuple(engines.values())
        self._organizations = tuple(organizations)
        with first_reason_raised():
            async with anyio.create_task_group() as group:
                for each in organizations:
                    group.start_soon(self._run_one, engines[each.name], each)
        check_any(self.accounts, organizations, self._settings)
        totals = self.totals
        _log.info(
            "%d of %d targets covered, %d pools, %d API calls",
            totals.covered,
            totals.targets,
            totals.pools,
            totals.requests,
        )

    def _engine(
        self,
        opened: Opened,
        sink: Sink,
        *,
        long: Mapping[tuple[str, str], int],
        former: PreviousRun | None,
    ) -> TargetEngine:
        return Engine(
            aws=opened.aws,
            listing=opened.listing,
            regions=opened.regions,
            sink=sink,
            limits=EngineLimits.of(self._settings, self._deadline),
            long=long,
            former=former,
            tracing=opened.tracing,
        )

    def _spread(self, opened: Opened, sink: Sink, spread: Spread, former: PreviousRun | None) -> TargetEngine:
        from poolcensus.census.spread import SpreadEngine  # noqa: PLC0415 - for runs that have workers

        settings = self._settings.by_organization()[opened.name]
        return SpreadEngine(
            opened,
            sink,
            spread,
            settings,
            operation=self._operation,
            deadline=self._deadline,
            former=former,
        )

    async def _run_one(self, engine: TargetEngine, opened: Opened) -> None:
        regions = len(opened.regions.regions)
        _log.info("Querying %d region%s as %s", regions, "s" * (regions != 1), opened.aws.caller.arn)
        with naming(opened.name):
            await engine.run()
            check_accounts(engine.counts.accounts, opened)

    def check_stream(self) -> None:
        """Log how many targets failed, since a stream doesn't say. With `strict`, raise IncompleteError."""
        failed, targets = self.failed, self.totals.targets
        if failed and self._settings.strict:
            raise IncompleteError(f"{failed} of {targets} targets were not covered")
        if failed:
            _log.warning("%d of %d targets were not covered", failed, targets)

    @property
    def progress(self) -> Progress:
        """The progress of the run, or its last progress if it has ended."""
        if not self._engines:
            return replace(_NOTHING_YET, waits_for=self.waiting.what)
        parts = [each.progress() for each in self._engines]
        return replace(_joined(parts), expected=self.known_gaps.expected)

    @property
    def totals(self) -> Totals:
        """The totals of the run so far."""
        return Totals.of(each.counts.totals() for each in self._engines)

    @property
    def failed(self) -> int:
        """The number of targets that were not covered, without those that a known gap expects."""
        totals = self.totals
        return totals.targets - totals.covered - self.known_gaps.expected

    @property
    def outdated_gaps(self) -> tuple[OutdatedGap, ...]:
        """The known gaps that no longer hold. Valid once the run has ended."""
        listings = [each.listing for each in self._organizations]
        # An Organization without any of the regions is not listed, so any account may be in it.
        is_whole = len(listings) == max(len(self._settings.organization), 1)
        return self.known_gaps.outdated(
            lambda account_id: is_whole and all(each.lacks(account_id) for each in listings)
        )

    @property
    def accounts_digest(self) -> str:
        """The digest of the accounts that were listed, for all shards together.

        Valid once the run has ended.
        """
        if len(self._organizations) == 1:
            return self._organizations[0].listing.digest
        # Sorted, so that the order of the tables does not matter.
        each = sorted(f"{opened.name}\n{opened.listing.digest}" for opened in self._organizations)
        return sha256("\n".join(each).encode()).hexdigest()

    @property
    def accounts(self) -> int:
        """The number of accounts that are queried."""
        return sum(each.counts.accounts for each in self._engines)

    @property
    def accounts_of_each(self) -> tuple[int, ...]:
        """The number of accounts that are queried in each Organization, in their order."""
        return tuple(each.counts.accounts for each in self._engines)

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """The number of finished targets by outcome."""
        return sum((each.counts.outcomes for each in self._engines), Counter())

    @property
    def uncovered(self) -> tuple[TargetResult, ...]:
        """The first of the targets that were not covered."""
        return tuple(self._uncovered)

    @property
    def failures(self) -> tuple[FailureGroup, ...]:
        """The targets that were not covered, counted by what went wrong."""
        return self._tally.groups()


def _joined(parts: Sequence[Progress]) -> Progress:
    """Return the combined progress of engines that run concurrently."""
    slowest = sorted((each for part in parts for each in part.slowest), key=itemgetter(1), reverse=True)
    return Progress(
        elapsed=max(each.elapsed for each in parts),
        listing=any(each.listing for each in parts),
        accounts=sum(each.accounts for each in parts),
        skipped=sum(each.skipped for each in parts),
        totals=Totals.of(each.totals for each in parts),
        done=sum(each.done for each in parts),
        uncovered=sum(each.uncovered for each in parts),
        in_flight=sum(each.in_flight for each in parts),
        slowest=tuple(slowest[:SLOWEST_SHOWN]),
    )
