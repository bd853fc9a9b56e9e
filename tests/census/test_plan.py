"""The plan of a simulated organization, against what a census then does."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from poolcensus.census import Census
from poolcensus.errors import DeadlineError, SettingsError
from poolcensus.scope.account_list_writing import write_account_list

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.planned import Plan

    Start = Callable[..., Coroutine[None, None, Lab]]

POOLS = "workspaces:DescribeWorkspacesPools"


async def planned(here: Lab, **given: object) -> Plan:
    async with Census(here.settings(**given)) as census:
        return await census.plan()


async def test_the_newest_snapshot_of_the_same_kind_is_a_measure(lab: Start) -> None:
    here = await lab(accounts=6, pools_per_target=60)
    first = (await planned(here)).estimate
    assert first is not None
    assert first.snapshot_id is None
    snapshot = await here.collect()
    again = (await planned(here)).estimate
    assert again is not None
    assert again.snapshot_id == snapshot.id
    # Each target has three pages, which bound a run only if it takes as long as their rate says.
    pages, *longest = [each.calls for each in again.steps if each.action == POOLS]
    assert pages == 54
    assert longest in ([], [3])
    took = snapshot.manifest.finished_at - snapshot.manifest.started_at
    assert again.seconds == pytest.approx(took.total_seconds())
    for other in (
        {"regions": "us-east-1"},
        {"exclude_accounts": "000000000002"},
        {"shard": "1/2"},
        {"dest": "-"},
    ):
        found = (await planned(here, **other)).estimate
        assert found is not None
        assert found.snapshot_id is None


async def test_what_a_plan_knows_of_the_last_run_is_of_one_snapshot(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=3, pools_per_target=60)
    whole, lost = await here.collect(), await here.collect()
    (here.dest / lost.id / "manifest.json").unlink()
    caplog.clear()
    estimate = (await planned(here)).estimate
    assert estimate is not None
    assert estimate.snapshot_id == whole.id
    # Each time that the newest is looked up, it is said what `latest` names.
    assert len([each for each in caplog.messages if f"names {lost.id}" in each]) == 1


@pytest.mark.parametrize(("in_table", "basis"), [(False, "256 at a time"), (True, "about 5 a second")])
async def test_region_status_by_one_account_is_bounded_by_its_rate(
    lab: Start, in_table: bool, basis: str
) -> None:
    here = await lab(accounts=4, regions=("us-east-1", "af-south-1"))
    tables = [{"name": "one", **({"region_status": "management"} if in_table else {})}]
    estimate = (await planned(here, organization=tables)).estimate
    assert estimate is not None
    (step,) = [each for each in estimate.steps if each.action == "account:ListRegions"]
    assert step.basis.startswith(basis)


async def test_an_ou_that_is_not_in_the_list_is_refused_before_a_call(lab: Start) -> None:
    here = await lab(accounts=2, regions=("us-east-1",))
    path = str(here.dest.with_name("list.json"))
    await asyncio.to_thread(write_account_list, await planned(here, include_ou_path=True), path)
    before = here.calls("sts.GetCallerIdentity")
    with pytest.raises(SettingsError, match="no account of the list is in ou-zzzz-12345678"):
        await here.collect(accounts_snapshot=path, ous=["ou-zzzz-12345678"])
    assert here.calls("sts.GetCallerIdentity") == before
    # A list that was written with the same settings has nobody in what they exclude.
    await here.collect(accounts_snapshot=path, exclude_ous=["ou-zzzz-12345678"])
    assert here.calls("sts.GetCallerIdentity") > before


async def test_shards_over_one_list_are_the_whole_without_overlap(lab: Start) -> None:
    here = await lab(accounts=9, regions=("us-east-1",), suspended=0.3)
    path = str(here.dest.with_name("list.json"))
    plan = await planned(here)
    await asyncio.to_thread(write_account_list, plan, path)
    before = here.calls("organizations.ListAccounts")
    parts = [await here.collect(accounts_snapshot=path, shard=f"{each}/3") for each in (1, 2, 3)]
    asked = [each.account_id for part in parts for each in part.targets()]
    assert sorted(asked) == sorted(each.id for each in plan.accounts)
    skipped = [each for part in parts for each in part.manifest.accounts_skipped]
    assert sorted(skipped, key=lambda each: each.id) == list(plan.skipped) != []
    assert {part.manifest.organization_id for part in parts} == {plan.organization_id}
    assert here.calls("organizations.ListAccounts") == before


async def test_the_regions_are_those_in_which_an_account_is_asked(lab: Start, tmp_path: Path) -> None:
    here = await lab(accounts=3)
    file = tmp_path / "one.csv"
    file.write_text("account_id,regions\n000000000002,us-east-1\n")
    found = await planned(here, accounts_from=str(file), regions=())
    assert (found.regions, found.targets) == (("us-east-1",), 1)
    # The accounts with regions of their own are left out, and so are these.
    file.write_text("account_id,regions\n000000000002,us-east-1\n000000000003,eu-west-1\n")
    found = await planned(here, accounts_from=str(file), exclude_accounts="000000000002", regions=())
    assert found.regions == ("eu-west-1",)


async def test_the_list_of_a_plan_needs_no_role_where_the_regions_are_not_asked(
    lab: Start, tmp_path: Path
) -> None:
    # The list that the jobs of config/ write, without the external ID that the roles ask for.
    here = await lab(accounts=9, suspended=0.2, opt_in_disabled=0.5, external_id="hush-hush")
    lists = []
    for each in ("member", "off"):
        called = here.calls("sts.AssumeRole")
        plan = await planned(here, region_status=each)
        assert (here.calls("sts.AssumeRole") > called) is (each == "member")
        path = tmp_path / each
        await asyncio.to_thread(write_account_list, plan, path)
        lists.append(json.loads(path.read_text(encoding="utf-8"))["accounts"])
    assert lists[0] == lists[1]
    assert {each["state"] for each in lists[0]} == {"ACTIVE", "SUSPENDED"}


async def test_accounts_that_refuse_their_role_are_not_called(lab: Start) -> None:
    throttled = "throttle429,service=sts,operation=AssumeRole,role_account=000000000003,first=1"
    here = await lab(accounts=20, pools_per_target=1, opt_in_disabled=0.3, no_role=0.4, faults=(throttled,))
    assert 2 not in here.simulator.world.no_role | here.simulator.world.opt_in_disabled
    plan = await planned(here, max_attempts=1)
    # A role that was not refused for good may be assumed by the run.
    assert "000000000003" in plan.region_status_unknown
    assert plan.estimate is not None
    (step,) = [each for each in plan.estimate.steps if each.action == POOLS]
    assert here.calls("workspaces.DescribeWorkspacesPools") == 0
    snapshot = await here.collect()
    here.assert_exact(snapshot)
    assert here.calls("workspaces.DescribeWorkspacesPools") == plan.calls[POOLS] == step.calls
    assert plan.targets == snapshot.manifest.totals.targets


async def test_a_plan_and_its_targets_are_bounded_by_the_deadline(lab: Start) -> None:
    here = await lab(accounts=3, faults=("hang,service=organizations",))
    with pytest.raises(DeadlineError, match="deadline of 0.2 s passed before the plan was made"):
        await planned(here, deadline=0.2)
    async with Census(here.settings(deadline=0.2)) as census:
        with pytest.raises(DeadlineError, match="deadline of 0.2 s passed before all accounts were listed"):
            await anext(census.targets())
