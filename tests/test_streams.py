"""Streams: batches, errors, readers that leave, and streams that are garbage-collected."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from poolcensus.errors import FatalError
from poolcensus.streams import Outlet, Stream, StreamRuns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Collect = Callable[[list[Stream[int]]], None]


def here(holder: list[Stream[int]]) -> None:
    holder.clear()


def elsewhere(holder: list[Stream[int]]) -> None:
    threading.Thread(target=holder.clear).start()


def as_garbage(holder: list[Stream[int]]) -> None:
    """Collect the stream as a part of a cycle, as it is where a traceback holds its frame."""
    _collect(_into_a_cycle(holder))


def as_garbage_elsewhere(holder: list[Stream[int]]) -> None:
    threading.Thread(target=_collect, args=(_into_a_cycle(holder),)).start()


def _into_a_cycle(holder: list[Stream[int]]) -> weakref.ref[Stream[int]]:
    stream = weakref.ref(holder[0])
    cycle: list[object] = [holder.pop()]
    cycle.append(cycle)
    return stream


def _collect(stream: weakref.ref[Stream[int]]) -> None:
    # A collection does nothing while another thread is collecting.
    latest = time.monotonic() + 10
    while stream() is not None and time.monotonic() < latest:
        gc.collect()


anywhere = pytest.mark.parametrize("collect", [here, elsewhere, as_garbage, as_garbage_elsewhere])


class Run:
    """A run that ends with its stream, and notes in which thread that is."""

    def __init__(self, then: Callable[[Outlet[int]], Awaitable[None]]) -> None:
        self._then = then
        self.ended = asyncio.Event()
        self.thread: threading.Thread | None = None

    async def __call__(self, outlet: Outlet[int]) -> None:
        try:
            await outlet.send((1,))
            await self._then(outlet)
        finally:
            self.thread = threading.current_thread()
            self.ended.set()

    def stream(self, runs: StreamRuns) -> list[Stream[int]]:
        """The only reference to a stream of this run."""
        return [Stream(runs, self, buffer=0)]


async def waits(outlet: Outlet[int]) -> None:
    await anyio.sleep_forever()


async def waits_after_one(outlet: Outlet[int]) -> None:
    await outlet.send((1,))
    await anyio.sleep_forever()


async def consume(stream: Stream[int]) -> None:
    async for _ in stream:
        pass


class ClosesSlowly:
    """A run that waits after one item, and takes its time to end when it is told to."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.may_close = asyncio.Event()
        self.closed = False

    async def __call__(self, outlet: Outlet[int]) -> None:
        try:
            await waits_after_one(outlet)
        finally:
            self.closing.set()
            with anyio.CancelScope(shield=True):
                await self.may_close.wait()
            self.closed = True


async def puts(outlet: Outlet[int]) -> None:
    while True:
        await outlet.send((2,))


@anywhere
@pytest.mark.parametrize("then", [waits, puts])
@pytest.mark.usefixtures("no_task_left")
async def test_a_stream_that_is_collected_ends_its_run_in_the_loop(
    collect: Collect, then: Callable[[Outlet[int]], Awaitable[None]]
) -> None:
    # In debug mode an event loop refuses calls from other threads that are not thread-safe.
    asyncio.get_running_loop().set_debug(True)
    run = Run(then)
    async with StreamRuns() as runs:
        holder = run.stream(runs)
        assert await anext(holder[0]) == 1
        collect(holder)
        with anyio.fail_after(20):
            await run.ended.wait()
    assert run.thread is threading.current_thread()


@anywhere
@pytest.mark.usefixtures("no_task_left")
async def test_a_stream_that_was_never_read_starts_nothing(collect: Collect) -> None:
    run = Run(waits)
    async with StreamRuns() as runs:
        collect(run.stream(runs))
    assert not run.ended.is_set()


@pytest.mark.usefixtures("no_task_left")
async def test_a_reader_that_is_cancelled_as_an_item_comes_leaves_it_for_the_next() -> None:
    """More often than batches may wait: none is lost, and none of the room."""
    buffer = 2
    wanted = asyncio.Event()
    readers: list[asyncio.Task[int]] = []

    async def produce(outlet: Outlet[int]) -> None:
        for number in range(2 * buffer + 2):
            await wanted.wait()
            wanted.clear()
            await outlet.room()
            outlet.put((number,))
            if number <= buffer:
                readers[-1].cancel()

    got: list[int] = []
    async with StreamRuns() as runs:
        stream = Stream(runs, produce, buffer=buffer)
        with anyio.fail_after(20):
            while True:
                readers.append(asyncio.ensure_future(anext(stream)))
                await anyio.wait_all_tasks_blocked()
                wanted.set()
                try:
                    got.append(await readers[-1])
                except asyncio.CancelledError:
                    continue
                except StopAsyncIteration:
                    break
    assert got == list(range(2 * buffer + 2))


