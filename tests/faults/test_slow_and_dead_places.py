"""A slow, throttled or dead account, call or region costs itself time, and the others nothing."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from poolcensus.aws.sdk.access import Sdk
from poolcensus.census import Census
from poolcensus.flow.rate import RateLimits
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.simulator.latency import Clockwork, Latency
from poolcensus.simulator.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from census_lab import Lab
    from faults.conftest import Bench, ExactBut, Run, Serve, Start
    from poolcensus.aws.signing import RequestTemplate
    from poolcensus.model import Target
    from poolcensus.snapshot import Snapshot

REGIONS = ("us-east-1", "eu-west-1")
SLOW = "000000000002"
# Three rules, one after the other: together they hit three calls in ten.
THREE_IN_TEN = ("throttle:0.1", "throttle429:0.111", "throttle503:0.125")


@pytest.fixture
def one_slow_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes one account, and no other, as much slower as the latency says."""
    monkeypatch.setattr(Clockwork, "_slow", lambda _, account: account == SLOW)


def _ends(snapshot: Snapshot) -> list[str]:
    """The accounts of the targets in the order in which they ended."""
    return [each.account_id for each in snapshot.targets()]


async def test_three_throttles_in_ten_lose_nothing_and_cost_few_calls(lab: Start) -> None:
    here = await lab(accounts=40, pools_per_target=3, regions=REGIONS, faults=THREE_IN_TEN)
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 80}
    calls = here.calls("workspaces.DescribeWorkspacesPools")
    assert 1.2 * 80 < calls <= 1.6 * 80
    faults = here.simulator.stats.snapshot()["faults"]
    assert isinstance(faults, dict)
    assert set(faults) == {"throttle", "throttle429", "throttle503"}


async def test_a_slow_account_is_waited_for_by_itself_alone(lab: Start, one_slow_account: None) -> None:
    here = await lab(
        accounts=20,
        pools_per_target=3,
        regions=REGIONS,
        latency=Latency.parse("20", slow_fraction=1, slow_factor=30),
    )
    snapshot = await here.collect(concurrency=4)
    assert here.assert_exact(snapshot) == {Outcome.OK: 40}
    ends = _ends(snapshot)
    # It is among the first that are asked. One after the other, its calls take as long as all the rest.
    assert ends.index(SLOW) > 8
    assert here.calls("workspaces.DescribeWorkspacesPools") == 40


async def _seconds(here: Lab, wanted: Callable[[Target], bool], **settings: object) -> float:
    """When the last page of those targets had come, in seconds of the run."""
    loop = asyncio.get_running_loop()
    started, last = loop.time(), 0.0
    async with Census(here.settings(**settings)) as census:
        async for page in census.pages():
            if wanted(page.target):
                last = loop.time() - started
    return last


@pytest.mark.long
async def test_others_are_as_quick_beside_an_account_that_is_slow_and_throttled(
    lab: Start, one_slow_account: None
) -> None:
    seconds = []
    for factor in (1, 10, 1, 10, 1, 10):
        here = await lab(
            accounts=200,
            pools_per_target=30,
            regions=REGIONS,
            latency=Latency.parse("100", slow_fraction=1, slow_factor=factor),
            faults=[f"{each},account={SLOW}" for each in THREE_IN_TEN],
        )
        seconds.append(await _seconds(here, lambda target: target.account.id != SLOW, concurrency=16))
    assert min(seconds[1::2]) < 1.1 * min(seconds[::2])


@pytest.mark.parametrize("fault", ["drip,seconds=10", "hang"])
async def test_a_call_that_never_ends_holds_up_no_other_region(
    lab: Start, exact_but: ExactBut, fault: str
) -> None:
    here = await lab(
        accounts=30, pools_per_target=3, regions=REGIONS, faults=(f"{fault},account={SLOW},region=eu-west-1",)
    )
    snapshot = await here.collect(concurrency=4, attempt_timeout=0.7, max_attempts=2)
    exact_but(here, snapshot, [(SLOW, "eu-west-1")])
    assert snapshot.manifest.outcomes == {Outcome.OK: 59, Outcome.TIMED_OUT: 1}
    # Everything else has long ended when that one call meets its limit.
    assert _ends(snapshot)[-1] == SLOW


async def test_regions_that_swallow_calls_take_a_quarter_of_the_time_of_a_single_place(lab: Start) -> None:
    accounts, alive, dead = 20, ("us-east-1", "eu-west-1", "us-west-2"), ("ap-south-1", "sa-east-1")
    here = await lab(
        accounts=accounts,
        pools_per_target=1,
        regions=(*alive, *dead),
        faults=[f"hang,service=workspaces,region={each}" for each in dead],
        latency=Latency.parse("20"),
    )
    loop = asyncio.get_running_loop()
    timeout, started, left = 0.4, loop.time(), accounts * len(alive)
    async with Census(here.settings(concurrency=1, attempt_timeout=timeout)) as census:
        async for page in census.pages():
            assert page.target.region not in dead
            left -= 1
            if not left:
                break
        seconds = loop.time() - started
        faults = here.simulator.stats.snapshot()["faults"]
    assert isinstance(faults, dict)
    hangs = faults["hang"]
    assert isinstance(hangs, int)
    # Before it is known that a region does not answer, three accounts have called it.
    probes = hangs - 3 * len(dead)
    assert (probes - 1) * timeout < seconds / 4


