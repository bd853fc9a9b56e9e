"""From pages to a published snapshot: what the engine writes to.

Records of a target wait until it is done, since a target that fails leaves none. From then on they go
through one queue to one task, which compresses, digests and appends them in worker threads. Where the
destination is slower than the service, the queue is full, and whoever makes calls waits for `room`.
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

# A full page of 25 pools takes about 20 KiB: few targets have more. A thousand open ones take 32 MiB at most.
MEMORY_PER_TARGET = 32 * 1024
# What a disk writes in a few hundredths of a second. With less, calls would wait for each write.
QUEUE_BYTES = 4 << 20


class _Held(msgspec.Struct):
    """The records of an open target: full blocks in the spill file, then what is still in memory."""

    blocks: list[int] = msgspec.field(default_factory=list)
    tail: list[bytes] = msgspec.field(default_factory=list)
    tail_bytes: int = 0
    records: int = 0
    size: int = 0
    checksum: int = 0


_BEYOND_RESUMING: Final = (AccountChoiceError, DestinationError, NotPublishedError, SettingsError)


class RunDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What a manifest says of its run and the writer can't count.

    Of `totals`, targets, covered, pools and pages are counted by the writer and replaced.
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
    """Writes one snapshot into a draft. An async context manager: leaving it unpublished aborts.

    `partitions` are those of the Organizations of a run of several, by name.
    `memory_per_target` (bytes) is what an open target's records may take in memory before they go to the
    spill file; `queue_bytes` is how much may wait for the destination before it is full. With a
    `journal` header, a run that is interrupted leaves its draft for one that goes on with it.

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
        # Bound once: the engine asks before every call.
        self.full, self.room = self._out.full, self._out.room

    @property
    def published(self) -> bool:
        """Whether readers can see the snapshot."""
        return self._draft.published

    @property
    def manifest(self) -> Manifest | None:
        """The manifest of the snapshot once that is published, even where `publish` was cancelled then."""
        return self._manifest if self.published else None

    @property
    def before(self) -> SnapshotInfo | None:
        """The newest of the other snapshots at the destination once this one is published."""
        return self._latest.before if self._latest is not None and self.published else None

    @property
    def kept(self) -> str | None:
        """Where the ledger of a run is that was not published, None where none is kept."""
        return self._kept

    @property
    def suspended(self) -> bool:
        """Whether the draft was left for a run that goes on with it."""
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
                # What the body raised is not the task group's to wrap: it only has its one task to wait for.
                await self._tasks.__aexit__(None, None, None)

    def page(self, page: Page) -> None:
        """Take one page of a target that is not done yet. Pages of one target come one at a time.

        Raises `BadResponseError` where a pool can't be written as JSON, and `RuntimeError` for a page of a
        target that is done.
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
        """Add encoded records of a target that has been read elsewhere; `set_record_count` says how many."""
        self._out.check()
        self._hold(self._still_open(target), data)

    def set_record_count(self, target: Target, count: int) -> None:
        """Say how many records `add_records` was given of a target, all pieces together."""
        self._open[self._still_open(target)].records = count

    def discard(self, target: Target) -> None:
        """Drop the records of a target that is not done, if it has any."""
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
        """End a target: its records become part of the snapshot if its outcome is `ok`, else they go.

        Once for every target. Raises `RuntimeError` for a second call, or where `result` does not fit the
        target or its pages.
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
        """Write out what is queued, then the manifest, and publish the snapshot.

        With `refused_by`, the rule that forbids publishing it, only the ledger is kept; no reader takes that
        for a snapshot.

        Raises `RuntimeError` while a target that has pages is not done, or where the ledger has not `planned`
        lines.
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
        """Give the snapshot up and remove the draft, even where the caller is cancelled.

        What is under way, and the draft, take no longer than `abort_seconds` each. Does nothing after
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
        # A run that was stopped, or lost its credentials, can go on with the targets that were covered: the
        # others are called again. One whose destination has failed, that has been read to its end, or that
        # needs other settings can't.
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
            # A compressed file that lacks its end can be read as far as it goes.
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