@pytest.mark.usefixtures("no_task_left")
async def test_a_stream_that_is_closed_has_no_more_of_the_batch_that_it_had_taken() -> None:
    async def produce(outlet: Outlet[int]) -> None:
        while True:
            await outlet.send((1, 2, 3))

    async with StreamRuns() as runs:
        async with Stream(runs, produce, buffer=0) as stream:
            assert await anext(stream) == 1
        assert [each async for each in stream] == []


@pytest.mark.usefixtures("no_task_left")
async def test_a_stream_whose_run_is_cut_off_does_not_end_as_if_it_were_whole() -> None:
    got: list[int] = []

    async def read(stream: Stream[int]) -> None:
        with pytest.raises(FatalError, match="ended before it had produced all"):
            async for each in stream:
                got.append(each)  # noqa: PERF401 - what came before the error is looked at
        ended.set()

    ended = anyio.Event()
    async with anyio.create_task_group() as readers:
        async with StreamRuns() as runs:
            stream = Stream(runs, waits_after_one, buffer=0)
            readers.start_soon(read, stream)
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(20):
            await ended.wait()
    assert got == [1]


@pytest.mark.usefixtures("no_task_left")
async def test_each_of_several_readers_hears_that_the_run_has_failed() -> None:
    async def fails(outlet: Outlet[int]) -> None:
        await outlet.send((1,))
        raise FatalError("it went wrong")

    heard: list[str] = []

    async def read(stream: Stream[int]) -> None:
        with pytest.raises(FatalError, match="it went wrong") as caught:
            async for _ in stream:
                pass
        heard.append(str(caught.value))

    async with StreamRuns() as runs:
        stream = Stream(runs, fails, buffer=0)
        async with anyio.create_task_group() as readers:
            for _ in range(3):
                readers.start_soon(read, stream)
        await read(stream)
    assert len(heard) == 4


async def test_a_stream_that_is_read_after_its_census_says_so() -> None:
    async with StreamRuns() as runs:
        stream = Stream(runs, waits, buffer=0)
    with pytest.raises(RuntimeError, match="read it inside of its async with"):
        await anext(stream)


@pytest.mark.usefixtures("no_task_left")
async def test_a_defect_of_the_run_is_raised_to_the_reader_too() -> None:
    async def breaks(outlet: Outlet[int]) -> None:
        outlet.put((1,))
        raise KeyError("a defect")

    got: list[int] = []

    async def read(stream: Stream[int], ended: anyio.Event) -> None:
        with pytest.raises(FatalError):
            got.extend([each async for each in stream])
        ended.set()

    async with anyio.create_task_group() as readers:
        ended = anyio.Event()
        with pytest.RaisesGroup(KeyError):
            async with StreamRuns() as runs:
                readers.start_soon(read, Stream(runs, breaks, buffer=0), ended)
                with anyio.fail_after(20):
                    await ended.wait()
    assert got == []


@pytest.mark.usefixtures("no_task_left")
async def test_the_end_is_told_to_a_reader_only_when_no_item_is_left() -> None:
    async def produce(outlet: Outlet[int]) -> None:
        await outlet.send((1, 2, 3))

    got: list[int] = []

    async def read(stream: Stream[int]) -> None:
        got.extend([each async for each in stream])

    async with StreamRuns() as runs, anyio.create_task_group() as readers:
        stream = Stream(runs, produce, buffer=0)
        readers.start_soon(read, stream)
        # The other reader takes the batch that this one waits for.
        assert await anext(stream) == 1
    assert got == [2, 3]


@pytest.mark.usefixtures("no_task_left")
async def test_contexts_may_be_left_in_any_order_and_in_another_task() -> None:
    first, second = StreamRuns(), StreamRuns()
    for runs in (first, second):
        await runs.__aenter__()
        assert await anext(Stream(runs, waits_after_one, buffer=0)) == 1
    for runs in (first, second):
        await asyncio.ensure_future(runs.__aexit__(None, None, None))
    # Who was cancelled by one of them would hear it now.
    await anyio.lowlevel.checkpoint()


@pytest.mark.usefixtures("no_task_left")
async def test_who_has_handled_a_failure_in_the_context_leaves_it_as_any_other() -> None:
    async def fails() -> None:
        raise ValueError

    async with StreamRuns() as runs:
        stream = Stream(runs, waits_after_one, buffer=0)
        assert await anext(stream) == 1
        try:
            async with asyncio.TaskGroup() as readers:
                readers.create_task(consume(stream))
                readers.create_task(fails())
        except* ValueError:
            pass


