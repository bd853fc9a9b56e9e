"""Writes a snapshot: the sink of the engine, from pages to the published files.

The records of a target wait until the target is done, since a target that fails keeps none. Then they pass
through a queue to one task, which compresses, digests and appends them in worker threads. If the destination
is slower than the service, the queue fills up, and callers wait for `room`.
"""

from __future__ import annotations

import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

import anyio
import msgspec

from poolcensus.errors import (
    AccountChoiceError,
    BadReply,
    BadResponseError,
    DestinationError,
    NotPublishedError,
    SettingsError,
)
from poolcensus.format.manifest import SCHEMA_VERSION, encode_manifest, encode_refused
from poolcensus.format.schema import Schema
from poolcensus.loops import in_thread
from poolcensus.model import (
    Compression,
    JsonObject,
    Manifest,
    Outcome,
    SnapshotStatus,
    Totals,
    count_covered,
)
from poolcensus.snapshot.info import info_of
from poolcensus.snapshot.journal import encode_entry
from poolcensus.snapshot.latest import LatestAfter
from poolcensus.snapshot.spill import Spill
from poolcensus.snapshot.target_set import TargetSet
from poolcensus.snapshot.write_queue import WriteQueue
from poolcensus.storage.base import ABORT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from types import TracebackType

    from poolcensus.model import (
        Caller,
        KnownGap,
        OperationInfo,
        OrganizationInfo,
        Page,
        PublishingRule,
        Shard,
        SkippedAccount,
        Target,
        TargetResult,
    )
    from poolcensus.snapshot.info import SnapshotInfo
    from poolcensus.snapshot.journal import JournalHeader
    from poolcensus.storage.base import Draft

# Bytes. A full page of 25 pools takes about 20 KiB, and few targets have more. A thousand open targets take
# at most 32 MiB.
MEMORY_PER_TARGET = 32 * 1024
# Bytes. A disk writes this in a few hundredths of a second. With less, calls would wait for each write.
QUEUE_BYTES = 4 << 20


class _Held(msgspec.Struct):
    """The records of an open target: full blocks in the spill file, then the rest in memory."""

    blocks: list[int] = msgspec.field(default_factory=list)
    tail: list[bytes] = msgspec.field(default_factory=list)
    tail_bytes: int = 0
    records: int = 0
    size: int = 0
    checksum: int = 0


# Errors after which resuming makes no sense.
_BEYOND_RESUMING: Final = (AccountChoiceError, DestinationError, NotPublishedError, SettingsError)


