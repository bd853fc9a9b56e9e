"""The census against the simulator over real sockets: exact to the last pool, every outcome right."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from census_lab import result_of
from poolcensus.census import Census
from poolcensus.errors import SnapshotError
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.simulator.limits import Limits
from poolcensus.snapshot.info import info_of
from poolcensus.snapshot.verification import verify
from transport_lab import both_transports

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab

    Start = Callable[..., Coroutine[None, None, Lab]]

pytestmark = pytest.mark.usefixtures("transport", "known_soon")

MANAGEMENT = "000000000001"


async def test_every_pool_of_every_account_and_region_is_there_once(lab: Start) -> None:
    here = await lab(accounts=25, mean_pools=6)
    snapshot = await here.collect()
    outcomes = here.assert_exact(snapshot)
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    assert outcomes.keys() == {Outcome.OK, Outcome.EMPTY}
    assert not verify(snapshot)


async def test_pages_are_followed_to_the_last(lab: Start) -> None:
    here = await lab(accounts=2, pools_per_target=103, page_size=7)
    snapshot = await here.collect()
    here.assert_exact(snapshot)
    assert result_of(snapshot, MANAGEMENT, "us-east-1").pages == 15


@both_transports
async def test_calls_are_the_least_that_the_census_needs(lab: Start) -> None:
    here = await lab(accounts=21, pools_per_target=1)
    snapshot = await here.collect()
    assert here.calls("sts.GetCallerIdentity") == 1
    assert here.calls("organizations.ListAccounts") == 2
    assert here.calls("sts.AssumeRole") == 20
    assert here.calls("account.ListRegions") == 21
    assert here.calls("workspaces.DescribeWorkspacesPools") == 21 * 3
    totals = snapshot.manifest.totals
    assert totals.requests == 1 + 2 + 20 + 21 + 63
    assert (totals.assume_role_calls, totals.retries, totals.throttles) == (20, 0, 0)


async def test_region_status_is_not_asked_where_no_opt_in_region_is_wanted(lab: Start) -> None:
    here = await lab(accounts=5)
    await here.collect(regions=("us-east-1",))
    assert here.calls("account.ListRegions") == 0


@both_transports
async def test_every_outcome_is_told_apart(lab: Start) -> None:
    here = await lab(
        accounts=41, suspended=0.1, scp_denied=0.1, no_role=0.1, access_denied=0.1, opt_in_disabled=0.4
    )
    snapshot = await here.collect()
    outcomes = here.assert_exact(snapshot)
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
    assert outcomes[Outcome.SCP_DENIED] == outcomes[Outcome.ACCESS_DENIED] == 4 * 3
    assert outcomes[Outcome.ASSUME_ROLE_FAILED] == 4 * 3
    assert outcomes[Outcome.REGION_DISABLED] == 16
    assert {each.reason for each in snapshot.manifest.accounts_skipped} == {"SUSPENDED"}
    assert snapshot.manifest.accounts_planned == 37
    assert not verify(snapshot)


async def test_a_refused_role_costs_one_call(lab: Start) -> None:
    here = await lab(accounts=11, no_role=0.5)
    snapshot = await here.collect()
    assert here.calls("sts.AssumeRole") == 10
    refused = [each for each in snapshot.targets() if each.outcome is Outcome.ASSUME_ROLE_FAILED]
    assert len(refused) == 15
    assert {(each.attempts, each.error_code) for each in refused} == {(0, "AccessDenied")}


@both_transports
async def test_region_status_comes_from_ec2_where_the_account_api_refuses(lab: Start) -> None:
    here = await lab(accounts=5, opt_in_disabled=0.5, refuse_list_regions=True)
    snapshot = await here.collect()
    here.assert_exact(snapshot)
    assert here.calls("ec2.DescribeRegions") == 5


async def test_a_region_says_itself_that_it_is_disabled_where_nothing_else_may(lab: Start) -> None:
    here = await lab(accounts=5, opt_in_disabled=0.5, refuse_list_regions=True, refuse_describe_regions=True)
    snapshot = await here.collect()
    outcomes = here.assert_exact(snapshot)
    assert outcomes[Outcome.REGION_DISABLED] == 2


async def test_every_account_hears_for_itself_that_a_region_lacks_the_operation(lab: Start) -> None:
    here = await lab(accounts=30, unsupported_regions=("eu-west-1",))
    snapshot = await here.collect(concurrency=2)
    unsupported = [each for each in snapshot.targets() if each.outcome is Outcome.REGION_UNSUPPORTED]
    assert len(unsupported) == 30
    assert {each.region for each in unsupported} == {"eu-west-1"}
    assert {each.attempts for each in unsupported} == {1}
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE


async def test_throttles_server_errors_resets_and_cut_bodies_lose_nothing(lab: Start) -> None:
    here = await lab(
        accounts=60,
        pools_per_target=30,
        faults=("throttle:0.2", "5xx:0.05", "reset:0.02", "truncate:0.02"),
    )
    snapshot = await here.collect()
    here.assert_exact(snapshot)
    totals = snapshot.manifest.totals
    assert totals.throttles > 0
    assert here.calls("workspaces.DescribeWorkspacesPools") <= 1.6 * totals.pages
    assert not verify(snapshot)


async def test_a_rate_limit_is_found_and_kept(lab: Start) -> None:
    # So low that a slow machine meets it too, whose own calls are far between.
    here = await lab(accounts=10, pools_per_target=150, limits=Limits(rate=2, burst=2))
    snapshot = await here.collect(regions=("us-east-1",))
    here.assert_exact(snapshot, regions=("us-east-1",))
    assert snapshot.manifest.totals.throttles > 0


async def test_unknown_fields_and_values_stay(lab: Start) -> None:
    here = await lab(accounts=3, pools_per_target=2, extra_fields=True)
    here.assert_exact(await here.collect())


async def test_never_more_calls_in_flight_than_asked_for(lab: Start) -> None:
    here = await lab(accounts=30, pools_per_target=1)
    await here.collect(concurrency=3)
    peak = here.simulator.stats.snapshot()["connections_peak"]
    assert isinstance(peak, int)
    assert peak <= 3


async def test_filters_and_ids_narrow_every_target(lab: Start) -> None:
    here = await lab(accounts=3, pools_per_target=30)
    truth = list(here.simulator.world.truth())
    one = truth[4].pools[3]
    snapshot = await here.collect(pool_ids=(one["PoolId"],))
    assert [record.pool["PoolId"] for record in snapshot.pools()] == [one["PoolId"]]
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    snapshot = await here.collect(filters=(f"PoolName:EQUALS:{one['PoolName']}",))
    assert one["PoolId"] in [record.pool["PoolId"] for record in snapshot.pools()]


async def test_more_than_25_ids_go_in_several_calls(lab: Start) -> None:
    here = await lab(accounts=2, pools_per_target=40)
    ids = [
        str(pool["PoolId"])
        for each in here.simulator.world.truth()
        for pool in each.pools
        if each.region == "us-east-1"
    ]
    snapshot = await here.collect(pool_ids=tuple(ids), regions=("us-east-1",))
    assert sorted(str(record.pool["PoolId"]) for record in snapshot.pools()) == sorted(ids)


async def test_targets_that_were_long_in_the_last_snapshot_start_first(lab: Start) -> None:
    here = await lab(accounts=15, mean_pools=6, page_size=2)
    first = await here.collect(page_size=2, concurrency=1, compress="gzip")
    ledger = sorted(first.targets(), key=lambda each: -each.pages)
    assert ledger[0].pages > 3
    again = await here.collect(page_size=2, concurrency=1)
    here.assert_exact(again)
    records = sorted(again.pools(), key=lambda each: each.collected_at)
    begun = list(dict.fromkeys((each.account_id, each.region) for each in records))
    # Their roles are assumed beside each other, and the first to be had is the first to be used.
    assert set(begun[:4]) <= {(each.account_id, each.region) for each in ledger[:8]}


async def test_a_region_that_replies_gets_its_room_while_no_target_ends(lab: Start) -> None:
    # The first page comes slowly, so that every account is prepared before a reply, and the second never.
    here = await lab(
        accounts=20,
        pools_per_target=2,
        regions=("us-east-1",),
        faults=("drip,page=1,seconds=0.0005", "hang,page=2"),
    )
    in_flight = here.simulator.stats.in_flight
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(here.collect, page_size=1))
        with anyio.fail_after(60):
            # It begins with 8, and replies make room for the others.
            while [service for service, _, _ in in_flight].count("workspaces") < 20:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_a_last_snapshot_that_cant_be_read_holds_nothing_up(lab: Start) -> None:
    here = await lab(accounts=3, mean_pools=6)
    first = await here.collect()
    first.targets_path.write_bytes(b"not a ledger\n")
    here.assert_exact(await here.collect())


async def test_a_run_knows_what_the_snapshot_before_covers(lab: Start) -> None:
    here = await lab(accounts=3)
    first = await here.collect()
    async with Census(here.settings(accounts=(MANAGEMENT,))) as census:
        known = [census.before]
        second = await census.collect()
        known.append(census.before)
        await census.collect()
        known.append(census.before)
    assert known == [None, first.info, info_of(second.manifest)]
    assert known[1] != known[2]


async def test_what_went_to_standard_output_is_a_snapshot_that_says_it_is_gone(
    lab: Start, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    here = await lab(accounts=5, mean_pools=3, faults=("html,account=000000000003",))
    snapshot = await here.collect(dest="-", max_attempts=1)
    lines = capfdbinary.readouterr().out.splitlines()
    assert {json.loads(each)["snapshot_id"] for each in lines} == {snapshot.id}
    assert len(lines) == snapshot.info.pools == snapshot.manifest.totals.pools
    assert (snapshot.location, snapshot.path) == ("standard output", None)
    assert {each.account_id for each in snapshot.uncovered()} == {"000000000003"}
    for read in (snapshot.pools, snapshot.targets, lambda: iter(verify(snapshot))):
        with pytest.raises(SnapshotError, match="went to standard output and can't be read again"):
            next(read())
    with pytest.raises(SnapshotError, match="is in no folder"):
        _ = snapshot.targets_path


async def test_what_was_published_stays_what_it_was_while_another_run_goes_on(lab: Start) -> None:
    here = await lab(accounts=5, faults=("html,account=000000000003",))
    async with Census(here.settings(dest="-", max_attempts=1)) as census:
        snapshot = await census.collect()
        async with census.pools() as pools:
            await anext(pools)
            assert census.published is not None
            assert [*census.published.uncovered()] == [*snapshot.uncovered()]
