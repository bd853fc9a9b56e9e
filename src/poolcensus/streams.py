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
    from collections.abc import Awaitable, Callable, Coroutine

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


class StreamRuns:
    """The runs behind the streams of a context: those that are still going on end when it is left.

    Each has a task of its own. The scope of a task group in the caller's task would have to be left in that
    task, and before all others that were entered earlier: where the context is in an async generator, it may
    be left in another task, or later.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._scopes: dict[asyncio.Task[None], anyio.CancelScope] = {}
        self._left = False

    def start(
        self, run: Callable[[], Coroutine[None, None, None]], scope: anyio.CancelScope
    ) -> asyncio.Task[None]:
        """Start a run, which `scope` ends. Raises RuntimeError once the context was left."""
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
        """End what is still going on, and wait for it, also where the caller is cancelled meanwhile.

        Raises an ExceptionGroup of the defects that have ended runs.
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

    def start(self, runs: StreamRuns) -> None:
        task = runs.start(self._run, self._scope)
        # A loop that ends cancels tasks that have not begun, of which nothing runs.
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

    Leaving the loop early ends the run once nothing refers to the stream any more, at the latest when the
    Census is left: what is in flight is cancelled and every connection is closed. `aclose()`, which leaving
    its `async with` calls, does that at once and waits for it. An error that ends the run is raised after the
    items that came before it, and a FatalError where the run was cancelled: only a stream that is whole has
    an end. A reader whose wait for an item is cancelled, as by a timeout, finds it when it asks again.
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
        # With a __del__, what the stream holds might be collected before it.
        weakref.finalize(self, self._producer.collected).atexit = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        producer = self._producer
        if not producer.started and not producer.outlet.reader_gone:
            producer.start(self._runs)
        while not self._items:
            batch = await producer.outlet.take()
            # Another reader may have left some of a batch meanwhile.
            if batch is None and not self._items:
                if producer.error is not None:
                    # For each who reads, and however often they ask: what came is not the whole.
                    raise copy_of_error(producer.error)
                raise StopAsyncIteration
            self._items.extend(batch or ())
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
