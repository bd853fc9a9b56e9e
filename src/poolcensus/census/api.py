"""The library's main class: a census as an async context manager."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Self

from poolcensus.census.cluster import open_workers
from poolcensus.census.publication import Publication
from poolcensus.census.run import Run
from poolcensus.config.cluster import EngineKind
from poolcensus.engine.deadlines import Deadline
from poolcensus.engine.sinks import EventSink, PageSink, PoolSink
from poolcensus.errors import SettingsError
from poolcensus.loops import in_thread, require_asyncio
from poolcensus.model import Outcome, Target
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.joining import naming, open_all, prepare_all
from poolcensus.storage.destination import checked_place
from poolcensus.storage.naming import is_in_s3
from poolcensus.streams import Stream, StreamRuns
from poolcensus.tracing import tracing

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType

    from poolcensus.aws.credentials.patience import Waiting
    from poolcensus.config import Settings
    from poolcensus.engine.interfaces import Sink
    from poolcensus.model import FailureGroup, OutdatedGap, Page, PoolRecord, Progress, TargetResult
    from poolcensus.operations import Operation
    from poolcensus.planned import Plan
    from poolcensus.scope.joining import Joined
    from poolcensus.scope.opening import Opened
    from poolcensus.snapshot import Snapshot, SnapshotInfo
    from poolcensus.streams import Outlet
    from poolcensus.tracing import Tracing

# Items buffered, so that a reader that pauses for a moment delays no call. Pages of calls in flight come on
# top.
_PAGES_BUFFERED = 32
_TARGETS_BUFFERED = 256


class Census:
    """A census with given settings. Use it as an async context manager, for one run or several.

    ```
    async with poolcensus.Census(settings) as census:
        async for record in census.pools():
            ...
    ```

    It handles no signals, configures no logging and keeps no global state. Leaving the context ends the runs
    of open streams. It does not end `collect` and `plan`, which end with the task that awaits them. After
    several runs, `progress`, `outcomes` and the like describe the one that began last.
    """

    def __init__(self, settings: Settings, operation: Operation = WORKSPACES_POOLS) -> None:
        self.settings = settings
        self.operation = operation
        self._streams: StreamRuns | None = None
        self._run = Run(settings, operation)
        self._publication: Publication | None = None

    async def __aenter__(self) -> Self:
        require_asyncio()
        if self._streams is not None:
            raise RuntimeError("this Census has been entered and not left yet: make one of its own for this")
        self._streams = await StreamRuns().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            await streams.__aexit__(kind, error, traceback)

    def progress(self) -> Progress:
        """Return the progress of the current run, or that of the last one at its end."""
        return self._run.progress

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """The number of targets of the current or last run, by outcome."""
        return self._run.outcomes

    @property
    def uncovered(self) -> tuple[TargetResult, ...]:
        """The first 1,000 targets of the current or last run that were not covered, and why."""
        return self._run.uncovered

    @property
    def failures(self) -> tuple[FailureGroup, ...]:
        """The targets of the current or last run that were not covered, counted by what went wrong."""
        return self._run.failures

    @property
    def outdated_gaps(self) -> tuple[OutdatedGap, ...]:
        """The known gaps that no longer hold, once a run has ended."""
        return self._run.outdated_gaps

    @property
    def hidden(self) -> Mapping[Outcome, tuple[TargetResult, ...]]:
        """The targets that no longer list their pools, although an earlier snapshot saw some.

        The keys are the outcomes that the targets have now: `region_disabled`, `region_unsupported` or
        `not_entitled`. All three are covered, but the pools may still exist. The values are their
        lines in the ledger of the newest earlier snapshot at the destination that tells about them.
        """
        # A new dictionary. A read-only mapping can be neither copied nor pickled.
        return {} if self._publication is None else {**self._publication.hidden}

    @property
    def resumable(self) -> bool:
        """Whether the last run of `collect` was interrupted and can be resumed."""
        return self._publication is not None and self._publication.resumable

    @property
    def run_id(self) -> str | None:
        """The ID of the current or last run of `collect`, which is also the ID of its snapshot.

        A run that resumes takes the ID of the interrupted run.
        """
        return self._publication.run_id if self._publication is not None else None

    @property
    def published(self) -> Snapshot | None:
        """The snapshot that the last run of `collect` published, even if the run was cancelled after that."""
        return self._publication.published if self._publication is not None else None

    @property
    def before(self) -> SnapshotInfo | None:
        """The newest other snapshot at the destination, known once the last run of `collect` has published.

        None if there is none that can be read.
        """
        return self._publication.before if self._publication is not None else None

    def targets(self) -> Stream[Target]:
        """Stream every target of a run, while the accounts are still being listed.

        Calls no member account. Raises DeadlineError if the deadline of the settings passes before all
        accounts are listed, or another FatalError if they can't be listed.
        """
        return Stream(self._running(), self._send_targets, buffer=_TARGETS_BUFFERED)

    def pages(self) -> Stream[Page]:
        """Stream every page as it is read. Pages of different targets come in no particular order.

        A target may fail after some of its pages. At the end, `outcomes` and `uncovered` tell which did; to
        be told of each target, use `events`. In strict mode, the stream then ends with an IncompleteError. A
        slow reader slows down the calls.
        """
        return Stream(self._running(), self._send_pages, buffer=_PAGES_BUFFERED)

    def pools(self) -> Stream[PoolRecord]:
        """Stream every pool as it is read, with its account and region. Otherwise like `pages`."""
        return Stream(self._running(), self._send_pools, buffer=_PAGES_BUFFERED)

    def events(self) -> Stream[Page | TargetResult]:
        """Stream every page as it is read, and the ledger line of each target once it has ended.

        The line comes after the last page of the target. The pages count only if the line says `ok`;
        otherwise drop them. In strict mode, the stream ends as `pages` does.
        """
        return Stream(self._running(), self._send_events, buffer=_PAGES_BUFFERED)

    async def collect(self, dest: str | os.PathLike[str] | None = None) -> Snapshot:
        """Take the census, publish the snapshot at `dest`, and return it.

        `dest` is a folder, `s3://BUCKET/PREFIX`, or `-` for standard output. It defaults to the destination
        of the settings.

        Raises NotPublishedError if `strict` or `max_failed` forbids publishing; the ledger of the run is
        kept. Raises DestinationLockedError if another run is writing to `dest`, or another FatalError. In all
        these cases nothing is published. A run into a folder that is cancelled, or ends with an error that is
        not the destination's, may be resumable: see `resumable`.

        Cancelling takes a few seconds at most. A thread that hangs on the disk is left behind, and publishes
        nothing later.
        """
        place = checked_place(dest) if dest is not None else self.settings.dest
        run = self._new_run()
        publication = self._publication = Publication(self.settings, self.operation, run, place)
        with run.begun():
            async with (
                # Before the destination is touched, so that wrong settings leave no trace there.
                self._prepare(lambda: publication.run_id, for_destination=is_in_s3(place)) as joined,
                publication.store(joined) as store,
                open_all(self.operation, joined, waiting=run.waiting) as organizations,
                open_workers(self.settings) as workers,
            ):
                manifest = await publication.collect(organizations, store, workers)
        return publication.snapshot(manifest)

    async def plan(self) -> Plan:
        """Return a plan of what `collect` would do.

        Calls member accounts only to ask which regions they have enabled. Raises DeadlineError if the
        deadline of the settings passes first, or another FatalError.
        """
        await in_thread(import_module, "poolcensus.census.planning")
        from poolcensus.census.planning import make_plan  # noqa: PLC0415 - for those who want a plan

        with self._bounding("the plan was made"):
            async with self._open() as organizations:
                return await make_plan(organizations, self.settings, self.operation)

    @asynccontextmanager
    async def _prepare(
        self, run_id: Callable[[], str | None] = lambda: None, *, for_destination: bool = False
    ) -> AsyncIterator[Joined]:
        traces = tracing()
        with self._span(traces, run_id):
            async with prepare_all(self.settings, traces, for_destination=for_destination) as joined:
                yield joined

    @contextmanager
    def _span(self, traces: Tracing | None, run_id: Callable[[], str | None]) -> Iterator[None]:
        if traces is None:
            yield
            return
        with traces.run(self.operation.iam_action) as span:
            try:
                yield
            finally:
                # Only known now: a run that resumes takes the ID of the interrupted run.
                if (found := run_id()) is not None:
                    span.set_attribute("poolcensus.run_id", found)

    @asynccontextmanager
    async def _open(self, waiting: Waiting | None = None) -> AsyncIterator[tuple[Opened, ...]]:
        async with (
            self._prepare() as joined,
            open_all(self.operation, joined, waiting=waiting) as organizations,
        ):
            yield organizations

    def _bounding(self, what: str) -> AbstractContextManager[object]:
        return Deadline.after(self.settings.deadline).bounding(what)

    def _running(self) -> StreamRuns:
        if self._streams is None:
            raise RuntimeError("use the Census as an async context manager: async with Census(settings) as …")
        return self._streams

    def _new_run(self) -> Run:
        self._run = Run(self.settings, self.operation)
        return self._run

    async def _send_targets(self, outlet: Outlet[Target]) -> None:
        with self._bounding("all accounts were listed"):
            async with self._open() as organizations:
                for opened in organizations:
                    with naming(opened.name):
                        await self._send_targets_of(opened, outlet)

    async def _send_targets_of(self, opened: Opened, outlet: Outlet[Target]) -> None:
        async with aclosing(opened.listing.accounts()) as batches:
            async for accounts in batches:
                await outlet.send(
                    tuple(
                        Target(account, region)
                        for account in accounts
                        for region in opened.regions.of(account)
                    )
                )

    async def _send_pages(self, outlet: Outlet[Page]) -> None:
        await self._send(lambda _: PageSink(outlet))

    async def _send_events(self, outlet: Outlet[Page | TargetResult]) -> None:
        await self._send(lambda _: EventSink(outlet))

    async def _send_pools(self, outlet: Outlet[PoolRecord]) -> None:
        await self._send(
            lambda organizations: PoolSink(
                outlet, {each.name: each.aws.caller.partition for each in organizations}
            )
        )

    async def _send(self, sink: Callable[[Sequence[Opened]], Sink]) -> None:
        if self.settings.engine is not EngineKind.LOCAL:
            raise SettingsError(
                "`engine`: what workers read goes into a snapshot. Use collect(), or set it to local."
            )
        run = self._new_run()
        with run.begun():
            async with self._open(run.waiting) as organizations:
                await run.take(organizations, sink(organizations))
                run.check_stream()
