"""Sessions that end early, an STS that stumbles, clocks that are wrong."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from poolcensus.analysis.causes import remedy_of
from poolcensus.census import Census
from poolcensus.flow import retry
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.results.failure_tally import FailureTally
from poolcensus.simulator.faults import Fault, FaultKind, Injector
from poolcensus.simulator.latency import Latency

if TYPE_CHECKING:
    from faults.conftest import Start
    from poolcensus.simulator.call import Call

# None of them is opt-in: region status is not asked, and every call of STS is AssumeRole or the first.
REGIONS = ("us-east-1", "eu-west-1", "eu-central-1")


async def test_credentials_that_expire_in_mid_run_are_renewed_once_for_all_who_wait(lab: Start) -> None:
    here = await lab(
        accounts=9,
        pools_per_target=30,
        regions=REGIONS,
        latency=Latency.parse("150"),
        faults=("expired,first=3,per=account",),
    )
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 27}
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    # All three regions of an account had a call under way: one new session for the three.
    assert here.calls("sts.AssumeRole") == 8 * 2 == snapshot.manifest.totals.assume_role_calls


async def test_half_of_the_calls_expire(lab: Start) -> None:
    here = await lab(accounts=6, pools_per_target=60, regions=REGIONS, faults=("expired,every=2",))
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 18}
    expired = sum(each.attempts - each.pages for each in snapshot.targets())
    assert expired > 0
    assert here.calls("sts.AssumeRole") <= 5 + expired


async def test_credentials_that_always_expire_end_as_expired(lab: Start) -> None:
    here = await lab(
        accounts=3, pools_per_target=1, regions=("us-east-1",), faults=("expired,account=000000000002",)
    )
    snapshot = await here.collect(max_attempts=3)
    outcomes = {each.account_id: each.outcome for each in snapshot.targets()}
    assert outcomes == {
        "000000000001": Outcome.OK,
        "000000000002": Outcome.EXPIRED,
        "000000000003": Outcome.OK,
    }
    assert here.calls("sts.AssumeRole") <= 2 + 3


async def test_sessions_shorter_than_the_run_and_the_queue_make_progress(lab: Start) -> None:
    here = await lab(
        accounts=7,
        pools_per_target=30,
        page_size=1,
        regions=REGIONS[:2],
        session_seconds=3,
        latency=Latency.parse("30"),
    )
    snapshot = await here.collect(concurrency=4)
    assert here.assert_exact(snapshot) == {Outcome.OK: 14}
    assert snapshot.manifest.totals.assume_role_calls < snapshot.manifest.totals.pages / 8
    assert snapshot.manifest.totals.retries <= snapshot.manifest.totals.pages / 20


@pytest.mark.parametrize("fault", ["5xx", "throttle", "reset", "html"])
async def test_an_sts_that_fails_at_first_is_asked_once_for_all_who_wait(lab: Start, fault: str) -> None:
    here = await lab(
        accounts=5,
        pools_per_target=1,
        regions=REGIONS,
        faults=(f"{fault},service=sts,operation=AssumeRole,first=4,per=all",),
    )
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 15}
    assert here.calls("sts.AssumeRole") == 4 + 4
    # The first may find the connection reset that the caller's identity came over: that is no call.
    assert 8 - (fault == "reset") <= snapshot.manifest.totals.assume_role_calls <= 8


async def test_an_sts_that_stays_down_costs_its_attempts_once_an_account(lab: Start) -> None:
    here = await lab(
        accounts=5, pools_per_target=1, regions=REGIONS, faults=("5xx,service=sts,operation=AssumeRole",)
    )
    snapshot = await here.collect(max_attempts=2)
    assert snapshot.manifest.outcomes == {Outcome.ASSUME_ROLE_FAILED: 12, Outcome.OK: 3}
    assert here.calls("sts.AssumeRole") == 4 * 2


class Outage:
    """An STS that answers the first sessions and then fails, for so many calls or so many seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, calls: int = 0, seconds: float = 0.0) -> None:
        self.failed = 0
        self._calls = calls
        self._seconds = seconds
        self._answered = 0
        self._began: float | None = None
        monkeypatch.setattr(Injector, "choose", lambda _, call, page: self._choose(call))

    def _choose(self, call: Call) -> Fault | None:
        if call.operation != "AssumeRole":
            return None
        self._answered += 1
        if self._answered <= 6:
            return None
        now = time.monotonic()
        if self._began is None:
            self._began = now
        if self.failed >= self._calls and now - self._began >= self._seconds:
            return None
        self.failed += 1
        return Fault(FaultKind.SERVER_ERROR)