@pytest.mark.usefixtures("no_task_left")
async def test_a_caller_who_is_cancelled_twice_waits_for_the_runs_and_hears_it() -> None:
    run = ClosesSlowly()

    async def caller() -> None:
        async with StreamRuns() as runs:
            await consume(Stream(runs, run, buffer=0))

    task = asyncio.ensure_future(caller())
    with anyio.fail_after(20):
        await anyio.wait_all_tasks_blocked()
        task.cancel()
        await run.closing.wait()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        assert not task.done()
        run.may_close.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert run.closed


def test_a_loop_that_ends_before_a_run_has_begun_leaves_no_reader_waiting() -> None:
    async def read(stream: Stream[int]) -> None:
        async with stream:
            await consume(stream)

    async def use() -> None:
        runs = await StreamRuns().__aenter__()
        begun = asyncio.ensure_future(read(Stream(runs, waits, buffer=0)))
        # In the turn in which the reader starts the run, which then never begins.
        await asyncio.sleep(0)
        assert not begun.done()

    program = threading.Thread(target=asyncio.run, args=(use(),), daemon=True)
    program.start()
    program.join(20)
    assert not program.is_alive()


@pytest.mark.usefixtures("no_task_left")
async def test_a_caller_who_is_cancelled_as_it_leaves_hears_it() -> None:
    run = ClosesSlowly()

    async def caller() -> None:
        async with StreamRuns() as runs:
            assert await anext(Stream(runs, run, buffer=0)) == 1

    task = asyncio.ensure_future(caller())
    with anyio.fail_after(20):
        await run.closing.wait()
        task.cancel()
        await anyio.wait_all_tasks_blocked()
        run.may_close.set()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_stream_is_read_in_the_loop_of_its_context() -> None:
    async with StreamRuns() as runs:
        stream = Stream(runs, waits, buffer=0)

        def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="in the event loop in which its context was entered"):
                asyncio.run(consume(stream))

        await anyio.to_thread.run_sync(elsewhere)


async def test_who_waits_for_room_goes_on_when_the_reader_leaves() -> None:
    outlet = Outlet[int](0)
    outlet.put((1,))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(outlet.room)
            await anyio.wait_all_tasks_blocked()
            outlet.leave()


@pytest.mark.usefixtures("no_task_left")
async def test_a_stream_that_was_closed_before_it_began_has_no_item_and_starts_nothing() -> None:
    run = Run(waits)
    async with StreamRuns() as runs:
        stream = run.stream(runs).pop()
        await stream.aclose()
        assert [each async for each in stream] == []
    assert run.thread is None


@anywhere
@pytest.mark.usefixtures("no_task_left")
async def test_a_stream_whose_run_has_failed_is_collected_in_silence(collect: Collect) -> None:
    async def fails(outlet: Outlet[int]) -> None:
        raise FatalError("it went wrong")

    run = Run(fails)
    async with StreamRuns() as runs:
        holder = run.stream(runs)
        assert await anext(holder[0]) == 1
        await run.ended.wait()
        collect(holder)


@anywhere
@pytest.mark.usefixtures("no_task_left")
async def test_a_stream_that_was_read_to_its_end_is_collected_in_silence(collect: Collect) -> None:
    async def ends(outlet: Outlet[int]) -> None:
        pass

    async with StreamRuns() as runs:
        holder = Run(ends).stream(runs)
        assert [each async for each in holder[0]] == [1]
        collect(holder)


@anywhere
@pytest.mark.parametrize("then", [waits, puts])
def test_a_stream_outlives_its_loop(collect: Collect, then: Callable[[Outlet[int]], Awaitable[None]]) -> None:
    holder: list[Stream[int]] = []

    async def use() -> None:
        async with StreamRuns() as runs:
            holder.extend(Run(then).stream(runs))
            assert await anext(holder[0]) == 1

    asyncio.run(use())
    collect(holder)


@anywhere
@pytest.mark.parametrize("then", [waits, puts])
def test_a_loop_is_closed_in_the_middle_of_a_run(
    collect: Collect, then: Callable[[Outlet[int]], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    holder: list[Stream[int]] = []
    loop = asyncio.new_event_loop()

    async def use() -> None:
        runs = await StreamRuns().__aenter__()
        holder.extend(Run(then).stream(runs))
        assert await anext(holder[0]) == 1

    loop.run_until_complete(use())
    left = asyncio.all_tasks(loop)
    loop.close()
    collect(holder)
    # asyncio's own complaint about tasks that whoever closed the loop has left.
    for task in left:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
