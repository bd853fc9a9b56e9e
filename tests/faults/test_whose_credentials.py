"""Many accounts over the same connections, and runs left at any moment: each call is its own account's."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.census import Census
from poolcensus.simulator.latency import Latency

if TYPE_CHECKING:
    from census_lab import Lab
    from faults.conftest import Start
    from poolcensus.model import PoolRecord

REGIONS = ("us-east-1", "eu-west-1")


def _check(record: PoolRecord) -> None:
    # The simulator answers whoever the signature names, and an ARN says whose the pool is.
    arn = str(record.pool["PoolArn"])
    assert f":{record.region}:{record.account_id}:" in arn, (arn, record.account_id)


async def _leave_and_cancel(here: Lab, census: Census, seed: int, times: int) -> None:
    """Runs that are left by their reader, and runs that are cancelled, at any number of records."""
    chance = random.Random(seed)
    for number in range(times):
        wanted = chance.randint(1, 120)
        seen = 0
        with anyio.CancelScope() as scope:
            async for record in census.pools():
                _check(record)
                seen += 1
                if seen >= wanted and number % 2:
                    break
                if seen >= wanted:
                    scope.cancel()


async def _whose(here: Lab, times: int, **settings: object) -> None:
    async with Census(here.settings(**settings)) as census, anyio.create_task_group() as group:
        group.start_soon(_leave_and_cancel, here, census, 1, times)
        group.start_soon(_leave_and_cancel, here, census, 2, times)
    snapshot = await here.collect(**settings)
    here.assert_exact(snapshot)
    for record in snapshot.pools():
        _check(record)


@pytest.mark.usefixtures("transport")
async def test_calls_are_signed_for_their_own_account_whatever_is_cancelled(lab: Start) -> None:
    here = await lab(
        accounts=40,
        pools_per_target=2,
        regions=REGIONS,
        latency=Latency.parse("exponential:3"),
        faults=("expired:0.1",),
    )
    await _whose(here, 3, concurrency=32)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("transport")
async def test_five_thousand_accounts_are_never_mixed_up(lab: Start) -> None:
    here = await lab(
        accounts=5000,
        pools_per_target=2,
        regions=REGIONS,
        latency=Latency.parse("exponential:3"),
        faults=("expired:0.02", "reset:0.01"),
    )
    await _whose(here, 40, concurrency=256)
