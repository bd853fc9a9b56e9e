"""The adaptive concurrency limit."""

from __future__ import annotations

import anyio

from poolcensus.flow.adaptive import AdaptiveLimit


async def test_as_many_are_in_flight_as_the_service_allows_and_no_more() -> None:
    limit = AdaptiveLimit(8)
    in_flight = most = 0
    finish = anyio.Event()

    async def call() -> None:
        nonlocal in_flight, most
        async with limit.place():
            in_flight += 1
            most = max(most, in_flight)
            await finish.wait()
            in_flight -= 1

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        assert in_flight == 8
        finish.set()
    assert most == 8


def test_throttling_halves_it_and_rounds_of_calls_bring_it_back() -> None:
    limit = AdaptiveLimit(8)
    sizes = [limit.size]
    for _ in range(5):
        limit.ended(throttled=True)
        sizes.append(limit.size)
    assert sizes == [8, 4, 2, 1, 1, 1]
    calls = 0
    while limit.size < 8:
        limit.ended(throttled=False)
        calls += 1
    # The limit grows by one with each round of as many calls as there are places.
    assert 20 < calls < 40
    limit.ended(throttled=False)
    assert limit.size == 8