class RunDescription(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a manifest that describes the run, and that the writer can't count.

    In `totals`, the writer replaces targets, covered, pools and pages, which it counts itself.
    """

    started_at: datetime
    finished_at: datetime
    tool: str
    caller: Caller
    organization_id: str | None
    request: JsonObject
    accounts_planned: int
    accounts_skipped: tuple[SkippedAccount, ...]
    totals: Totals
    shard: Shard | None = None
    known_gaps: tuple[KnownGap, ...] = ()
    organizations: tuple[OrganizationInfo, ...] = ()


class SnapshotWriter:
    """Writes one snapshot into a draft. An async context manager, which aborts if nothing was published.

    `partition` is the caller's partition, and `partitions` has those of the Organizations by name, in a run
    of several. `memory_per_target` is how many bytes of an open target's records are kept in memory before
    they go to the spill file. `queue_bytes` is how many bytes may wait for the destination. With a `journal`
    header, an interrupted run leaves its draft for one that resumes.

    Once the destination has failed, every call raises `DestinationError`.
    """

    def __init__(
        self,
        draft: Draft,
        *,
        partition: str,
        operation: OperationInfo,
        partitions: Mapping[str | None, str] = MappingProxyType({}),
        compression: Compression = Compression.NONE,
        journal: JournalHeader | None = None,
        memory_per_target: int = MEMORY_PER_TARGET,
        queue_bytes: int = QUEUE_BYTES,
        abort_seconds: float = ABORT_SECONDS,
    ) -> None:
        self._draft = draft
        self._header = journal
        self._abort_seconds = abort_seconds
        self._operation = operation
        self._schema = Schema(operation)
        self._encoders = {
            name: self._schema.encoder(draft.snapshot_id, each)
            for name, each in {None: partition, **partitions}.items()
        }
        self._spill = Spill(draft.scratch, memory_per_target)
        self._out = WriteQueue(
            draft,
            self._spill,
            compression,
            queue_bytes=queue_bytes,
            records_name=self._schema.records_name,
        )
        self._open: dict[tuple[str, str], _Held] = {}
        self._ended = TargetSet()
        self._pools = 0
        self._pages = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._closed = False
        self._suspended = False
        self._manifest: Manifest | None = None
        self._latest: LatestAfter | None = None
        self._kept: str | None = None
        # Bound methods are stored, since the engine calls them before every call of AWS.
        self.full, self.room = self._out.full, self._out.room

    @property
    def published(self) -> bool:
        """Whether readers can see the snapshot."""
        return self._draft.published

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the published snapshot, even if `publish` was cancelled after that, or None."""
        return self._manifest if self.published else None

    @property
    def before(self) -> SnapshotInfo | None:
        """The newest other snapshot at the destination, known once this one is published."""
        return self._latest.before if self._latest is not None and self.published else None

    @property
    def kept(self) -> str | None:
        """The place of the ledger of a refused run, or None."""
        return self._kept

    @property
    def suspended(self) -> bool:
        """Whether the draft was left for a run that resumes."""
        return self._suspended

    async def __aenter__(self) -> Self:
        ready = False
        try:
            if self._draft.scratch is None:
                await in_thread(self._spill.open)
            await self._out.open(self._header)
            ready = True
        finally:
            if not ready:
                await self.abort()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._out.start(self._tasks)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._is_worth_keeping(error):
                await self._suspend()
        finally:
            try:
                await self.abort()
            finally:
                # Without the error of the body, which the task group would wrap in an exception group.
                await self._tasks.__aexit__(None, None, None)

    def page(self, page: Page) -> None:
        """Take a page of an open target. Pages of one target come one at a time.

        Raises `BadResponseError` if a pool can't be written as JSON, and `RuntimeError` if the target is
        done.
        """
        self._out.check()
        key = self._still_open(page.target)
        if not page.pools:
            return
        try:
            data = self._encoders[page.target.account.organization].encode(page)
        except ValueError as error:
            raise BadResponseError(str(error), code=BadReply.UNWRITABLE) from error
        self._hold(key, data).records += len(page.pools)

    def add_records(self, target: Target, data: bytes) -> None:
        """Add encoded records of a target, whose number has to be set with `set_record_count`."""
        self._out.check()
        self._hold(self._still_open(target), data)

    def set_record_count(self, target: Target, count: int) -> None:
        """Set how many records `add_records` was given for a target in all."""
        self._open[self._still_open(target)].records = count

    def discard(self, target: Target) -> None:
        """Drop the records of an open target, if it has any."""
        held = self._open.pop((target.account.id, target.region), None)
        if held is not None:
            self._spill.free(held.blocks)

    def _still_open(self, target: Target) -> tuple[str, str]:
        key = (target.account.id, target.region)
        if self._closed or self._ended.has(*key):
            raise RuntimeError(f"a page came after the end of {'the snapshot' if self._closed else key}")
        return key

    def _hold(self, key: tuple[str, str], data: bytes) -> _Held:
        held = self._open.get(key)
        if held is None:
            held = self._open[key] = _Held()
        held.tail.append(data)
        held.tail_bytes += len(data)
        if self._out.keeps_journal:
            held.size += len(data)
            held.checksum = zlib.crc32(data, held.checksum)
        if held.tail_bytes >= self._spill.block_bytes:
            self._spill_over(held)
        return held

    def done(self, result: TargetResult, target: Target) -> None:
        """End a target.

        Its records become part of the snapshot if its outcome is `ok`, else they are dropped. Call this once
        for every target. Raises `RuntimeError` for a second call, or if `result` does not match the target or
        its pages.
        """
        self._out.check()
        key = (target.account.id, target.region)
        if self._closed or self._ended.has(*key):
            raise RuntimeError(f"{key} was done before, or the snapshot was")
        held = self._open.get(key) or _Held()
        _check_fit(result, key, held.records)
        line = self._schema.encode_result(result)
        self._open.pop(key, None)
        self._ended.add(*key)
        if result.outcome is not Outcome.OK:
            self._spill.free(held.blocks)
            held = _Held()
        size = len(held.blocks) * self._spill.block_bytes + held.tail_bytes
        entry = encode_entry(line, held.size, held.checksum) if self._out.keeps_journal else b""
        self._out.put_target([*held.blocks, *held.tail], size, line, entry)
        self._pools += result.pools
        self._pages += result.pages
        self._outcomes[result.outcome] += 1

    async def publish(
        self, about: RunDescription, *, planned: int | None = None, refused_by: PublishingRule | None = None
    ) -> Manifest:
        """Write what is queued, then the manifest, and publish the snapshot.

        With `refused_by`, the rule that forbids publishing, only the ledger is kept, in a form that readers
        don't take for a snapshot. Raises `RuntimeError` if a target with pages is not done, or if the ledger
        does not have `planned` lines.
        """
        if self._closed:
            raise RuntimeError("the snapshot is published or aborted already")
        if self._open:
            raise RuntimeError(f"targets that have pages are not done: {list(self._open)[:3]}")
        self._closed = True
        targets = self._outcomes.total()
        await self._out.drain()
        files = await self._out.complete(self._pools, targets)
        await in_thread(self._spill.close)
        if planned is not None and targets != planned:
            raise RuntimeError(f"{planned} targets were planned and {targets} are in the ledger")
        covered = count_covered(self._outcomes)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            snapshot_id=self._draft.snapshot_id,
            status=SnapshotStatus.COMPLETE if covered == targets else SnapshotStatus.PARTIAL,
            started_at=about.started_at,
            finished_at=about.finished_at,
            tool=about.tool,
            caller=about.caller,
            organization_id=about.organization_id,
            operation=self._operation,
            request=about.request,
            accounts_planned=about.accounts_planned,
            accounts_skipped=about.accounts_skipped,
            totals=replace(
                about.totals, targets=targets, covered=covered, pools=self._pools, pages=self._pages
            ),
            outcomes={outcome: self._outcomes[outcome] for outcome in Outcome if outcome in self._outcomes},
            files=files,
            shard=about.shard,
            known_gaps=about.known_gaps,
            organizations=about.organizations,
        )
        if refused_by is not None:
            manifest = replace(manifest, files=files[1:])
            self._kept = await self._draft.refuse(encode_refused(manifest, refused_by))
            return manifest
        self._manifest = manifest
        data = encode_manifest(manifest)
        self._latest = LatestAfter(manifest.snapshot_id, info_of(manifest))
        await self._draft.commit(data, self._latest)
        return manifest

    async def abort(self) -> None:
        """Give up the snapshot and remove the draft, even if the caller is cancelled.

        Ending the writes and removing the draft each take at most `abort_seconds`. Does nothing after
        `publish`.
        """
        self._closed = True
        if self.published:
            return
        try:
            with anyio.move_on_after(self._abort_seconds, shield=True):
                await self._out.stop()
                await in_thread(self._spill.close)
        finally:
            with anyio.move_on_after(self._abort_seconds, shield=True):
                await self._draft.abort()

    def _is_worth_keeping(self, error: BaseException | None) -> bool:
        # A run that was stopped, or lost its credentials, can be resumed: covered targets are kept, and the
        # others are called again. Not so if the destination has failed, if all targets have been read, or if
        # the settings have to change.
        return (
            self._out.keeps_journal
            and count_covered(self._outcomes) > 0
            and not self._closed
            and not self._out.failed
            and error is not None
            and not isinstance(error, _BEYOND_RESUMING)
        )

    async def _suspend(self) -> None:
        self._closed = True
        with anyio.move_on_after(self._abort_seconds, shield=True), suppress(DestinationError):
            await self._out.drain()
            # Even if this fails: a compressed file without its end can be read up to that point.
            await self._out.end_pools()
        if not self._out.failed:
            with anyio.move_on_after(self._abort_seconds, shield=True):
                await self._draft.suspend()
                self._suspended = True

    def _spill_over(self, held: _Held) -> None:
        data = b"".join(held.tail)
        size = self._spill.block_bytes
        full = len(data) - len(data) % size
        for start in range(0, full, size):
            block = self._spill.allocate()
            held.blocks.append(block)
            self._out.put_block(block, data[start : start + size])
        held.tail = [data[full:]]
        held.tail_bytes = len(data) - full


def _check_fit(result: TargetResult, key: tuple[str, str], records: int) -> None:
    if (result.account_id, result.region) != key:
        raise RuntimeError(f"the result of {(result.account_id, result.region)} came for {key}")
    if result.outcome in {Outcome.OK, Outcome.EMPTY}:
        if result.pools != records:
            raise RuntimeError(f"{key} ends with {result.pools} pools, and its pages had {records}")
    elif result.pools:
        raise RuntimeError(f"{key} failed and ends with {result.pools} pools: it keeps none")