async def _collect_through(outage: Outage, lab: Start) -> None:
    here = await lab(
        accounts=7,
        pools_per_target=40,
        page_size=1,
        regions=REGIONS[:2],
        session_seconds=3,
        latency=Latency.parse("30"),
        faults=("html:0",),
    )
    snapshot = await here.collect(concurrency=4)
    assert here.assert_exact(snapshot) == {Outcome.OK: 14}
    totals = snapshot.manifest.totals
    # Every renewal is one for all who wait for it, and a failed one is followed by a pause.
    assert outage.failed >= 5
    assert here.calls("sts.AssumeRole") == totals.assume_role_calls < 6 + outage.failed + totals.pages / 8
    assert outage.failed < 60


async def test_an_sts_that_is_down_while_sessions_end_loses_nothing(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _collect_through(Outage(monkeypatch, calls=5), lab)


@pytest.mark.long
async def test_an_sts_that_is_down_for_five_seconds_loses_nothing(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _collect_through(Outage(monkeypatch, seconds=5.0), lab)


@pytest.mark.parametrize("offset", [180.0, -180.0])
async def test_a_clock_within_the_window_needs_nothing(lab: Start, offset: float) -> None:
    here = await lab(accounts=3, pools_per_target=30, regions=REGIONS, clock_offset=offset)
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 9}
    assert snapshot.manifest.totals.retries == 0


@pytest.mark.parametrize(("offset", "how"), [(1200.0, "behind"), (-1200.0, "ahead of")])
async def test_a_wrong_clock_is_corrected_by_the_first_reply_and_told_of(
    lab: Start, caplog: pytest.LogCaptureFixture, offset: float, how: str
) -> None:
    here = await lab(accounts=3, pools_per_target=30, regions=REGIONS, clock_offset=offset)
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 9}
    assert snapshot.manifest.totals.retries == 1
    assert here.calls("sts.GetCallerIdentity") == 2
    (said,) = [each for each in caplog.messages if "clock" in each]
    assert re.fullmatch(rf"this machine's clock is 1(19|20)\d s {how} AWS's: calls are signed .*", said)


async def test_a_caller_whose_own_credentials_are_a_session_renews_nothing_it_cannot(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=2, pools_per_target=1, regions=REGIONS, faults=("expired,service=sts",))
    async with Census(here.settings(max_attempts=3)) as census:
        with pytest.raises(Exception, match="does not accept the caller's credentials|expired"):
            await census.collect()
    assert here.calls("sts.GetCallerIdentity") <= 4


@pytest.mark.parametrize(
    ("kind", "outcome", "advice"),
    [
        (FaultKind.UNRECOGNIZED, Outcome.ASSUME_ROLE_FAILED, "STS no longer accepts the credentials"),
        (FaultKind.EXPIRED, Outcome.EXPIRED, "Run it again with new credentials"),
    ],
)
async def test_a_caller_who_is_revoked_in_mid_run_costs_every_account_little_more_than_one_call(
    lab: Start, monkeypatch: pytest.MonkeyPatch, kind: FaultKind, outcome: Outcome, advice: str
) -> None:
    monkeypatch.setattr(retry, "KNOWN_EVERYWHERE_SECONDS", 0.0)
    assumed: list[Call] = []

    def choose(_: Injector, call: Call, page: object) -> Fault | None:
        if call.operation != "AssumeRole":
            return None
        assumed.append(call)
        return Fault(kind) if len(assumed) > 10 else None

    monkeypatch.setattr(Injector, "choose", choose)
    here = await lab(accounts=91, pools_per_target=1, regions=REGIONS[:1], faults=("html:0",))
    snapshot = await here.collect(concurrency=2)
    assert snapshot.manifest.outcomes == {Outcome.OK: 11, outcome: 80}
    # Those that were being assumed when it happened are tried as often as ever.
    assert 90 <= len(assumed) == snapshot.manifest.totals.assume_role_calls <= 1.5 * 90
    (group,) = FailureTally(
        WORKSPACES_POOLS, [each for each in snapshot.targets() if each.pools == 0]
    ).groups()
    assert remedy_of(group).startswith(advice)
