from __future__ import annotations

import asyncio
import json
import random
import threading
import tracemalloc
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from descriptors import descriptors
from poolcensus.errors import BadResponseError, DestinationError
from poolcensus.format.compression import compressor
from poolcensus.model import Compression, Outcome, Page, SnapshotStatus
from poolcensus.snapshot import Snapshot, SnapshotWriter, write_queue
from poolcensus.snapshot.verification import verify
from poolcensus.storage.local.store import FolderStore
from snapshot.making import (
    ID,
    POOLS,
    RECEIVED,
    SOME,
    fill,
    folder_of,
    make,
    page,
    pool,
    publish,
    result,
    target,
)
from snapshot.memory_draft import MemoryDraft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from poolcensus.format.compression import Compressor
    from poolcensus.model import Target
    from poolcensus.storage.base import Addition, DraftFile


async def test_the_snapshot_holds_what_was_done_and_counts_it(tmp_path: Path) -> None:
    content = {**SOME, target(3): Outcome.ACCESS_DENIED, target(4): Outcome.REGION_DISABLED}
    snapshot = await make(tmp_path, content=content)
    assert verify(snapshot) == ()
    manifest = snapshot.manifest
    assert manifest.status is SnapshotStatus.PARTIAL
    assert manifest.outcomes == {
        Outcome.OK: 2,
        Outcome.EMPTY: 1,
        Outcome.REGION_DISABLED: 1,
        Outcome.ACCESS_DENIED: 1,
    }
    totals = manifest.totals
    assert (totals.targets, totals.covered, totals.pools, totals.pages) == (5, 4, 3, 5)
    # What only the engine can count is as it was given.
    assert (totals.requests, totals.retries, totals.throttles, totals.assume_role_calls) == (40, 2, 1, 3)
    assert [(file.name, file.records) for file in manifest.files] == [
        ("pools.ndjson", 3),
        ("targets.ndjson", 5),
    ]


@pytest.mark.parametrize("outcome", Outcome)
async def test_a_snapshot_is_complete_if_every_outcome_is_covered(tmp_path: Path, outcome: Outcome) -> None:
    has = ["wspool-1"] if outcome is Outcome.OK else outcome
    snapshot = await make(tmp_path, content={**SOME, target(8): has})
    assert (snapshot.manifest.status is SnapshotStatus.COMPLETE) == outcome.covered


@pytest.mark.parametrize("compression", Compression)
@given(
    seed=st.integers(0, 2**32),
    memory=st.sampled_from([64, 1000, 1 << 16]),
    queue=st.sampled_from([100, 5000, 1 << 20]),
)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_targets_in_any_interleaving_come_out_whole_and_together(
    compression: Compression, seed: int, memory: int, queue: int
) -> None:
    chance = random.Random(seed)

    async def one(writer: SnapshotWriter, of: Target, expected: dict[Target, list[str]]) -> None:
        ids: list[str] = []
        for number in range(1, chance.randint(1, 6)):
            new = [f"wspool-{number}-{n}" for n in range(chance.randint(0, 5))]
            writer.page(page(of, *(pool(i, chance.randint(0, 400)) for i in new), number=number))
            ids += new
            for _ in range(chance.randint(0, 3)):
                await anyio.lowlevel.checkpoint()
        if chance.random() < 0.3:
            writer.done(result(of, Outcome.TIMED_OUT), of)
        elif ids:
            writer.done(result(of, pools=len(ids)), of)
            expected[of] = ids
        else:
            writer.done(result(of, Outcome.EMPTY), of)

    async def run() -> None:
        with TemporaryDirectory() as folder:
            expected: dict[Target, list[str]] = {}
            async with (
                FolderStore(folder) as store,
                SnapshotWriter(
                    await store.draft(ID),
                    partition="aws",
                    operation=POOLS,
                    compression=compression,
                    memory_per_target=memory,
                    queue_bytes=queue,
                ) as writer,
            ):
                async with anyio.create_task_group() as tasks:
                    for number in range(12):
                        tasks.start_soon(one, writer, target(number), expected)
                await publish(writer, accounts=12)
            snapshot = Snapshot.open(ID, Path(folder))
            assert verify(snapshot) == ()
            groups = [
                (key, [str(record.pool["PoolId"]) for record in records])
                for key, records in groupby(snapshot.pools(), key=lambda record: record.account_id)
            ]
            # Each target is one run of lines, its pools in the order of its pages.
            assert len(groups) == len(expected)
            assert dict(groups) == {of.account.id: ids for of, ids in expected.items()}

    anyio.run(run)


