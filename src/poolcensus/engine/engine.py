"""The engine: opens targets, hands their pages to a sink, and gives each target exactly one outcome."""

from __future__ import annotations

import time
from contextlib import aclosing, suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import anyio

from poolcensus.aws.call import CallWatch
from poolcensus.engine import deadlines, watching
from poolcensus.engine.counts import RunCounts
from poolcensus.engine.former import FormerTargets
from poolcensus.engine.open_target import OpenTarget
from poolcensus.engine.schedule import Schedule
from poolcensus.errors import DEADLINE, CallError, first_reason_raised
from poolcensus.flow.fitting import FittedConcurrency
from poolcensus.flow.windows import Window
from poolcensus.format.times import rfc3339_of_epoch
from poolcensus.model import Outcome, TargetResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import TaskGroup

    from poolcensus.aws.call import FailedAttempt
    from poolcensus.aws.session import Aws
    from poolcensus.engine.interfaces import EngineLimits, PreviousRun, Sink
    from poolcensus.model import Account, Progress, Target
    from poolcensus.scope.listing import ListsAccounts
    from poolcensus.scope.regions import RegionChoice
    from poolcensus.tracing import Tracing

SLOWEST_SHOWN = 3
# With four open targets for each call, the limit of calls in flight is reached even if three of four targets
# wait for a retry or a role.
_OPEN_FOR_EACH_CALL = 4
# Seconds between two measurements of the event loop. Two of them take less time than the first round trip to
# a nearby region, and a hundred a second cost next to nothing.
_BETWEEN_LOOKS = 0.01
# How many targets a region's window begins with. Few calls are wasted if the region turns out to be silent,
# and a region that answers gets a larger window at once.
_FIRST_IN_A_REGION = 8