async def test_roles_that_are_asked_for_again_hold_up_no_other_account(
    lab: Start, exact_but: ExactBut
) -> None:
    bad = [f"{number:012d}" for number in range(2, 12)]
    here = await lab(
        accounts=40,
        pools_per_target=1,
        regions=REGIONS,
        faults=[f"5xx,service=sts,operation=AssumeRole,role_account={each}" for each in bad],
    )
    # So many places let four accounts be prepared at a time.
    snapshot = await here.collect(concurrency=2, max_attempts=4)
    exact_but(here, snapshot, [(account, region) for account in bad for region in REGIONS])
    assert {*_ends(snapshot)[: 30 * 2]}.isdisjoint(bad)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("calls", ["drip:0.01", "drip"])
async def test_calls_that_drip_cost_other_regions_at_most_a_twentieth(lab: Start, calls: str) -> None:
    regions = ("us-east-1", "eu-west-1", "eu-central-1", "us-west-2", "ap-south-1")
    seconds = []
    for faults in ((), (f"{calls},seconds=10,region=ap-south-1",)) * 3:
        here = await lab(
            accounts=300, pools_per_target=3, regions=regions, faults=faults, latency=Latency.parse("100")
        )
        seconds.append(
            await _seconds(
                here,
                lambda target: target.region != "ap-south-1",
                concurrency=64,
                attempt_timeout=2.0,
                max_attempts=2,
            )
        )
    assert min(seconds[1::2]) < 1.05 * min(seconds[::2])


@asynccontextmanager
async def _swallower() -> AsyncIterator[str]:
    """A server that accepts connections and never answers."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()

    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"127.0.0.1:{closed.getsockname()[1]}"


_NAMELESS = "no-such-name.invalid"


def _without_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system know of a host that it has no name, without asking a network."""
    real = socket.getaddrinfo

    def getaddrinfo(host: bytes, *args: int, **options: int) -> object:
        if host == _NAMELESS.encode():
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("how", ["refuses", "swallows", "has no name"])
async def test_a_dead_region_costs_a_last_round(
    lab: Start, exact_but: ExactBut, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    here = await lab(accounts=100, pools_per_target=2, regions=REGIONS)
    template = Sdk.template
    async with _swallower() as swallower:
        host = {"refuses": _closed_port(), "swallows": swallower, "has no name": _NAMELESS}[how]
        _without_name(monkeypatch)

        async def elsewhere(
            sdk: Sdk, service: str, region: str, method: str, sample: Mapping[str, object] | None = None
        ) -> RequestTemplate:
            found = await template(sdk, service, region, method, sample)
            if (service, region) == ("workspaces", "eu-west-1"):
                return replace(found, url=f"http://{host}/", host=host)
            return found

        monkeypatch.setattr(Sdk, "template", elsewhere)
        snapshot = await here.collect(concurrency=8, per_region=3, attempt_timeout=0.2)
    dead = [each for each in snapshot.targets() if each.region == "eu-west-1"]
    assert {each.outcome for each in dead} == {Outcome.UNREACHABLE}
    # 100 accounts with 12 attempts each would be 1,200.
    assert sum(each.attempts for each in dead) < 4 * 100
    # Where calls fail at once all accounts have theirs; where each takes its time, those that fit in a round.
    assert {each.error_code for each in dead if not each.attempts} <= {"Silent"}
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    exact_but(here, snapshot, [(each.account_id, "eu-west-1") for each in dead])


def test_a_region_that_is_given_up_is_one_line_and_exit_3(serve: Serve, run: Run, bench: Bench) -> None:
    served = serve("--accounts=20", "--regions=us-east-1,eu-west-1", "--fault=reset,region=eu-west-1")
    ended = run("collect", "--regions", "us-east-1,eu-west-1", "--per-region", "3", **served.environment)
    assert (ended.code, ended.out) == (3, "")
    assert "Traceback" not in ended.err
    first, last = ended.err.splitlines()
    assert "Could not reach the service in 20 accounts (eu-west-1)" in first
    assert "20 of 40 targets covered" in last


@pytest.mark.parametrize(
    ("accounts", "pools", "limits"),
    [
        # 300 targets of a page each, and a limit that the accounts of a region share.
        pytest.param(150, 3, Limits(region_rate=30, burst=10), marks=pytest.mark.long),
        # 16 targets of 16 pages each, and a limit of each.
        (8, 400, Limits(rate=4, burst=4)),
    ],
)
async def test_a_limit_throttles_less_than_half_as_many_calls_as_with_backoff_alone(
    lab: Start, monkeypatch: pytest.MonkeyPatch, accounts: int, pools: int, limits: Limits
) -> None:
    throttled = []
    for held_back in (True, False):
        if not held_back:
            monkeypatch.setattr(RateLimits, "admits", lambda *_, begun: True)
        here = await lab(accounts=accounts, pools_per_target=pools, regions=REGIONS, limits=limits)
        snapshot = await here.collect()
        assert here.assert_exact(snapshot) == {Outcome.OK: 2 * accounts}
        throttled.append(snapshot.manifest.totals.throttles)
    assert throttled[0] > 0
    assert throttled[0] <= throttled[1] / 2