async def test_a_second_end_and_a_page_after_it_are_errors(tmp_path: Path) -> None:
    draft = MemoryDraft(tmp_path)
    of = target()
    async with SnapshotWriter(draft, partition="aws", operation=POOLS) as writer:
        writer.page(page(of, pool("wspool-1")))
        writer.done(result(of, pools=1), of)
        with pytest.raises(RuntimeError, match="done before"):
            writer.done(result(of, pools=1), of)
        with pytest.raises(RuntimeError, match="after the end"):
            writer.page(page(of, pool("wspool-2")))
        writer.page(page(target(1, "eu-west-1"), pool("wspool-1")))
        with pytest.raises(RuntimeError, match="not done"):
            await publish(writer)
        writer.done(result(target(1, "eu-west-1"), pools=1), target(1, "eu-west-1"))
        manifest = await publish(writer)
        with pytest.raises(RuntimeError, match="already"):
            await publish(writer)
        with pytest.raises(RuntimeError, match="after the end"):
            writer.page(page(target(5), pool("wspool-2")))
        with pytest.raises(RuntimeError, match="was done"):
            writer.done(result(target(5)), target(5))
    assert manifest.totals.pools == len(draft.lines()) == 2
    assert draft.ended == ["commit"]


@pytest.mark.parametrize(
    ("outcome", "said"), [(Outcome.OK, 2), (Outcome.OK, 0), (Outcome.EMPTY, 0), (Outcome.ERROR, 1)]
)
async def test_a_result_that_does_not_fit_its_pages_is_an_error(outcome: Outcome, said: int) -> None:
    of = target()
    async with SnapshotWriter(MemoryDraft(), partition="aws", operation=POOLS) as writer:
        writer.page(page(of, pool("wspool-1")))
        with pytest.raises(RuntimeError, match="pools"):
            writer.done(result(of, outcome, pools=said), of)
        with pytest.raises(RuntimeError, match="came for"):
            writer.done(result(of, pools=1), target(2))


async def test_a_pool_that_is_no_json_fails_its_target_only(tmp_path: Path) -> None:
    draft = MemoryDraft(tmp_path)
    async with SnapshotWriter(draft, partition="aws", operation=POOLS) as writer:
        of = target(1)
        writer.page(page(of, pool("wspool-1")))
        with pytest.raises(BadResponseError, match="can't be written"):
            writer.page(Page(of, 2, RECEIVED, ({"PoolId": object()},)))  # type: ignore[dict-item]
        writer.done(result(of, Outcome.BAD_RESPONSE), of)
        await fill(writer, {target(2): ["wspool-2"]})
        await publish(writer)
    assert [json.loads(line)["pool"]["PoolId"] for line in draft.lines()] == ["wspool-2"]


async def test_leaving_without_publishing_aborts_and_raises_what_was_raised() -> None:
    draft = MemoryDraft()
    with pytest.raises(KeyError):
        async with SnapshotWriter(draft, partition="aws", operation=POOLS) as writer:
            await fill(writer, SOME)
            raise KeyError
    assert draft.ended == ["abort"]
    assert not writer.published


async def test_callers_wait_for_a_slow_destination_and_what_waits_is_bounded() -> None:
    draft = MemoryDraft()
    draft.gate = anyio.Event()
    queue = 100_000
    taken = 0

    async def keep_writing(first: int) -> None:
        nonlocal taken
        for number in range(first, first + 100):
            of = target(number)
            await writer.room()
            writer.page(page(of, pool("wspool-1", 1000)))
            writer.done(result(of, pools=1), of)
            taken += 1

    async with SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=queue) as writer:
        async with anyio.create_task_group() as tasks:
            for first in range(0, 5000, 100):
                tasks.start_soon(keep_writing, first)
            await anyio.wait_all_tasks_blocked()
            # What has been taken in: the queue, and a chunk on its way. Fifty callers wait.
            assert queue / 1500 < taken < 2 * queue / 1000
            draft.gate.set()
        assert taken == 5000
        await publish(writer)
    assert len(draft.lines()) == 5000


