"""An engine that sends accounts to workers in batches, and combines the snapshots that they return."""

from __future__ import annotations

import logging
from collections import deque
from contextlib import aclosing
from math import ceil, inf
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from poolcensus.census.part import (
    MOST_MESSAGES,
    PartTask,
    decode_result,
    encode_task,
    error_of,
    settings_of_parts,
    snapshot_of,
)
from poolcensus.census.worker_slots import LOOK_AGAIN
from poolcensus.engine import deadlines
from poolcensus.engine.counts import RunCounts
from poolcensus.engine.former import FormerTargets
from poolcensus.errors import (
    DEADLINE,
    AssumeRoleError,
    CallError,
    CredentialsError,
    FatalError,
    SnapshotError,
    first_reason_raised,
)
from poolcensus.flow.breaker import PATIENCE
from poolcensus.model import Outcome, Target, TargetResult
from poolcensus.snapshot.adoption import adopt
from poolcensus.snapshot.target_set import TargetSet
from poolcensus.workers import WorkerLostError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from anyio.abc import TaskGroup

    from poolcensus.census.part import PartFailure, PartMessage
    from poolcensus.census.worker_slots import WorkerSlots
    from poolcensus.config import Settings
    from poolcensus.engine.deadlines import Deadline
    from poolcensus.engine.interfaces import PreviousRun, Sink
    from poolcensus.flow.breaker import Endpoint
    from poolcensus.model import Account, FailedCall, Progress
    from poolcensus.operations import Operation
    from poolcensus.scope.opening import Opened
    from poolcensus.snapshot import Snapshot
    from poolcensus.snapshot.record_sink import RecordSink
    from poolcensus.workers import Workers

_log = logging.getLogger("poolcensus")

# The most accounts in a batch. A batch needs a few tenths of a second to get going: a session, the caller's
# identity, connections, roles. With this many accounts, that is a small part of its time, its result is some
# megabytes, and a lost worker costs some seconds of work.
_MOST_IN_A_BATCH: Final = 200
# While accounts are still being listed, an idle worker gets a batch once this many accounts wait.
_ENOUGH_TO_BEGIN: Final = 40
# Batches become smaller towards the end, so that all workers finish at the same time. Each batch is this part
# of an equal share of the remaining accounts, but at least as large as is worth starting.
_PART_OF_A_SHARE: Final = 0.67
_LEAST_IN_A_BATCH: Final = 20
# Seconds that a worker needs at the end to return its result.
_TO_HAND_OVER: Final = 2.0
# Seconds before the deadline. A batch sent later would not return before it.
_LEAST_TIME: Final = 1.0
_WORKER_LOST: Final = "WorkerLost"


class Spread(msgspec.Struct, frozen=True):
    """The workers of a run, their slots, and the snapshot being written."""

    workers: Workers
    slots: WorkerSlots
    snapshot_id: str
    writer: RecordSink