class Engine:
    """One run over all targets of an Organization. `long` are the targets to open first: see `Schedule`."""

    def __init__(
        self,
        *,
        aws: Aws,
        listing: ListsAccounts,
        regions: RegionChoice,
        sink: Sink,
        limits: EngineLimits,
        long: Mapping[tuple[str, str], int] = MappingProxyType({}),
        former: PreviousRun | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._aws = aws
        self._operation = aws.reader.operation.iam_action
        self._tracing = tracing
        self._listing = listing
        self._sink = sink
        self._limits = limits
        self._opt_in = frozenset(regions.opt_in)
        self._pauses = aws.client.pauses
        self._work_in_hand = aws.client.work
        self._fitted = FittedConcurrency(limits.concurrency)
        # As many targets may be open as calls may be in flight, and one more for each target that can't make
        # a call now. This limit bounds them all; the schedule bounds those of an account and a region.
        self._open_limit = _OPEN_FOR_EACH_CALL * limits.concurrency
        self._choice = regions
        self._regions = regions.regions
        # A window smaller than the number of accounts that opens a circuit breaker would hide a silent region
        # until each open target had used up its attempts. Windows don't limit calls in flight: places do.
        accounts = min(aws.client.breakers.accounts, _FIRST_IN_A_REGION)
        first = max(min(limits.concurrency // len(self._regions), _FIRST_IN_A_REGION), accounts)
        most = max(limits.per_region, accounts)
        self._windows = {region: Window(first, most, self._pauses.room) for region in self._regions}
        self._schedule = Schedule(
            regions,
            ahead=self._ahead(),
            per_account=limits.per_account,
            windows=self._windows,
            paused_in=self._pauses.in_region,
            silent_of=self._pauses.silent_of,
            resting=self._pauses.resting,
            # The limit of open targets, too: neither may use memory without bound.
            most_resting=self._open_limit,
            long=long,
        )
        self._open: set[OpenTarget] = set()
        self._group: TaskGroup | None = None
        self.counts = RunCounts(listing, aws.client.counts)
        self._former = FormerTargets(
            former, regions=regions, sink=sink, counts=self.counts, work=self._work_in_hand
        )

    async def run(self) -> None:
        """Run every target to its outcome.

        Raises the FatalError that ended the run early. If it is cancelled, no target stays open, and targets
        without a result are counted as `cancelled`.
        """
        try:
            with first_reason_raised(), anyio.CancelScope(deadline=self._limits.deadline.at) as scope:
                await self._run_all()
            if scope.cancelled_caught:
                await self._end_at_deadline()
        finally:
            self._count_unfinished()

    def progress(self) -> Progress:
        """Return the progress of the run."""
        now = time.monotonic()
        by_age = sorted(self._open, key=lambda each: each.watch.started)[:SLOWEST_SHOWN]
        slowest = tuple((each.target, now - each.watch.started) for each in by_age)
        return self.counts.progress(self._aws.client.in_flight, slowest)

    async def _run_all(self) -> None:
        async with anyio.create_task_group() as beside:
            client = self._aws.client
            beside.start_soon(watching.end_overdue, self._open, self._limits.target_timeout)
            beside.start_soon(watching.settle_doubts, client.breakers, self._aws.ask_anything)
            beside.start_soon(watching.give_last_rounds_room, client.breakers, self._windows)
            beside.start_soon(self._use_room)
            beside.start_soon(self._fit)
            await self._run_targets()
            beside.cancel_scope.cancel()

    async def _use_room(self) -> None:
        room = self._pauses.room
        while True:
            await room.wait()
            room.clear()
            self._open_more()

    async def _fit(self) -> None:
        client, looked, sent = self._aws.client, anyio.current_time(), 0
        while True:
            await anyio.sleep(_BETWEEN_LOOKS)
            now, requests = anyio.current_time(), client.counts.requests
            seconds = now - looked
            if self._fitted.look(
                late=seconds - _BETWEEN_LOOKS,
                seconds=seconds,
                calls=requests - sent,
                in_flight=client.in_flight,
                more=self._schedule.has_more,
            ):
                self._schedule.ahead = self._ahead()
                self._open_more()
            looked, sent = now, requests

    def _ahead(self) -> int:
        size = self._fitted.size
        # At least as many accounts as are needed to fill all places if each account has few calls.
        bound = -(-size // self._limits.per_account)
        return max(size // len(self._regions) * _OPEN_FOR_EACH_CALL, bound, _OPEN_FOR_EACH_CALL)

    async def _run_targets(self) -> None:
        async with (
            anyio.create_task_group() as group,
            aclosing(self._listing.accounts()) as batches,
        ):
            self._group = group
            async for accounts in batches:
                self.counts.accounts += len(accounts)
                for account in accounts:
                    self.counts.targets += len(self._choice.of(account))
                    if (rest := await self._former.rest_of(account)) is not None:
                        self._schedule.add((rest,))
                    if self._former.is_resuming:
                        # A file of accounts is one batch: some targets are opened while others are restored.
                        self._open_more()
                self._open_more()
            self.counts.listed = True

    def _open_more(self) -> None:
        if self._group is None:
            return
        while (account := self._schedule.next_account()) is not None:
            self._group.start_soon(self._prepare, account)
        while (opened := self._open_next()) is not None:
            self._group.start_soon(self._work, opened)

    async def _prepare(self, account: Account) -> None:
        # The role is assumed once for the account, before its targets are open. Otherwise a dozen open
        # targets would wait for the same role. An error is ignored here, because each target meets it again.
        with suppress(CallError):
            await self._aws.broker.source(account.id).get()
            if not self._opt_in.isdisjoint(self._choice.of(account)):
                # Only targets in opt-in regions wait for the region status, which takes a call.
                self._schedule.ready(account, later=self._opt_in)
                self._open_more()
                await self._aws.region_status.disabled(account.id)
        self._schedule.ready(account)
        self._open_more()

    def _open_next(self) -> OpenTarget | None:
        are_open, pauses = len(self._open), self._pauses
        enough_may_call = are_open - pauses.count >= self._fitted.size
        # Targets that wait for a silent region are bounded by its window.
        too_many_open = are_open - pauses.silent >= self._open_limit
        if enough_may_call or too_many_open:
            return None
        target = self._schedule.pop()
        return None if target is None else self._opened(target)

    def _opened(self, target: Target) -> OpenTarget:
        now = time.monotonic()
        watch = CallWatch(
            deadline=now + self._limits.target_timeout, started=now, window=self._windows[target.region]
        )
        opened = OpenTarget(target, watch)
        self._open.add(opened)
        return opened

    async def _work(self, opened: OpenTarget | None) -> None:
        # A task continues with the next target instead of ending, and keeps its cancel scope until a target
        # is overdue. Most targets take one call: a task and a scope for each would cost as much as the rest
        # of the call's bookkeeping.
        tracing = self._tracing
        while opened is not None:
            with anyio.CancelScope() as scope:
                while opened is not None:
                    result = None
                    opened.scope = scope
                    if tracing is None:
                        result = await self._result_of(opened)
                    else:
                        result = await self._in_span(opened, tracing)
                    if scope.cancel_called:
                        break
                    self._end(opened, result)
                    opened = self._open_following()
            if opened is not None:
                self._end(opened, result or self._overdue(opened))
                opened = self._open_following()

    async def _in_span(self, opened: OpenTarget, tracing: Tracing) -> TargetResult:
        with tracing.target(opened.target) as span:
            result = await self._result_of(opened)
            tracing.end_target(span, result)
        return result

    def _open_following(self) -> OpenTarget | None:
        following = self._open_next()
        # A new account is needed only once in as many targets as there are regions.
        if following is None or self.counts.done % len(self._regions) == 0:
            self._open_more()
        return following

    async def _result_of(self, opened: OpenTarget) -> TargetResult:
        target = opened.target
        # Wait before the call: a page that the sink has no room for would take memory.
        if self._sink.full():
            await self._room_for(opened)
        try:
            if target.region in self._opt_in:
                status = self._aws.region_status
                disabled = await status.disabled(target.account.id)
                if disabled is not None and target.region in disabled:
                    before = _status_note(status.as_of(target.account.id))
                    return self._result(opened, Outcome.REGION_DISABLED, message=before)
                opened.watch.region_may_be_disabled = status.may_be_disabled(target.account.id, target.region)
            await self._read(opened)
        except CallError as error:
            return self._failed(opened, error)
        return self._result(opened, Outcome.OK if opened.pools else Outcome.EMPTY)

    def _failed(self, opened: OpenTarget, error: CallError) -> TargetResult:
        if not opened.pages or not error.outcome.covered:
            return self._result(opened, error.outcome, error)
        # A refusal can't mean that the target has no pools if pages were read before.
        message = f"refused after {opened.pages:,} page{'s' if opened.pages > 1 else ''}: {error.message}"
        return replace(self._result(opened, Outcome.ERROR, error), error_message=message)

    def _overdue(self, opened: OpenTarget) -> TargetResult:
        late, failed = f"not finished within {self._limits.target_timeout:g} s", opened.watch.failed
        if failed is None:
            return self._result(opened, Outcome.TIMED_OUT, message=late)
        if failed.number < opened.watch.attempts:
            late = f"{late}; the attempt before the last one failed: {failed.message} ({failed.code})"
            return self._result(opened, Outcome.TIMED_OUT, message=late)
        # The target was waiting for its next attempt, so the last attempt's error is the reason.
        result = self._result(opened, failed.outcome, failed)
        return replace(result, error_message=f"{late}; the last attempt failed: {failed.message}")

    async def _read(self, opened: OpenTarget) -> None:
        target = opened.target
        source = self._aws.broker.source(target.account.id)
        pages = self._aws.reader.open(target, source, opened.watch)
        while True:
            page = await pages.next()
            if page is not None:
                opened.pages += 1
                opened.pools += len(page.pools)
                self._sink.page(page)
            if pages.ended:
                return
            if self._sink.full():
                await self._room_for(opened)

    async def _room_for(self, opened: OpenTarget) -> None:
        # The time is not the target's: the reader or the disk is slow. It still counts as work in hand.
        with self._work_in_hand, opened.watch.waiting():
            await self._sink.room()

    def _result(
        self,
        opened: OpenTarget,
        outcome: Outcome,
        error: CallError | FailedAttempt | None = None,
        *,
        code: str | None = None,
        message: str | None = None,
    ) -> TargetResult:
        watch = opened.watch
        return TargetResult.of(
            opened.target,
            outcome,
            operation=self._operation,
            pools=opened.pools if outcome is Outcome.OK else 0,
            pages=opened.pages,
            attempts=watch.attempts,
            throttles=watch.throttles,
            seconds=time.monotonic() - watch.started,
            error_code=error.code if error is not None else code,
            error_message=error.message if error is not None else message,
            request_id=error.request_id if error is not None else None,
        )

    def _end(self, opened: OpenTarget, result: TargetResult) -> None:
        target = opened.target
        self._sink.done(result, target)
        self._open.remove(opened)
        self.counts.take(result)
        if self._schedule.close(target):
            self._aws.forget(target.account.id)

    async def _end_at_deadline(self) -> None:
        deadline = self._limits.deadline
        if not self.counts.listed:
            raise deadline.passed_before("all accounts were listed")
        for opened in list(self._open):
            # A target without an attempt was only waiting.
            outcome = Outcome.TIMED_OUT if opened.watch.attempts else Outcome.CANCELLED
            self._end(opened, self._late(opened, outcome))
        for target in self._schedule.rest():
            # The target is opened before the wait, so that it is counted if the wait is cancelled.
            opened = self._opened(target)
            await self._sink.room()
            self._end(opened, self._late(opened, Outcome.CANCELLED))

    def _late(self, opened: OpenTarget, outcome: Outcome) -> TargetResult:
        message = deadlines.message(self._limits.deadline.seconds, outcome)
        return self._result(opened, outcome, code=DEADLINE, message=message)

    def _count_unfinished(self) -> None:
        unfinished = self._former.unfinished + len(self._open) + sum(1 for _ in self._schedule.rest())
        self._open.clear()
        self.counts.take_unfinished(unfinished)


def _status_note(as_of: float | None) -> str | None:
    """Return the ledger's message for a region status of an earlier run, from epoch seconds."""
    if as_of is None:
        return None
    return f"by the account's region status of {rfc3339_of_epoch(as_of)}, from an earlier run"