async def test_what_is_full_takes_all_the_same() -> None:
    draft = MemoryDraft()
    draft.gate = anyio.Event()
    async with SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=5000) as writer:
        first, second = target(1), target(2)
        writer.page(page(second, pool("wspool-1")))
        writer.page(page(first, *(pool(f"wspool-{n}", 1000) for n in range(20))))
        writer.done(result(first, pools=20), first)
        assert writer.full()
        writer.page(page(second, pool("wspool-2"), number=2))
        writer.done(result(second, pools=2, pages=2), second)
        draft.gate.set()
        await writer.room()
        assert not writer.full()
        manifest = await publish(writer)
    assert manifest.outcomes == {Outcome.OK: 2}
    assert len(draft.lines()) == 22
    assert len(draft.lines("targets.ndjson")) == 2


async def test_a_destination_that_fails_ends_everyone_who_waits_and_all_later_calls() -> None:
    draft = MemoryDraft()
    draft.gate = anyio.Event()
    ended: list[str] = []

    async def write(number: int) -> None:
        of = target(number)
        try:
            while True:
                await writer.room()
                writer.page(page(of, pool("wspool-1", 3000)))
        except DestinationError as error:
            ended.append(str(error))

    with pytest.raises(DestinationError, match="the device is on fire"):
        async with SnapshotWriter(
            draft, partition="aws", operation=POOLS, queue_bytes=5000, memory_per_target=4000
        ) as writer:
            async with anyio.create_task_group() as tasks:
                for number in range(10):
                    tasks.start_soon(write, number)
                of = target(20)
                writer.page(page(of, pool("wspool-1", 6000)))
                writer.done(result(of, pools=1), of)
                await anyio.wait_all_tasks_blocked()
                draft.failure = "the device is on fire"
                draft.gate.set()
            assert ended == ["the device is on fire"] * 10
            later: tuple[Callable[[], None], ...] = (
                lambda: writer.page(page(target(1), pool("wspool-1"))),
                lambda: writer.add_records(target(1), b"{}\n"),
                lambda: writer.done(result(target(1), Outcome.ERROR), target(1)),
            )
            for call in later:
                with pytest.raises(DestinationError, match="on fire"):
                    call()
            for held in list(writer._open):
                del writer._open[held]
            await publish(writer)
    assert draft.ended == ["abort"]


async def test_a_mistake_while_writing_publishes_nothing() -> None:
    class Mistaken(MemoryDraft):
        mistakes = 1

        async def append(self, pieces: Iterable[Addition]) -> None:
            if self.mistakes:
                self.mistakes -= 1
                raise RuntimeError("a mistake")
            await super().append(pieces)

    draft = Mistaken()
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a mistake")):
        async with SnapshotWriter(draft, partition="aws", operation=POOLS) as writer:
            of = target(1)
            writer.page(page(of, pool("wspool-1", 100)))
            writer.done(result(of, pools=1), of)
            await publish(writer)
    assert draft.ended == ["abort"]


async def test_an_abort_that_hangs_is_left_after_its_time() -> None:
    class Hanging(MemoryDraft):
        async def abort(self) -> None:
            self.ended.append("abort begun")
            await anyio.sleep_forever()

    draft = Hanging()
    with anyio.fail_after(5), anyio.CancelScope() as scope:
        async with SnapshotWriter(draft, partition="aws", operation=POOLS, abort_seconds=0.05):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert draft.ended == ["abort begun"]


async def test_a_writer_that_is_cancelled_again_while_it_aborts_leaves_no_task() -> None:
    class Slow(MemoryDraft):
        async def abort(self) -> None:
            begun.set()
            await anyio.sleep_forever()

    async def write() -> None:
        # Which says so where a scope inside was not left.
        with anyio.CancelScope():
            async with SnapshotWriter(Slow(), partition="aws", operation=POOLS):
                raise KeyError

    begun = anyio.Event()
    before = asyncio.all_tasks()
    task = asyncio.create_task(write())
    with anyio.fail_after(5):
        await begun.wait()
        # By asyncio itself, which no shield of anyio's withstands.
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert asyncio.all_tasks() == before


async def test_an_abort_wakes_those_who_wait() -> None:
    draft = MemoryDraft()
    draft.gate = anyio.Event()
    async with (
        SnapshotWriter(draft, partition="aws", operation=POOLS, queue_bytes=5000) as writer,
        anyio.create_task_group() as tasks,
    ):
        of = target(1)
        writer.page(page(of, pool("wspool-1", 10_000)))
        writer.done(result(of, pools=1), of)

        async def wait() -> None:
            await writer.room()
            with pytest.raises(RuntimeError, match="after the end"):
                writer.page(page(target(2), pool("wspool-2")))

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        await writer.abort()
    assert draft.ended[0] == "abort"


