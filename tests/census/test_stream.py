"""The library's streams: backpressure, leaving early, errors."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import anyio
import pytest

import poolcensus
from poolcensus.errors import CredentialsError, IncompleteError
from poolcensus.model import Outcome, Page

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from census_lab import Lab
    from poolcensus.model import Target

    Start = Callable[..., Coroutine[None, None, Lab]]


async def test_pools_are_those_of_the_simulator(lab: Start) -> None:
    here = await lab(accounts=6, mean_pools=5)
    async with poolcensus.Census(here.settings()) as census:
        found = sorted([str(record.pool["PoolId"]) async for record in census.pools()])
    assert found == sorted(
        str(pool["PoolId"]) for each in here.simulator.world.truth() for pool in each.pools
    )


async def test_each_target_has_its_line_after_its_pages_in_the_stream_of_events(lab: Start) -> None:
    here = await lab(
        accounts=6,
        pools_per_target=60,
        regions=("us-east-1", "eu-west-1"),
        faults=("html,account=000000000003,region=eu-west-1,page=2",),
    )
    read: dict[Target, list[Page]] = {}
    kept: dict[Target, int] = {}
    async with poolcensus.Census(here.settings(max_attempts=2)) as census:
        async for event in census.events():
            if isinstance(event, Page):
                read.setdefault(event.target, []).append(event)
                continue
            target = next(
                each for each in read if (each.account.id, each.region) == (event.account_id, event.region)
            )
            pages = read.pop(target)
            assert [page.number for page in pages] == list(range(1, event.pages + 1))
            if event.outcome is Outcome.OK:
                kept[target] = sum(len(page.pools) for page in pages)
        assert [each.outcome for each in census.failures] == [Outcome.BAD_RESPONSE]
    # No page comes after its target's line, and no target is without one.
    assert not read
    assert kept == {
        target: 60 for target in kept if (target.account.id, target.region) != ("000000000003", "eu-west-1")
    }
    assert len(kept) == 11


async def test_a_run_that_fails_at_once_shows_nothing_of_the_run_before(lab: Start) -> None:
    here = await lab(accounts=3, faults=("denied",))
    async with poolcensus.Census(here.settings()) as census:
        await census.collect()
        assert census.failures
        census.settings = here.settings(profile="nobody")
        with pytest.raises(poolcensus.SettingsError):
            await census.collect()
        assert (census.failures, census.uncovered, census.outcomes) == ((), (), {})
        assert census.progress().totals == poolcensus.Totals()
        assert census.published is None


async def test_targets_are_accounts_times_regions_and_call_no_member(lab: Start) -> None:
    here = await lab(accounts=45)
    async with poolcensus.Census(here.settings()) as census:
        targets = [target async for target in census.targets()]
    assert len(set(targets)) == 45 * 3
    assert here.calls("sts.AssumeRole") == here.calls("workspaces.DescribeWorkspacesPools") == 0


async def test_a_slow_reader_slows_the_calls(lab: Start) -> None:
    here = await lab(accounts=40, pools_per_target=50, page_size=1)
    async with poolcensus.Census(here.settings(concurrency=4)) as census:
        pages = census.pages()
        await anext(pages)
        await _until_quiet(here)
        # What is read ahead is bounded by the buffer and the open targets, not by the 6,000 pages there are.
        assert here.calls("workspaces.DescribeWorkspacesPools") < 100
        await pages.aclose()


async def test_leaving_a_loop_early_ends_the_run(lab: Start) -> None:
    here = await lab(accounts=40, pools_per_target=50, page_size=1)
    async with poolcensus.Census(here.settings()) as census:
        async for _ in census.pools():
            break
        await _until_quiet(here)
        stats = here.simulator.stats.snapshot()
        assert stats["connections_open"] == 0
    assert here.calls("workspaces.DescribeWorkspacesPools") < 1500


async def test_leaving_the_census_ends_the_run(lab: Start) -> None:
    here = await lab(accounts=10, pools_per_target=5, page_size=1)
    async with poolcensus.Census(here.settings()) as census:
        pages = census.pages()
        await anext(pages)
    await _until_quiet(here)
    assert here.simulator.stats.snapshot()["connections_open"] == 0


async def test_several_runs_in_one_census(lab: Start) -> None:
    here = await lab(accounts=3, pools_per_target=2)
    async with poolcensus.Census(here.settings()) as census:
        for _ in range(3):
            assert len([record async for record in census.pools()]) == 18


async def test_what_was_not_covered_is_told(lab: Start, caplog: pytest.LogCaptureFixture) -> None:
    here = await lab(accounts=11, no_role=0.2)
    async with poolcensus.Census(here.settings()) as census:
        async for _ in census.pools():
            pass
        assert len(census.uncovered) == 6
        assert census.outcomes[poolcensus.Outcome.ASSUME_ROLE_FAILED] == 6
    assert "6 of 33 targets were not covered" in caplog.text
    async with poolcensus.Census(here.settings(strict=True)) as census:
        with pytest.raises(IncompleteError):
            async for _ in census.pools():
                pass


async def test_an_error_of_the_run_reaches_the_reader(lab: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=1)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    async with poolcensus.Census(here.settings()) as census:
        with pytest.raises(CredentialsError):
            await anext(census.pools())


async def test_a_stream_needs_an_open_census(lab: Start) -> None:
    here = await lab(accounts=1)
    with pytest.raises(RuntimeError, match="async with"):
        poolcensus.Census(here.settings()).pools()


async def test_an_async_generator_around_a_census_may_be_broken_off(lab: Start) -> None:
    here = await lab(accounts=3, empty=0.0)

    async def records() -> AsyncGenerator[poolcensus.PoolRecord]:
        async with poolcensus.Census(here.settings()) as census:
            async for record in census.pools():
                yield record

    # The event loop closes it in a task of its own, once it is collected.
    async for _ in records():
        break
    gc.collect()
    await _until_quiet(here)


async def test_a_census_is_entered_once_at_a_time(lab: Start) -> None:
    here = await lab(accounts=1)
    census = poolcensus.Census(here.settings())
    for _ in range(2):
        async with census:
            with pytest.raises(RuntimeError, match="has been entered"):
                async with census:
                    pass
            assert [each async for each in census.targets()]


async def _until_quiet(here: Lab) -> None:
    """Waits until the simulator has seen no call for twenty turns of the loop that wait for sockets."""
    quiet, seen = 0, -1
    while quiet < 20:
        now = here.calls("workspaces.DescribeWorkspacesPools")
        quiet = quiet + 1 if now == seen else 0
        seen = now
        await anyio.sleep(0.005)
