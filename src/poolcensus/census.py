"""The library's face: a census as an async context manager."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import anyio
import anyio.to_thread
import msgspec

from poolcensus.engine.engine import Engine, EngineLimits
from poolcensus.engine.failures import FailureTally
from poolcensus.engine.sinks import ClosedTargets, EventSink, PageSink, RecordSink, ResultRecorder
from poolcensus.engine.streams import Stream
from poolcensus.errors import (
    DestinationError,
    FatalError,
    IncompleteError,
    NotPublishedError,
    SettingsError,
    SnapshotError,
)
from poolcensus.format.times import utc_now
from poolcensus.loops import in_thread, require_asyncio
from poolcensus.model import Outcome, Plan, Progress, Target, Totals
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.opening import Opened, Prepared, open_run, prepare
from poolcensus.scope.planning import plan_of
from poolcensus.snapshot import (
    JournalHeader,
    Snapshot,
    SnapshotWriter,
    interrupted_run,
    long_targets,
    new_snapshot_id,
)
from poolcensus.storage.destination import (
    STANDARD_OUTPUT,
    checked_place,
    is_in_s3,
    open_store,
    published_folder,
)
from poolcensus.storage.naming import LATEST
from poolcensus.tracing import tracing
from poolcensus.version import TOOL

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from datetime import datetime
    from types import TracebackType

    from anyio.abc import TaskGroup

    from poolcensus.config import Settings
    from poolcensus.engine.engine import Sink
    from poolcensus.engine.streams import Outlet
    from poolcensus.model import (
        Caller,
        FailureGroup,
        JsonObject,
        Manifest,
        Page,
        PoolRecord,
        TargetResult,
    )
    from poolcensus.operations import Operation
    from poolcensus.snapshot import Interrupted, SnapshotInfo
    from poolcensus.storage.base import Draft, Store
    from poolcensus.tracing import Tracing

_log = logging.getLogger("poolcensus")

_PAGES_BUFFERED = 32
_TARGETS_BUFFERED = 256
_ASKED_AT_ONCE = 64
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


class Census:
    """A census with some settings. Use it as an async context manager, for as many runs as wanted.

    ```
    async with poolcensus.Census(settings) as census:
        async for record in census.pools():
            ...
    ```

    It takes no signals, configures no logging and keeps nothing global. Leaving the context ends every
    run that is still going on.
    """

    def __init__(self, settings: Settings, operation: Operation = WORKSPACES_POOLS) -> None:
        self.settings = settings
        self.operation = operation
        self._group: TaskGroup | None = None
        self._engine: Engine | None = None
        self._uncovered: list[TargetResult] = []
        self._tally = FailureTally(self.operation)
        self._closed_targets = ClosedTargets(())
        self._closed: tuple[TargetResult, ...] = ()
        self._place = ""
        self._writer: SnapshotWriter | None = None
        self._run_id: str | None = None

    async def __aenter__(self) -> Self:
        require_asyncio()
        self._group = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        group, self._group = self._group, None
        if group is not None:
            group.cancel_scope.cancel()
            await group.__aexit__(None, None, None)

    def progress(self) -> Progress:
        """Where the present run is, or where the last one ended."""
        return self._engine.progress() if self._engine is not None else _NOTHING_YET

    @property
    def outcomes(self) -> Mapping[Outcome, int]:
        """How many targets of the present or last run have ended in which way."""
        return Counter(self._engine.outcomes) if self._engine is not None else Counter()

    @property
    def uncovered(self) -> tuple[TargetResult, ...]:
        """The first 1,000 targets of the present or last run that were not covered, and why."""
        return tuple(self._uncovered)

    @property
    def failures(self) -> tuple[FailureGroup, ...]:
        """How many targets of the present or last run were not covered, by what went wrong."""
        return self._tally.groups()

    @property
    def closed(self) -> tuple[TargetResult, ...]:
        """The targets that are `not_entitled` now, and in which the newest snapshot saw pools.

        They are the lines of that snapshot's ledger, which was the newest at the destination of the last run
        of `collect`. A service that is closed to an account looks like one that the account does not use.
        """
        return self._closed

    @property
    def resumable(self) -> bool:
        """Whether the last run of `collect` was interrupted and can be gone on with, by one that resumes."""
        return self._writer is not None and self._writer.suspended

    @property
    def run_id(self) -> str | None:
        """The id of the present or last run of `collect`, which is that of the snapshot if it publishes one.

        A run that resumes takes the id of the run that it goes on with.
        """
        return self._run_id

    @property
    def published(self) -> Snapshot | None:
        """What the last run of `collect` has published, even where it was cancelled just after that."""
        manifest = self._writer.manifest if self._writer is not None else None
        return self._snapshot(manifest) if manifest is not None else None

    @property
    def before(self) -> SnapshotInfo | None:
        """The newest of the other snapshots at the destination, once the last run of `collect` has published.

        None where there is none, or none that can be read.
        """
        return self._writer.before if self._writer is not None else None

    def targets(self) -> Stream[Target]:
        """Every target that a run would have, while the accounts are still being listed.

        Calls no member account. Raises a FatalError where the accounts can't be listed.
        """
        return Stream(self._running(), self._send_targets, buffer=_TARGETS_BUFFERED)

    def pages(self) -> Stream[Page]:
        """Every page as it is read, in no order between targets.

        A target may fail after some of its pages: `outcomes` and `uncovered` say so in the end, and `events`
        has a line for each target. In strict mode the stream then ends with an IncompleteError. A slow reader
        slows the calls.
        """
        return Stream(self._running(), self._send_pages, buffer=_PAGES_BUFFERED)

    def pools(self) -> Stream[PoolRecord]:
        """Every pool as it is read, with where it was seen. As `pages`, a pool at a time."""
        return Stream(self._running(), self._send_pools, buffer=_PAGES_BUFFERED)

    def events(self) -> Stream[Page | TargetResult]:
        """Every page as it is read, and the ledger's line of each target once it has ended.

        The line comes after the target's last page: the pages of a target count if its line says `ok`, and
        are void otherwise. In strict mode the stream ends as `pages` does.
        """
        return Stream(self._running(), self._send_events, buffer=_PAGES_BUFFERED)

    async def collect(self, dest: str | os.PathLike[str] | None = None) -> Snapshot:
        """Take the census and publish it at `dest`, by default the settings' destination.

        That is a folder, `s3://BUCKET/PREFIX`, or `-`, with which the records go to standard output. Raises
        NotPublishedError where `strict` or `max_failed` forbids publishing what was seen, but its ledger;
        DestinationLockedError where another run is writing to `dest`, or another FatalError; then nothing
        has been published. Where it is cancelled or ends in an error that is not the destination's, a run
        into a folder leaves what it has for one that resumes: see `resumable`. Cancelling it takes a few
        seconds at most. A thread that hangs on the disk is left behind, and publishes nothing later.
        """
        started = utc_now()
        place = checked_place(dest) if dest is not None else self.settings.dest
        self._place, self._writer, self._closed = place, None, ()
        self._run_id = new_snapshot_id(started)
        async with (
            # Before the destination is touched: wrong settings leave no trace.
            self._prepare(lambda: self._run_id) as prepared,
            self._store(place, prepared) as store,
            open_run(self.settings, self.operation, prepared) as opened,
        ):
            asked = self._asked(opened.aws.caller)
            async with self._interrupted(store, asked) as interrupted:
                header = self._header(started, self._run_id, asked, interrupted)
                self._run_id = header.snapshot_id
                manifest = await self._collect(
                    opened, await store.draft(header.snapshot_id), header, interrupted
                )
        return self._snapshot(manifest)

    def _header(
        self, started: datetime, run_id: str, asked: JsonObject, interrupted: Interrupted | None
    ) -> JournalHeader:
        if interrupted is not None:
            _log.info("Continuing the interrupted run %s", interrupted.header.snapshot_id)
            return msgspec.structs.replace(interrupted.header, compression=self.settings.compress)
        return JournalHeader(
            snapshot_id=run_id,
            started_at=started,
            compression=self.settings.compress,
            operation=self.operation.info,
            asked=asked,
        )

    async def _collect(
        self, opened: Opened, draft: Draft, header: JournalHeader, interrupted: Interrupted | None
    ) -> Manifest:
        """Run all targets, publish what they came to, and return its manifest."""
        async with SnapshotWriter(
            draft,
            partition=opened.aws.caller.partition,
            operation=self.operation.info,
            compression=self.settings.compress,
            journal=header,
        ) as writer:
            self._writer = writer
            former = _PreviousRun(interrupted, writer) if interrupted is not None else None
            engine = await self._run(opened, writer, await _long_targets(self._place), former)
            self._closed = await self._closed_since_newest(self._place)
            refused = self._reason_to_refuse(engine.totals())
            if refused is not None and self._place == STANDARD_OUTPUT:
                raise self._not_published(engine.totals(), refused, None)
            with self._keeping_ledger() if refused is not None else nullcontext():
                manifest = await writer.publish(
                    started_at=header.started_at,
                    finished_at=utc_now(),
                    tool=TOOL,
                    caller=opened.aws.caller,
                    organization_id=opened.listing.organization_id,
                    request=self.settings.request(),
                    accounts=engine.accounts,
                    skipped=tuple(opened.listing.skipped),
                    totals=engine.totals(),
                    shard=self.settings.shard,
                    planned=engine.totals().targets,
                    refused=refused,
                )
            if refused is not None:
                raise self._not_published(engine.totals(), refused, writer.kept)
        return manifest

    def _snapshot(self, manifest: Manifest) -> Snapshot:
        folder = published_folder(self._place, manifest.snapshot_id, self.settings)
        return Snapshot(folder, manifest, self.uncovered if self._place == STANDARD_OUTPUT else None)

    async def plan(self) -> Plan:
        """Return what `collect` would do.

        Calls member accounts only to ask which regions they have enabled.
        """
        async with self._open() as opened:
            accounts = tuple([account async for batch in opened.listing.accounts() for account in batch])
            self._check_accounts(len(accounts), opened)
            return await plan_of(opened, self.operation, accounts)

    @asynccontextmanager
    async def _prepare(self, run_id: Callable[[], str | None] = lambda: None) -> AsyncIterator[Prepared]:
        traces = tracing()
        with self._span(traces, run_id):
            async with prepare(self.settings, traces) as prepared:
                yield prepared

    @contextmanager
    def _span(self, traces: Tracing | None, run_id: Callable[[], str | None]) -> Iterator[None]:
        if traces is None:
            yield
            return
        with traces.run(self.operation.permission) as span:
            try:
                yield
            finally:
                # Known late: a run that resumes takes that of another.
                if (found := run_id()) is not None:
                    span.set_attribute("poolcensus.run_id", found)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Opened]:
        async with (
            self._prepare() as prepared,
            open_run(self.settings, self.operation, prepared) as opened,
        ):
            yield opened

    async def _run(
        self,
        opened: Opened,
        sink: Sink,
        long: Mapping[tuple[str, str], int] = MappingProxyType({}),
        former: _PreviousRun | None = None,
    ) -> Engine:
        settings = self.settings
        self._uncovered.clear()
        self._tally = FailureTally(self.operation)
        self._closed_targets = ClosedTargets(opened.regions.regions)
        engine = self._engine = Engine(
            aws=opened.aws,
            listing=opened.listing,
            regions=opened.regions,
            sink=ResultRecorder(sink, self._uncovered, self._tally, self._closed_targets),
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
        _log.info("ended: %s", engine.totals())
        self._check_accounts(engine.accounts, opened)
        return engine

    async def _closed_since_newest(self, place: str) -> tuple[TargetResult, ...]:
        if not len(self._closed_targets) or place == STANDARD_OUTPUT:
            return ()
        try:
            return await in_thread(_with_pools, place, self.settings, self._closed_targets)
        except (SnapshotError, DestinationError) as error:
            _log.info("what accounts had before the service was closed to them is not known: %s", error)
            return ()

    def _check_accounts(self, accounts: int, opened: Opened) -> None:
        if accounts == 0 and self.settings.shard is None:
            skipped = len(opened.listing.skipped)
            # Not the settings' error: calls were made to know it.
            raise FatalError(
                f"No accounts match: all {skipped:,} were filtered out. Check `account_tags`, `ous` and"
                " `accounts`."
            )

    def _reason_to_refuse(self, totals: Totals) -> str | None:
        """Return the setting that forbids publishing what was seen, None where none does."""
        settings = self.settings
        failed = totals.targets - totals.covered
        if settings.strict and failed:
            return "strict"
        if settings.max_failed is not None and not settings.max_failed.allows(failed, totals.targets):
            return f"max_failed {settings.max_failed}"
        return None

    def _not_published(self, totals: Totals, refused: str, kept: str | None) -> NotPublishedError:
        failed = totals.targets - totals.covered
        why = "`strict` is set" if refused == "strict" else f"`max_failed` allows {self.settings.max_failed}"
        return NotPublishedError(
            f"Snapshot not published: {failed:,} of {totals.targets:,} targets failed and {why}.",
            uncovered=self.uncovered,
            count=failed,
            failures=self.failures,
            ledger=kept,
            dest=self._place if kept is not None else None,
        )

    @contextmanager
    def _keeping_ledger(self) -> Iterator[None]:
        try:
            yield
        except DestinationError as error:
            _log.warning("The ledger of this run could not be kept: %s", error)

    def _asked(self, caller: Caller) -> JsonObject:
        """Return what a run has to be asked for to go on with one that was interrupted."""
        settings = self.settings
        return {
            **settings.request(),
            "operation": self.operation.permission,
            "page_size": settings.page_size,
            "endpoint_url": settings.endpoint_url,
            "shard": f"{shard.index}/{shard.count}" if (shard := settings.shard) is not None else None,
            "partition": caller.partition,
            "caller": caller.account_id,
        }

    def _store(self, place: str, prepared: Prepared) -> Store:
        settings = self.settings
        if settings.resume and (place == STANDARD_OUTPUT or is_in_s3(place)):
            raise SettingsError(f"`resume` needs a directory as its destination: {place} keeps no journal")
        return open_store(place, settings, prepared.session)

    @asynccontextmanager
    async def _interrupted(self, store: Store, asked: JsonObject) -> AsyncIterator[Interrupted | None]:
        if not self.settings.resume:
            yield None
            return
        async with interrupted_run(store, asked) as interrupted:
            yield interrupted

    def _running(self) -> TaskGroup:
        if self._group is None:
            raise RuntimeError("use the Census as an async context manager: async with Census(settings) as …")
        return self._group

    async def _send_targets(self, outlet: Outlet[Target]) -> None:
        async with self._open() as opened:
            regions = opened.regions.regions
            async with aclosing(opened.listing.accounts()) as batches:
                async for accounts in batches:
                    await outlet.put(
                        tuple(Target(account, region) for account in accounts for region in regions)
                    )

    async def _send_pages(self, outlet: Outlet[Page]) -> None:
        async with self._open() as opened:
            self._check_stream(await self._run(opened, PageSink(outlet)))

    async def _send_events(self, outlet: Outlet[Page | TargetResult]) -> None:
        async with self._open() as opened:
            self._check_stream(await self._run(opened, EventSink(outlet)))

    async def _send_pools(self, outlet: Outlet[PoolRecord]) -> None:
        async with self._open() as opened:
            self._check_stream(await self._run(opened, RecordSink(outlet, opened.aws.caller.partition)))

    def _check_stream(self, engine: Engine) -> None:
        totals = engine.totals()
        failed = totals.targets - totals.covered
        if failed and self.settings.strict:
            raise IncompleteError(f"{failed} of {totals.targets} targets were not covered")
        if failed:
            _log.warning("%d of %d targets were not covered", failed, totals.targets)


class _PreviousRun:
    """Puts what an interrupted run has finished into the writer of the run that goes on with it."""

    def __init__(self, interrupted: Interrupted, writer: SnapshotWriter) -> None:
        self._interrupted = interrupted
        self._writer = writer
        self.has = interrupted.has

    async def restore(self, target: Target) -> TargetResult | None:
        return await self._interrupted.restore(target, self._writer)


async def _long_targets(place: str) -> Mapping[tuple[str, str], int]:
    if place == STANDARD_OUTPUT or is_in_s3(place):
        return {}
    return await in_thread(long_targets, place)


def _with_pools(place: str, settings: Settings, closed: ClosedTargets) -> tuple[TargetResult, ...]:
    """Return the newest ledger's lines of targets that are closed now and had pools. Raises SnapshotError."""
    newest = Snapshot.open(LATEST, place, settings=settings)
    return tuple(result for result in newest.with_pools() if result in closed)
