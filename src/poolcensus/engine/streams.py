"""What a run hands to a reader while it goes on: bounded, so that a slow reader slows the calls."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
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
    """Where a run puts items for its reader, in batches. A full one makes it wait."""

    def __init__(self, send: MemoryObjectSendStream[tuple[T, ...]]) -> None:
        self._send = send
        self._waiting = 0
        self._taken = anyio.Event()

    def full(self) -> bool:
        """Whether someone waits to hand something over."""
        return self._waiting > 0

    async def room(self) -> None:
        """Wait until nobody waits to hand something over."""
        while self._waiting:
            await self._taken.wait()

    async def put(self, batch: tuple[T, ...]) -> None:
        """Hand over some items. Ends the run where the reader has gone."""
        self._waiting += 1
        try:
            await self._send.send(batch)
        except anyio.BrokenResourceError:
            raise _ReaderGoneError("the reader has gone") from None
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._taken.set()
                self._taken = anyio.Event()


class _Producer(Generic[T]):
    """The run behind a stream, which must not hold the stream: a reader that drops it ends the run."""

    def __init__(self, produce: Callable[[Outlet[T]], Awaitable[None]]) -> None:
        self._produce = produce
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.error: CensusError | None = None

    async def run(self, send: MemoryObjectSendStream[tuple[T, ...]]) -> None:
        try:
            with send, self.scope, suppress(_ReaderGoneError):
                await self._produce(Outlet(send))
        except CensusError as error:
            self.error = error
        finally:
            self.ended.set()


class Stream(Generic[T]):
    """An async iterator over what a run produces, which starts with the first item that is asked for.

    `produce` sends the items in batches; `buffer` is how many of them may wait for the reader.

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
        self._producer = _Producer(produce)
        self._send, self._receive = anyio.create_memory_object_stream[tuple[T, ...]](buffer)
        self._items: deque[T] = deque()
        self._started = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._started:
            self._started = True
            self._group.start_soon(self._producer.run, self._send)
        try:
            while not self._items:
                self._items.extend(await self._receive.receive())
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._receive.close()
            error, self._producer.error = self._producer.error, None
            if error is not None:
                raise error from None
            raise StopAsyncIteration from None
        return self._items.popleft()

    async def aclose(self) -> None:
        """End the run and wait until it has ended."""
        self._abandon()
        if self._started:
            await self._producer.ended.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # Without a running loop there is no run to end any more.
        with suppress(RuntimeError):
            self._abandon()

    def _abandon(self) -> None:
        self._receive.close()
        if not self._started:
            self._send.close()
        elif not self._producer.ended.is_set():
            self._producer.scope.cancel()