class SpreadEngine:
    """Runs all targets of an Organization on workers. Implements the protocol `TargetEngine`."""

    def __init__(
        self,
        opened: Opened,
        sink: Sink,
        spread: Spread,
        settings: Settings,
        *,
        operation: Operation,
        deadline: Deadline,
        former: PreviousRun | None = None,
    ) -> None:
        self._opened = opened
        self._sink = sink
        self._spread = spread
        self._workers = spread.workers
        self._slots = spread.slots
        self._settings = settings
        self._operation = operation
        self._deadline = deadline
        self._for_parts, self._secrets = settings_of_parts(settings, with_files=opened.has_own_access)
        self._waiting: deque[Account] = deque()
        self._under_way: dict[str, tuple[Account, ...]] = {}
        self._batches = 0
        self._changed = anyio.Event()
        self._logged: set[str] = set()
        self._has_parts = False
        # The workers that have waited for STS in vain since the last batch returned.
        self._waited_in_vain: set[str] = set()
        self._answered: frozenset[Endpoint] = frozenset()
        self._ended = TargetSet()
        self.counts = RunCounts(opened.listing, opened.aws.client.counts)
        self._former = FormerTargets(
            former, regions=opened.regions, sink=sink, counts=self.counts, work=opened.aws.client.work
        )

    async def run(self) -> None:
        """Run every target to its outcome. Raises the FatalError that ended the run early."""
        try:
            with first_reason_raised(), anyio.CancelScope(deadline=self._deadline.at) as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._list)
                    await self._dispatch(group)
            if scope.cancelled_caught:
                await self._end_at_deadline()
        finally:
            self._count_unfinished()

    def progress(self) -> Progress:
        """Return the progress. `in_flight` counts the accounts in batches that have not returned."""
        return self.counts.progress(sum(map(len, self._under_way.values())))

    async def _list(self) -> None:
        async with aclosing(self._opened.listing.accounts()) as batches:
            async for accounts in batches:
                self.counts.accounts += len(accounts)
                for account in accounts:
                    self.counts.targets += len(self._regions_of(account))
                    rest = await self._former.rest_of(account)
                    if rest is not None:
                        self._waiting.append(rest)
                self._wake()
        self.counts.listed = True
        self._wake()

    async def _dispatch(self, group: TaskGroup) -> None:
        while not self.counts.listed or self._waiting:
            if not self._has_enough():
                changed = self._changed
                with anyio.move_on_after(LOOK_AGAIN):
                    await changed.wait()
                continue
            key = f"{self._spread.snapshot_id}-{self._opened.name or 'all'}-{self._batches + 1}"
            if await self._slots.take(key):
                if not self._waiting:
                    # The batch that freed this slot has ended all the accounts that were waiting.
                    self._slots.leave(key)
                    self._slots.end(key)
                    continue
                self._batches += 1
                self._under_way[key] = self._next_batch()
                group.start_soon(self._run_batch, key, self._under_way[key])

    def _has_enough(self) -> bool:
        """Return whether there are enough accounts for a batch, and enough time."""
        enough = 1 if self.counts.listed else _ENOUGH_TO_BEGIN
        return len(self._waiting) >= enough and self._time_left() >= _LEAST_TIME

    def _next_batch(self) -> tuple[Account, ...]:
        """Return the accounts of the next batch."""
        waiting = len(self._waiting)
        share = ceil(_PART_OF_A_SHARE * waiting / self._slots.count) if self.counts.listed else waiting
        size = min(max(share, _LEAST_IN_A_BATCH), _MOST_IN_A_BATCH, waiting)
        return tuple(self._waiting.popleft() for _ in range(size))

    async def _run_batch(self, key: str, batch: tuple[Account, ...]) -> None:
        try:
            task = self._task(batch)
            result = decode_result(await self._sent_out(key, encode_task(task)))
            self._log(result.messages)
            if result.error is not None:
                await self._end_failed(key, batch, result.error)
            else:
                # Later batches don't wait for an endpoint that is silent now, as those under way do.
                self._answered = (self._answered | result.answered) - result.silent
                await self._put(snapshot_of(result, f"batch {key}"), batch)
        except WorkerLostError as error:
            await self._end(self._targets_of(batch), Outcome.ERROR, _WORKER_LOST, str(error))
        except SnapshotError as error:
            raise FatalError(f"what a worker brought can't be used: {error}") from error
        del self._under_way[key]
        self._slots.end(key)

    async def _sent_out(self, key: str, task: bytes) -> bytes:
        try:
            return await self._workers.run(key, task)
        finally:
            self._slots.leave(key)

    async def _put(self, part: Snapshot, batch: tuple[Account, ...]) -> None:
        """Copy a worker's result into the snapshot.

        Raises SnapshotError unless it has exactly its targets.
        """
        mine, its = self._opened.aws.caller.account_id, part.manifest.caller.account_id
        if mine != its:
            raise CredentialsError(
                f"a worker calls AWS as account {its}, and this run as account {mine}. Give the workers"
                " credentials of the same account."
            )
        self._has_parts = True
        self._waited_in_vain.clear()
        expected = {(each.account.id, each.region) for each in self._targets_of(batch)}

        def claim(result: TargetResult) -> None:
            if (result.account_id, result.region) not in expected:
                raise SnapshotError(f"account {result.account_id} in {result.region} was not asked for")

        def done(result: TargetResult, target: Target) -> None:
            self._done(deadlines.of_whole_run(result, self._deadline), target)
            expected.discard((result.account_id, result.region))

        await adopt(part, self._spread.snapshot_id, self._spread.writer, done, claim)
        if expected:
            account_id, region = min(expected)
            raise SnapshotError(f"account {account_id} in {region} is missing")
        self.counts.add_calls_of_worker(part.manifest.totals)

    def _done(self, result: TargetResult, target: Target) -> None:
        self._sink.done(result, target)
        self.counts.take(result)
        self._ended.add(target.account.id, target.region)

    def _task(self, batch: tuple[Account, ...]) -> PartTask:
        slots = self._slots.count
        settings = msgspec.structs.replace(
            self._for_parts,
            concurrency=max(self._settings.concurrency // slots, 1),
            per_region=max(self._settings.per_region // slots, 1),
            deadline=self._time_for_parts(),
        )
        return PartTask(
            snapshot_id=self._spread.snapshot_id,
            settings=settings,
            secrets=self._secrets,
            operation=self._operation.iam_action,
            organization=self._opened.name,
            accounts=batch,
            concurrent_runs=self._settings.concurrent_runs * slots,
            log_level=_log.getEffectiveLevel(),
            answered=self._answered,
        )

    def _time_left(self) -> float:
        return self._deadline.at - anyio.current_time()

    def _time_for_parts(self) -> float | None:
        left = self._time_left()
        return None if left == inf else max(left - _TO_HAND_OVER, left / 2, _LEAST_TIME / 2)

    def _log(self, messages: Iterable[PartMessage]) -> None:
        """Log the messages of a worker. A message that several workers send is logged once."""
        for each in messages:
            said = each.once or each.text
            if said not in self._logged and len(self._logged) < MOST_MESSAGES:
                self._logged.add(said)
                _log.log(each.level, "%s", each.text, extra={"once": each.once} if each.once else None)

    def _regions_of(self, account: Account) -> Sequence[str]:
        return self._opened.regions.of(account)

    def _targets_of(self, accounts: Iterable[Account]) -> Iterator[Target]:
        return (Target(account, region) for account in accounts for region in self._regions_of(account))

    async def _end_failed(self, key: str, batch: tuple[Account, ...], failure: PartFailure) -> None:
        """End the targets of a batch that has failed. Raises a FatalError if the failure ends the run."""
        for calls in failure.calls:
            self.counts.add_calls_of_worker(calls)
        if failure.kind == "deadline":
            message = deadlines.message(self._deadline.seconds, Outcome.CANCELLED)
            await self._end(self._targets_of(batch), Outcome.CANCELLED, DEADLINE, message)
            return
        # If no batch has succeeded yet, the same error would end all others.
        if failure.failed_call is None or not self._has_parts:
            raise error_of(failure)
        _log.info("%s", failure.message)
        if self._is_last_in_vain(failure):
            batch = self._under_way[key] = (*batch, *self._waiting)
            self._waiting.clear()
        await self._end_in_vain(batch, failure.failed_call)

    def _is_last_in_vain(self, failure: PartFailure) -> bool:
        """Return whether to send no more batches, since every worker has waited for STS in vain.

        Each such batch takes more than a minute, and a run may have a hundred of them. While only some
        workers can't reach STS, the others go on.
        """
        if failure.seconds >= PATIENCE:
            self._waited_in_vain.add(failure.worker)
        return len(self._waited_in_vain) >= self._slots.count

    async def _end_in_vain(self, batch: tuple[Account, ...], failed: FailedCall) -> None:
        """End the targets of accounts that were never called, as a run without workers would."""
        broker = self._opened.aws.broker
        for account in batch:
            outcome, message = failed.outcome, failed.message
            if outcome is not Outcome.EXPIRED and broker.assume_role_calls((account.id,)):
                error = AssumeRoleError.of(broker.role_arn(account.id), CallError(message, code=failed.code))
                outcome, message = error.outcome, error.message
            await self._end(
                self._targets_of((account,)), outcome, failed.code, message, request_id=failed.request_id
            )

    async def _end(
        self,
        targets: Iterable[Target],
        outcome: Outcome,
        code: str | None,
        message: str,
        *,
        request_id: str | None = None,
    ) -> None:
        """End targets for which no worker has returned a result."""
        for target in targets:
            if self._ended.has(target.account.id, target.region):
                continue
            await self._sink.room()
            result = TargetResult.of(
                target,
                outcome,
                operation=self._operation.iam_action,
                error_code=code,
                error_message=message,
                request_id=request_id,
            )
            self._done(result, target)

    async def _end_at_deadline(self) -> None:
        if not self.counts.listed:
            raise self._deadline.passed_before("all accounts were listed")
        ended = [(Outcome.TIMED_OUT, each) for each in self._under_way.values()]
        for outcome, accounts in (*ended, (Outcome.CANCELLED, self._waiting)):
            message = deadlines.message(self._deadline.seconds, outcome)
            await self._end(self._targets_of(accounts), outcome, DEADLINE, message)

    def _count_unfinished(self) -> None:
        unfinished = sum(
            not self._ended.has(each.account.id, each.region)
            for accounts in (*self._under_way.values(), self._waiting)
            for each in self._targets_of(accounts)
        )
        self.counts.take_unfinished(self._former.unfinished + unfinished)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
