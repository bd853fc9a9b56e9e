"""Calling a function for many items, with some of the calls in progress."""

from __future__ import annotations

import anyio
import pytest

from poolcensus.loops import for_each


class Calls:
    """Calls that end when they are let go, and a count of those in progress."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.in_progress = 0
        self.most = 0
        self.let_go = anyio.Event()

    async def __call__(self, item: int) -> None:
        self.begun.append(item)
        self.in_progress += 1
        self.most = max(self.most, self.in_progress)
        try:
            await self.let_go.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(item)
            raise
        finally:
            self.in_progress -= 1


async def test_each_item_has_a_call_and_no_more_than_so_many_are_in_progress() -> None:
    calls = Calls()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: for_each(calls, range(10), at_once=3))
        await anyio.wait_all_tasks_blocked()
        assert calls.begun == [0, 1, 2]
        calls.let_go.set()
    assert calls.begun == list(range(10))
    assert calls.most == 3


async def test_the_first_error_cancels_the_other_calls_and_begins_no_more() -> None:
    calls = Calls()

    async def call(item: int) -> None:
        if item == 2:
            raise LookupError("no such thing")
        await calls(item)

    with pytest.raises(LookupError, match="no such thing"):
        await for_each(call, range(10), at_once=3)
    assert sorted(calls.begun) == sorted(calls.cancelled) == [0, 1]


async def test_who_is_cancelled_cancels_the_calls() -> None:
    calls = Calls()
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: for_each(calls, range(10), at_once=3))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert calls.begun == sorted(calls.cancelled) == [0, 1, 2]


async def test_nothing_is_called_for_no_item() -> None:
    await for_each(Calls(), (), at_once=3)
