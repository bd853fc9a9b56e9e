from __future__ import annotations

import asyncio
import io
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO

import anyio
import pytest

from poolcensus.config import Settings
from poolcensus.errors import DestinationError
from poolcensus.format.schema import Schema
from poolcensus.model import Outcome
from poolcensus.snapshot import SnapshotWriter
from poolcensus.storage.destination import open_store
from poolcensus.storage.stdout import StreamStore
from snapshot.making import ID, POOLS, SOME, fill, page, pool, publish, result, target

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


async def census(stream: BinaryIO, pools: int = 1000) -> None:
    async with (
        StreamStore(stream) as store,
        SnapshotWriter(await store.draft(ID), partition="aws", operation=POOLS) as writer,
    ):
        for number in range(pools):
            of = target(number)
            writer.page(page(of, pool(f"wspool-{number:09}", 1000)))
            writer.done(result(of, pools=1), of)
        await publish(writer)


async def test_only_records_of_targets_that_ended_well_are_written() -> None:
    stream = io.BytesIO()
    async with (
        StreamStore(stream) as store,
        SnapshotWriter(await store.draft(ID), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, SOME)
        failed = target(7)
        writer.page(page(failed, pool("wspool-lost")))
        writer.done(result(failed, Outcome.THROTTLED), failed)
        manifest = await publish(writer)
    records = [Schema(POOLS).decode_record(line)[1] for line in stream.getvalue().splitlines()]
    assert [record.account_id[-1] for record in records] == ["1", "1", "2"]
    assert manifest.totals.pools == len(records)
    assert manifest.files[0].bytes == len(stream.getvalue())
    assert not stream.closed


async def test_a_pipe_gets_every_byte() -> None:
    reading, writing = os.pipe()
    read: list[bytes] = []

    def drain() -> None:
        with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
            read.append(pipe.read())

    reader = threading.Thread(target=drain)
    reader.start()
    with open(writing, "wb") as pipe:  # noqa: PTH123, ASYNC230 - a descriptor
        pipe.write(b"before\n")
        await census(pipe)
    reader.join()
    first, *lines = read[0].splitlines()
    assert first == b"before"
    assert [Schema(POOLS).decode_record(line)[1].pool["PoolId"] for line in lines] == [
        f"wspool-{n:09}" for n in range(1000)
    ]


async def test_a_reader_that_leaves_ends_the_census_with_a_plain_word() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as pipe:  # noqa: PTH123, ASYNC230 - a descriptor
        with pytest.raises(DestinationError, match="closed by its reader") as caught:
            await census(pipe)
        assert isinstance(caught.value.__cause__, DestinationError | BrokenPipeError)


@pytest.mark.parametrize("native", [False, True])
async def test_a_reader_that_stops_reading_does_not_hold_up_a_cancelled_run(native: bool) -> None:
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as pipe:  # noqa: PTH123, ASYNC230 - a descriptor
        before = threading.active_count()
        if native:
            task = asyncio.create_task(census(pipe, 20_000))
            await _until_full(pipe)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(census, pipe, 20_000)
                await _until_full(pipe)
                tasks.cancel_scope.cancel()
        # The thread notices too: nothing keeps the process from ending.
        with anyio.fail_after(10):
            await anyio.to_thread.run_sync(_wait_for_idle_threads)
        assert threading.active_count() <= before + 3
    os.close(reading)


async def _until_full(pipe: BinaryIO) -> None:
    ready = select.poll()
    ready.register(pipe, select.POLLOUT)
    while ready.poll(0):
        await anyio.lowlevel.checkpoint()


def _wait_for_idle_threads() -> None:
    while any(
        frame.f_code.co_name == "_write_ready"
        for top in sys._current_frames().values()
        for frame in _frames(top)
    ):
        pass


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


async def test_a_failing_stream_is_a_destination_error() -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, os.strerror(28))

    with pytest.raises(DestinationError, match="can't write to standard output: No space left"):
        await census(Full())


def test_a_standard_output_that_takes_no_bytes_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(DestinationError, match=r"`sys.stdout` is a StringIO, .*; collect into a folder or"):
        open_store("-", Settings(), None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(DestinationError, match="is closed"):
        open_store("-", Settings(), None)
