"""The queue of data to be written to the files of a snapshot, and the task that writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import anyio

from poolcensus.errors import DestinationError, copy_of_error
from poolcensus.format.compression import compressor
from poolcensus.format.packing import Packer
from poolcensus.format.schema import TARGETS_NAME
from poolcensus.loops import in_thread
from poolcensus.model import Compression
from poolcensus.snapshot.journal import encode_header
from poolcensus.storage.base import Addition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anyio.abc import TaskGroup

    from poolcensus.format.packing import Segment
    from poolcensus.model import FileEntry
    from poolcensus.snapshot.journal import JournalHeader
    from poolcensus.snapshot.spill import Spill
    from poolcensus.storage.base import Draft, DraftFile

# Seconds that data may wait in memory before it is in the journal.
_LONGEST_IN_MEMORY = 2.0


class _QueuedFile(NamedTuple):
    file: DraftFile
    packer: Packer

    def addition(self, segments: Sequence[Segment], *, last: bool = False) -> Addition:
        return Addition(self.file, segments, self.packer, last)


class WriteQueue:
    """Takes the records and lines of targets, and writes them to a draft's files in worker threads.

    `put_block` and `put_target` never block. Callers await `room()` before them, which waits while more than
    `queue_bytes` are queued. Once the destination has failed, all waiting callers get its error.
    """

    def __init__(
        self, draft: Draft, spill: Spill, compression: Compression, *, queue_bytes: int, records_name: str
    ) -> None:
        self._draft = draft
        self._records_name = records_name
        self._spill = spill
        self._compression = compression
        self._queue_bytes = queue_bytes
        self._chunk_bytes = min(draft.chunk_bytes, queue_bytes)
        self._journal: DraftFile | None = None

        # The queue: blocks for the spill file; records, as bytes or as numbers of spilled blocks; ledger
        # lines; journal lines.
        self._to_spill: list[tuple[int, bytes]] = []
        self._to_pools: list[bytes | int] = []
        self._to_targets: list[bytes] = []
        self._to_journal: list[bytes] = []
        self._queued = 0

        self._work = anyio.Event()
        self._room = anyio.Event()
        self._drained = anyio.Event()
        # Shielded from the caller's cancellation: a cancelled run still writes what is queued.
        self._scope = anyio.CancelScope(shield=True)
        self._begun = False
        self._finishing = False
        self._stopped = False
        self._failure: DestinationError | None = None

    @property
    def failed(self) -> bool:
        """Whether the destination has failed."""
        return self._failure is not None

    @property
    def keeps_journal(self) -> bool:
        """Whether there is a journal, so that an interrupted run can be resumed."""
        return self._journal is not None

    async def open(self, header: JournalHeader | None) -> None:
        """Create the files. With a header, create a journal, too, if the draft supports one.

        Raises `DestinationError`.
        """
        if self._compression is Compression.ZSTD:
            # Loading the library reads files, and may wait for another thread that loads it.
            await in_thread(compressor, self._compression)
        suffix = self._compression.suffix
        self._pools = await self._create(self._records_name + suffix)
        self._targets = await self._create(TARGETS_NAME + suffix)
        if header is not None and (journal := await self._draft.journal()) is not None:
            await journal.append(encode_header(header))
            self._journal = journal

    def start(self, group: TaskGroup) -> None:
        """Start the task that writes."""
        self._begun = True
        group.start_soon(self._drain, name="snapshot writer")

    def full(self) -> bool:
        """Return whether more than `queue_bytes` are queued."""
        return self._queued > self._queue_bytes

    def check(self) -> None:
        """Raise `DestinationError` if the destination has failed."""
        if self._failure is not None:
            raise copy_of_error(self._failure)

    async def room(self) -> None:
        """Wait until the queue is not full, or is stopped. Raises `DestinationError` if it has failed."""
        while self._queued > self._queue_bytes and self._failure is None and not self._stopped:
            await self._room.wait()
        self.check()

    def put_block(self, block: int, data: bytes) -> None:
        """Queue records of an open target for a block of the spill file."""
        self._to_spill.append((block, data))
        self._put(len(data))

    def put_target(self, records: Sequence[bytes | int], size: int, line: bytes, entry: bytes) -> None:
        """Queue a target that is done: its records, as bytes or numbers of spilled blocks, and its lines.

        `size` is the size of the records in bytes. `line` is the ledger line, and `entry` the journal line.
        """
        self._to_pools += records
        self._to_targets.append(line)
        if self._journal is not None:
            self._to_journal.append(entry)
        self._put(size + len(line))

    async def drain(self) -> None:
        """Wait until everything is written. Raises `DestinationError`."""
        self._finishing = True
        self._work.set()
        await self._drained.wait()
        self.check()

    async def complete(self, pools: int, targets: int) -> tuple[FileEntry, FileEntry]:
        """Finish the two data files, and return their entries for the manifest. Raises `DestinationError`."""
        await self._draft.append([each.addition((), last=True) for each in (self._pools, self._targets)])
        return self._pools.packer.entry(pools), self._targets.packer.entry(targets)

    async def end_pools(self) -> None:
        """Finish the file of records only, for a run that resumes. Raises `DestinationError`."""
        await self._draft.append([self._pools.addition((), last=True)])

    async def stop(self) -> None:
        """Stop the task, and drop what is not written."""
        self._stopped = True
        self._scope.cancel()
        self._room.set()
        if self._begun:
            await self._drained.wait()

    async def _create(self, name: str) -> _QueuedFile:
        return _QueuedFile(await self._draft.create(name), Packer(name, self._compression))

    def _put(self, size: int) -> None:
        before = self._queued
        self._queued += size
        # The writing task waits until a chunk is queued.
        if before < self._chunk_bytes <= self._queued:
            self._work.set()

    async def _drain(self) -> None:
        try:
            with self._scope:
                while self._queued or not self._finishing:
                    await self._wait_for_work()
                    await self._write_queue()
        except DestinationError as error:
            self._failure = error
        finally:
            self._room.set()
            self._drained.set()

    async def _wait_for_work(self) -> None:
        # Data in memory is lost with the process. With a journal, it is written after a short time.
        patience = float("inf") if self._journal is None else _LONGEST_IN_MEMORY
        while self._queued < self._chunk_bytes and not self._finishing:
            self._make_room()
            with anyio.move_on_after(patience) as scope:
                await self._work.wait()
                self._work = anyio.Event()
            if scope.cancelled_caught and self._queued:
                return

    async def _write_queue(self) -> None:
        blocks, self._to_spill = self._to_spill, []
        pools, self._to_pools = self._to_pools, []
        lines, self._to_targets = self._to_targets, []
        entries, self._to_journal = self._to_journal, []
        if blocks:
            await in_thread(self._write_blocks, blocks)
            self._written(len(blocks) * self._spill.block_bytes)
        additions: list[Addition] = []
        waiting = 0
        for segments, size in self._chunks(pools):
            additions.append(self._pools.addition(segments))
            waiting += size
            # One half of the queue is written while the other half fills.
            if waiting >= self._queue_bytes // 2:
                await self._write(additions, waiting)
                additions, waiting = [], 0
        if lines:
            additions.append(self._targets.addition(lines))
            waiting += sum(map(len, lines))
        if entries and self._journal is not None:
            # Last, since its lines refer to what is in the files.
            additions.append(Addition(self._journal, entries))
        await self._write(additions, waiting)
        self._spill.free(each for each in pools if isinstance(each, int))

    async def _write(self, additions: list[Addition], size: int) -> None:
        if additions:
            await self._draft.append(additions)
            self._written(size)

    def _chunks(self, pools: list[bytes | int]) -> Iterator[tuple[list[Segment], int]]:
        chunk: list[Segment] = []
        size = 0
        for each in pools:
            chunk.append(self._spill.block(each) if isinstance(each, int) else each)
            size += self._spill.block_bytes if isinstance(each, int) else len(each)
            if size >= self._chunk_bytes:
                yield chunk, size
                chunk, size = [], 0
        if chunk:
            yield chunk, size

    def _written(self, size: int) -> None:
        self._queued -= size
        # Not earlier: with room for a single page, all waiting callers would be woken for it.
        if self._queued <= self._queue_bytes // 2:
            self._make_room()

    def _make_room(self) -> None:
        if self._room.statistics().tasks_waiting:
            self._room.set()
            self._room = anyio.Event()

    def _write_blocks(self, blocks: list[tuple[int, bytes]]) -> None:
        for block, data in blocks:
            self._spill.write(block, data)
