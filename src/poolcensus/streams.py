"""Streams: pages, records or events that a reader takes while the run goes on.

The buffer is bounded, so that a slow reader slows down the calls.
"""

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
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")


class _ReaderGoneError(CensusError):
    """Nobody reads the stream any more."""


class Outlet(Generic[T]):
    """The queue between a run and its reader. It holds batches, and is full with more than `buffer` of them.

    A batch stays in the queue until the reader takes it. A memory stream of anyio would hand it to a waiting
    reader directly, and lose it if that reader is cancelled in the same turn of the event loop.
    """

    def __init__(self, buffer: int) -> None:
        self._buffer = buffer
        self._batches: deque[tuple[T, ...]] = deque()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self.reader_gone = False

    def full(self) -> bool:
        """Return whether more batches wait for the reader than the buffer should hold."""
        return len(self._batches) > self._buffer

    async def room(self) -> None:
        """Wait until the queue is not full. All waiters then continue, and each may put one batch more."""
        while self.full():
            self._room.clear()
            await self._room.wait()

    def put(self, batch: tuple[T, ...]) -> None:
        """Add a batch, even if the queue is full. Raises an error that ends the run if the reader is gone."""
        if self.reader_gone:
            raise _ReaderGoneError("the reader has gone")
        self._batches.append(batch)
        self._changed.set()

    async def send(self, batch: tuple[T, ...]) -> None:
        """Add a batch, and wait until there is room for the next one."""
        self.put(batch)
        await self.room()

    async def take(self) -> tuple[T, ...] | None:
        """Return the oldest batch, or None after the last one. If it is cancelled, no batch is removed."""
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
        """Mark the end: no more batches are added."""
        self._ended = True
        self._changed.set()

    def leave(self) -> None:
        """Mark the reader as gone: no more batches are taken."""
        self.reader_gone = True
        self._batches.clear()
        self._changed.set()
        self._room.set()


class StreamRuns:
    """The runs behind the streams of one async context. Those still going on end when the context is left.

    Each run has a task of its own. A task group can't be used: it has to be left in the task that entered it,
    and in the right order with other scopes. A context inside an async generator may be left in another task,
    or later.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scopes: dict[asyncio.Task[None], anyio.CancelScope] = {}
        self._left = False

    def start(
        self, run: Callable[[], Coroutine[None, None, None]], scope: anyio.CancelScope
    ) -> asyncio.Task[None]:
        """Start a run, which cancelling `scope` ends. Raises RuntimeError after the context was left."""
        if self._left:
            raise RuntimeError("the context of this stream was left: read it inside of its async with")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("read the stream in the event loop in which its context was entered")
        task = self._loop.create_task(run())
        self._scopes[task] = scope
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if _defect_of(task) is None:
            del self._scopes[task]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel the runs that still go on, and wait for their end, even if the caller is cancelled.

        Raises an ExceptionGroup of the unexpected exceptions that have ended runs.
        """
        self._left = True
        for scope in self._scopes.values():
            scope.cancel()
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while going_on := [task for task in self._scopes if not task.done()]:
                try:
                    await asyncio.wait(going_on)
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled
        defects = [defect for task in self._scopes if (defect := _defect_of(task)) is not None]
        if defects:
            raise BaseExceptionGroup("runs of streams have failed", defects)


def _defect_of(task: asyncio.Task[None]) -> BaseException | None:
    return None if task.cancelled() else task.exception()


class _Producer(Generic[T]):
    """The run behind a stream.

    It holds no reference to the stream, so that the stream is collected, and the run ended, when its reader
    drops it.
    """

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

    def start(self, runs: StreamRuns) -> None:
        task = runs.start(self._run, self._scope)
        # If the loop ends before the task has begun, the task is cancelled and `_run` never runs.
        task.add_done_callback(lambda _: self._end())
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
            self._end(is_whole=is_whole)

    def _end(self, *, is_whole: bool = False) -> None:
        if self.ended.is_set():
            return
        if not (is_whole or self.error or self.outlet.reader_gone):
            # The run was cancelled together with the Census, or failed unexpectedly. In the latter case the
            # Census raises the exception when it is left.
            self.error = FatalError("The run was ended before it had produced all: items are missing.")
        self.outlet.end()
        self.ended.set()

    def abandon(self) -> None:
        """End the run, because nobody reads its items any more."""
        self.outlet.leave()
        if self._loop is not None and not self.ended.is_set():
            self._scope.cancel()

    def collected(self) -> None:
        """End the run, because its stream was garbage-collected. May be called at any time, in any thread."""
        # A closed loop raises RuntimeError. It has no run left to end.
        with suppress(RuntimeError):
            if self._loop is not None and not self.ended.is_set():
                self._loop.call_soon_threadsafe(self.abandon)
                return
        with suppress(RuntimeError):
            self.abandon()


class Stream(Generic[T]):
    """An async iterator over the items of a run. The run starts when the first item is requested.

    `produce` puts the items into an outlet, in batches. More than `buffer` batches fill it.

    Leaving the loop early ends the run once nothing refers to the stream any more, or when the Census is
    left: calls in flight are cancelled and every connection is closed. `aclose()` does that at once and waits
    for it; leaving an `async with` block of the stream calls it. An error that ends the run is raised after
    the items that came before it. If the run was cancelled, that is a FatalError: only a complete stream ends
    without an error. If waiting for an item is cancelled, for instance by a timeout, the item is not lost:
    the next request returns it.
    """

    def __init__(
        self,
        runs: StreamRuns,
        produce: Callable[[Outlet[T]], Awaitable[None]],
        *,
        buffer: int,
    ) -> None:
        self._runs = runs
        self._producer = _Producer(produce, buffer)
        self._items: deque[T] = deque()
        # With a __del__ method, the objects that the stream holds might be collected before it.
        weakref.finalize(self, self._producer.collected).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        producer = self._producer
        if not producer.started and not producer.outlet.reader_gone:
            producer.start(self._runs)
        while not self._items:
            batch = await producer.outlet.take()
            # Another reader may have put the rest of a batch into `_items` meanwhile.
            if batch is None and not self._items:
                if producer.error is not None:
                    # Raised for each reader and each request: the items are never taken for complete.
                    raise copy_of_error(producer.error)
                raise StopAsyncIteration
            self._items.extend(batch or ())
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the run, and wait until it has ended. After that the stream has no more items."""
        self._items.clear()
        self._producer.abandon()
        if self._producer.started:
            await self._producer.ended.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
