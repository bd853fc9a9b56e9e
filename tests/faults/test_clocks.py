"""A clock of this machine that jumps while a run is going on."""

from __future__ import annotations

import platform
import re
import time
from typing import TYPE_CHECKING

import pytest

from poolcensus.aws import signing
from poolcensus.model import Outcome
from poolcensus.simulator.latency import Latency

if TYPE_CHECKING:
    from faults.conftest import Start
    from poolcensus.flow.breaker import Endpoint

REGIONS = ("us-east-1", "eu-west-1")


def jump_later(monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    """Have this machine's clock jump after thirty requests."""
    real, stamp = time.time, signing.Clock.stamp
    asked = 0

    def jumping(clock: signing.Clock, endpoint: Endpoint) -> str:
        nonlocal asked
        asked += 1
        clock._now = lambda: real() + (jump if asked > 30 else 0.0)
        return stamp(clock, endpoint)

    monkeypatch.setattr(signing.Clock, "stamp", jumping)


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize("jump", [-1200.0, -86_400.0, 1200.0])
async def test_a_clock_that_jumps_in_mid_run_costs_the_calls_under_way_one_retry(
    lab: Start, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    here = await lab(accounts=12, pools_per_target=30, regions=REGIONS, latency=Latency.parse("5"))
    jump_later(monkeypatch, jump)
    snapshot = await here.collect(concurrency=8)
    assert here.assert_exact(snapshot) == {Outcome.OK: 24}
    assert 1 <= snapshot.manifest.totals.retries <= 8
    assert here.calls("sts.AssumeRole") <= 11 + 8


async def test_a_clock_that_is_put_right_in_mid_run_is_told_of_as_such(
    lab: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(
        accounts=12, pools_per_target=30, regions=REGIONS, latency=Latency.parse("5"), clock_offset=1200.0
    )
    jump_later(monkeypatch, 1200.0)
    snapshot = await here.collect(concurrency=8)
    assert here.assert_exact(snapshot) == {Outcome.OK: 24}
    wrong, right = (each for each in caplog.messages if "clock" in each)
    assert re.match(r"this machine's clock is 1(199|200) s behind AWS's", wrong)
    assert right == "this machine's clock agrees with AWS's: calls are signed with its time again"
    # As others of the run on this machine say it.
    once = [each.__dict__["once"] for each in caplog.records if "clock" in each.message]
    assert once == [f"clock of {platform.node()} off", f"clock of {platform.node()} right"]
