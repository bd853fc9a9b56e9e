"""Shards share what AWS allows the caller's account: each takes its part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.aws import session
from poolcensus.aws.region_status import management
from poolcensus.census import Census
from poolcensus.flow.concurrency import CallKey
from poolcensus.flow.rate import RateLimits, SteadyPace
from poolcensus.model import Account, Shard
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.given import GivenAccounts
from poolcensus.scope.joining import open_all, prepare_all
from poolcensus.simulator.latency import Latency
from poolcensus.simulator.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.flow.concurrency import ConcurrencyLimiter

    Start = Callable[..., Coroutine[None, None, Lab]]

CALLER, MEMBER = "000000000001", "000000000002"
FOUR = GivenAccounts((Account(MEMBER, None),), None, 4)


async def places(limiter: ConcurrencyLimiter, account_id: str) -> int:
    """Return how many calls of an account may be in flight, and take their places."""
    taken = 0
    while True:
        with anyio.move_on_after(0) as scope:
            await limiter.acquire(CallKey(account_id, "us-east-1", "sts"))
        if scope.cancelled_caught:
            return taken
        taken += 1


@pytest.mark.parametrize(
    ("shard", "given", "own"),
    [(None, None, 8), (Shard(1, 4), None, 2), (None, FOUR, 2), (Shard(1, 100), None, 1)],
)
async def test_the_callers_account_has_its_part_of_the_places(
    lab: Start, shard: Shard | None, given: GivenAccounts | None, own: int
) -> None:
    settings = (await lab(accounts=2)).settings(shard=shard, per_account=8)
    async with (
        prepare_all(settings, None) as joined,
        open_all(WORKSPACES_POOLS, joined, given) as (opened,),
    ):
        assert opened.aws.caller.account_id == CALLER
        limiter = opened.aws.client.limiter
        assert (await places(limiter, CALLER), await places(limiter, MEMBER)) == (own, 8)


@pytest.mark.parametrize(("shard", "throttled"), [(None, True), (Shard(1, 4), False)])
async def test_a_fourth_reads_a_fourth_of_the_tags_at_once(
    lab: Start, shard: Shard | None, throttled: bool
) -> None:
    here = await lab(
        accounts=60,
        regions=("us-east-1",),
        limits=Limits(organizations_concurrency=2),
        latency=Latency.parse("5"),
    )
    async with Census(here.settings(include_account_tags=True, shard=shard)) as census:
        found = {each.account.id async for each in census.targets()}
    assert (here.calls("organizations.ListTagsForResource") > len(found)) is throttled


@pytest.mark.parametrize(("shard", "concurrent_runs"), [(None, 1), (Shard(1, 4), 4)])
async def test_rates_of_the_callers_account_are_divided(
    lab: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: Shard | None, concurrent_runs: int
) -> None:
    rates: list[float] = []
    shared: list[int] = []

    class Paces(SteadyPace):
        def __init__(self, calls_a_second: float) -> None:
            super().__init__(calls_a_second)
            rates.append(calls_a_second)

    class Rates(RateLimits):
        def __init__(self, concurrent_runs: int) -> None:
            super().__init__(concurrent_runs)
            shared.append(concurrent_runs)

    # The documented rate would take seconds, and the cache is not this machine's.
    monkeypatch.setattr(management, "LIST_REGIONS_A_SECOND", 1000.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(management, "SteadyPace", Paces)
    monkeypatch.setattr(session, "RateLimits", Rates)
    here = await lab(accounts=9)
    snapshot = await here.collect(region_status="management", shard=shard)
    assert not snapshot.manifest.failed
    assert rates == [1000.0 / concurrent_runs]
    assert shared == [concurrent_runs]
