"""What a run hands to a reader while it goes on: bounded, so that a slow reader slows the calls."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio

from poolcensus.errors import CensusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup
    from anyio.streams.memory import MemoryObjectSendStream

T = TypeVar("T")


class _ReaderGoneError(CensusError):
    """Nobody reads the stream any more."""


class Outlet(Generic[T]):
    """Where a run puts items for its reader, in batches: it is full while more than `buffer` of them wait."""

    def __init__(self, send: MemoryObjectSendStream[tuple[T, ...]], buffer: int) -> None:
        self._send = send
        self._buffer = buffer
        self._waiting = 0
        self._room = anyio.Event()

    def full(self) -> bool:
        """Whether more batches wait for the reader than should."""
        return self._waiting > self._buffer

    async def room(self) -> None:
        """Wait until it is not full."""
        while self._waiting > self._buffer:
            await self._room.wait()

    def put(self, batch: tuple[T, ...]) -> None:
        """Hand over some items, full or not. End the run where the reader has gone."""
        try:
            self._send.send_nowait(batch)
        except anyio.BrokenResourceError:
            raise _ReaderGoneError("the reader has gone") from None
        self._waiting += 1

    async def send(self, batch: tuple[T, ...]) -> None:
        """Hand over some items, and wait for room for the next ones."""
        self.put(batch)
        await self.room()

    def taken(self) -> None:
        """Note that the reader has taken a batch."""
        self._waiting -= 1
        if self._waiting == self._buffer:
            self._room.set()
            self._room = anyio.Event()


class _Producer(Generic[T]):
    """The run behind a stream, which must not hold the stream: a reader that drops it ends the run."""

    def __init__(self, produce: Callable[[Outlet[T]], Awaitable[None]], buffer: int) -> None:
        self._produce = produce
        self._send, self._receive = anyio.create_memory_object_stream[tuple[T, ...]](inf)
        self._outlet = Outlet(self._send, buffer)
        self._scope = anyio.CancelScope()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.ended = anyio.Event()
        self.error: CensusError | None = None

    @property
    def started(self) -> bool:
        return self._loop is not None

    def start(self, group: TaskGroup) -> None:
        self._loop = asyncio.get_running_loop()
        group.start_soon(self._run)

    async def receive(self) -> tuple[T, ...]:
        batch = await self._receive.receive()
        self._outlet.taken()
        return batch

    def close(self) -> None:
        self._receive.close()

    async def _run(self) -> None:
        try:
            with self._send, self._scope, suppress(_ReaderGoneError):
                await self._produce(self._outlet)
        except CensusError as error:
            self.error = error
        finally:
            self.ended.set()

    def abandon(self) -> None:
        """End the run, whose items nobody reads any more."""
        self.close()
        if self._loop is None:
            self._send.close()
        elif not self.ended.is_set():
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
    run is raised after the items that came before it.
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
        if not producer.started:
            producer.start(self._group)
        try:
            while not self._items:
                self._items.extend(await producer.receive())
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            producer.close()
            error, producer.error = producer.error, None
            if error is not None:
                raise error from None
            raise StopAsyncIteration from None
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the run and wait until it has ended."""
        self._producer.abandon()
        if self._producer.started:
            await self._producer.ended.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