async def test_a_draft_whose_files_cannot_be_made_is_aborted() -> None:
    class Full(MemoryDraft):
        async def create(self, name: str) -> DraftFile:
            if name.startswith("targets"):
                raise DestinationError("full")
            return await super().create(name)

    draft = Full()
    with pytest.raises(DestinationError, match="full"):
        async with SnapshotWriter(draft, partition="aws", operation=POOLS):
            pytest.fail("entered")
    assert draft.ended == ["abort"]


async def test_many_large_open_targets_need_little_memory_and_few_descriptors(tmp_path: Path) -> None:
    # 100 targets of 40 pages, 17 KB a page: 68 MB, all of them open until the end.
    targets = [target(number) for number in range(100)]
    pools = tuple(pool(f"wspool-{n:09}", 600) for n in range(25))
    before = len(descriptors())
    tracemalloc.start()
    try:
        async with (
            FolderStore(tmp_path) as store,
            SnapshotWriter(
                await store.draft(ID),
                partition="aws",
                operation=POOLS,
                memory_per_target=1 << 14,
            ) as writer,
        ):
            for number in range(40):
                for of in targets:
                    await writer.room()
                    writer.page(page(of, *pools, number=number))
            # The lock, two data files, the spill file.
            assert len(descriptors()) == before + 4
            for of in targets:
                await writer.room()
                writer.done(result(of, pools=1000, pages=40), of)
            await publish(writer)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert Snapshot.open(ID, tmp_path).manifest.files[0].bytes > 60_000_000
    # 1.6 MB in open targets, 4 MB in the queue, as much again on its way to the disk.
    assert peak < 16_000_000


async def test_the_spill_file_is_used_again(tmp_path: Path) -> None:
    draft = MemoryDraft(tmp_path)
    async with SnapshotWriter(
        draft, partition="aws", operation=POOLS, memory_per_target=1000, queue_bytes=20_000
    ) as writer:
        for number in range(300):
            of = target(number)
            for at in range(10):
                await writer.room()
                writer.page(page(of, pool(f"wspool-{at}", 1000), number=at))
            outcome = Outcome.OK if number % 2 else Outcome.ERROR
            writer.done(result(of, outcome, pools=10 if outcome is Outcome.OK else 0, pages=10), of)
        await publish(writer)
        assert writer._spill.blocks < 80
    assert len(draft.lines()) == 1500


async def test_the_same_pages_give_the_same_bytes(tmp_path: Path) -> None:
    for compression in Compression:
        digests = {
            (await make(tmp_path / f"{compression}{n}", compression=compression)).manifest.files
            for n in range(2)
        }
        assert len(digests) == 1


async def test_the_files_are_called_after_their_compression(tmp_path: Path) -> None:
    snapshot = await make(tmp_path, compression=Compression.ZSTD)
    assert sorted(entry.name for entry in folder_of(snapshot).iterdir()) == [
        "manifest.json",
        "pools.ndjson.zst",
        "targets.ndjson.zst",
    ]


@pytest.mark.parametrize("missing", [1, -1])
async def test_a_ledger_without_a_line_for_each_planned_target_is_not_published(
    tmp_path: Path, missing: int
) -> None:
    async with (
        FolderStore(tmp_path) as store,
        SnapshotWriter(await store.draft(ID), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, SOME)
        with pytest.raises(RuntimeError, match="were planned"):
            await publish(writer, planned=len(SOME) + missing)
        assert not writer.published
    assert not (tmp_path / ID).exists()


async def test_publish_returns_the_manifest_that_lies_there(tmp_path: Path) -> None:
    async with (
        FolderStore(tmp_path) as store,
        SnapshotWriter(await store.draft(ID), partition="aws", operation=POOLS) as writer,
    ):
        await fill(writer, SOME)
        manifest = await publish(writer)
        assert writer.published
    assert Snapshot.open(ID, tmp_path).manifest == manifest
    assert replace(manifest, shard=None) == manifest


async def test_the_library_of_a_compression_is_loaded_beside_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_in: list[threading.Thread] = []

    def noted(compression: Compression) -> Compressor:
        loaded_in.append(threading.current_thread())
        return compressor(compression)

    monkeypatch.setattr(write_queue, "compressor", noted)
    await make(tmp_path, compression=Compression.ZSTD)
    assert loaded_in
    assert threading.current_thread() not in loaded_in
