"""What a run hands to a reader while it goes on: bounded, so that a slow reader slows the calls."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio
import anyio.lowlevel

from poolcensus.errors import CensusError, FatalError, copy_of_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

T = TypeVar("T")


class _ReaderGoneError(CensusError):
    """Nobody reads the stream any more."""


class Outlet(Generic[T]):
    """Where a run puts items for its reader, in batches: it is full while more than `buffer` of them wait.

    A batch stays until it is taken. A memory stream would hand it to the reader that waits for it, and lose
    it where that is cancelled in the same turn of the loop.
    """

    def __init__(self, buffer: int) -> None:
        self._buffer = buffer
        self._batches: deque[tuple[T, ...]] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self.reader_gone = False

    def full(self) -> bool:
        """Whether more batches wait for the reader than should."""
        return len(self._batches) > self._buffer

    async def room(self) -> None:
        """Wait until it is not full. All who wait go on then, and each may put a batch on top."""
        while self.full():
            self._room.clear()
            await self._room.wait()

    def put(self, batch: tuple[T, ...]) -> None:
        """Hand over some items, full or not. End the run where the reader has gone."""
        if self.reader_gone:
            raise _ReaderGoneError("the reader has gone")
        self._batches.append(batch)
        self._changed.set()

    async def send(self, batch: tuple[T, ...]) -> None:
        """Hand over some items, and wait for room for the next ones."""
        self.put(batch)
        await self.room()

    async def take(self) -> tuple[T, ...] | None:
        """Take the batch that has waited longest, None after the last. One that is cancelled takes none."""
        await anyio.lowlevel.checkpoint()
        while not self._batches:
            if self._ended or self.reader_gone:
                return None
            self._changed.clear()
            await self._changed.wait()
        batch = self._batches.popleft()
        if not self.full():
            self._room.set()
        return batch

    def end(self) -> None:
        """Note that nothing more is put."""
        self._ended = True
        self._changed.set()

    def leave(self) -> None:
        """Note that nothing more is taken."""
        self.reader_gone = True
        self._batches.clear()
        self._changed.set()
        self._room.set()


class _Producer(Generic[T]):
    """The run behind a stream, which must not hold the stream: a reader that drops it ends the run."""

    def __init__(self, produce: Callable[[Outlet[T]], Awaitable[None]], buffer: int) -> None:
        self._produce = produce
        self.outlet = Outlet[T](buffer)
        self._scope = anyio.CancelScope()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ended = anyio.Event()
        self.error: CensusError | None = None

    @property
    def started(self) -> bool:
        return self._loop is not None

    def start(self, group: TaskGroup) -> None:
        try:
            group.start_soon(self._run)
        except RuntimeError:
            raise RuntimeError(
                "the Census of this stream was left: read it inside of its async with"
            ) from None
        self._loop = asyncio.get_running_loop()

    async def _run(self) -> None:
        is_whole = False
        try:
            with self._scope, suppress(_ReaderGoneError):
                await self._produce(self.outlet)
                is_whole = True
        except CensusError as error:
            self.error = error
        finally:
            if not (is_whole or self.error or self.outlet.reader_gone):
                # Cancelled with the Census, or by a defect, which the Census raises when it is left.
                self.error = FatalError("The run was ended before it had produced all: items are missing.")
            self.outlet.end()
            self.ended.set()

    def abandon(self) -> None:
        """End the run, whose items nobody reads any more."""
        self.outlet.leave()
        if self._loop is not None and not self.ended.is_set():
            self._scope.cancel()

    def collected(self) -> None:
        """End the run, whose stream is no more: called in any thread, and in the middle of anything."""
        # A loop that is closed raises RuntimeError, and has no run to end any more.
        with suppress(RuntimeError):
            if self._loop is not None and not self.ended.is_set():
                self._loop.call_soon_threadsafe(self.abandon)
                return
        with suppress(RuntimeError):
            self.abandon()


class Stream(Generic[T]):
    """An async iterator over what a run produces, which starts with the first item that is asked for.

    `produce` puts the items into an outlet, in batches; more than `buffer` of them fill it.

    Leaving the loop early ends the run: what is in flight is cancelled and every connection is closed, at
    the latest when the Census is left. `aclose()` does the same and waits for it. An error that ends the
    run is raised after the items that came before it, and a FatalError where the run was cancelled: only a
    stream that is whole has an end. A reader whose wait for an item is cancelled, as by a timeout, finds it
    when it asks again.
    """

    def __init__(
        self,
        group: TaskGroup,
        produce: Callable[[Outlet[T]], Awaitable[None]],
        *,
        buffer: int,
    ) -> None:
        self._group = group
        self._producer = _Producer(produce, buffer)
        self._items: deque[T] = deque()
        # With a __del__, what the stream holds might be collected before it.
        weakref.finalize(self, self._producer.collected).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        producer = self._producer
        if not producer.started and not producer.outlet.reader_gone:
            producer.start(self._group)
        while not self._items:
            batch = await producer.outlet.take()
            if batch is None:
                if producer.error is not None:
                    # For each who reads, and however often they ask: what came is not the whole.
                    raise copy_of_error(producer.error)
                raise StopAsyncIteration
            self._items.extend(batch)
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the run and wait until it has ended. The stream has no more items then."""
        self._items.clear()
        self._producer.abandon()
        if self._producer.started:
            await self._producer.ended.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
