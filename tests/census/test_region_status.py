"""Who says which regions an account has enabled, and what a census makes of an answer that is old."""

from __future__ import annotations

import copy
import pickle
import re
from typing import TYPE_CHECKING, cast

import anyio
import pytest

from census_lab import result_of
from poolcensus.aws.region_status import management
from poolcensus.aws.region_status.management import ManagementLookups
from poolcensus.aws.region_status.status import RegionStatus
from poolcensus.census import Census
from poolcensus.errors import CallerExpiredError
from poolcensus.model import Outcome
from poolcensus.simulator.faults import Injector
from poolcensus.simulator.members import Members
from poolcensus.simulator.world import account_id

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.simulator.call import Call

    Start = Callable[..., Coroutine[None, None, Lab]]


pytestmark = pytest.mark.usefixtures("known_soon")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The documented rate would take seconds, and the cache is not this machine's."""
    monkeypatch.setattr(management, "LIST_REGIONS_A_SECOND", 1000.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def test_the_management_account_is_asked_about_its_members(lab: Start) -> None:
    here = await lab(accounts=9, opt_in_disabled=0.5)
    snapshot = await here.collect(region_status="management")
    here.assert_exact(snapshot)
    assert here.calls("account.ListRegions") == 9
    assert here.calls("ec2.DescribeRegions") == 0


async def test_who_may_not_ask_about_members_asks_each_of_them(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=9, opt_in_disabled=0.5, refuse_list_regions=True)
    snapshot = await here.collect(region_status="management")
    here.assert_exact(snapshot)
    assert here.calls("ec2.DescribeRegions") == 9
    warned = [each.message for each in caplog.records if "trusted access" in each.message]
    assert len(warned) == 1
    assert "enable-aws-service-access" in warned[0]
    assert "Each account is asked" in warned[0]


async def test_nobody_waits_for_a_turn_to_ask_once_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(management, "LIST_REGIONS_A_SECOND", 1 / 3600)
    lookups = ManagementLookups(1)
    found: list[bool] = []

    async def ask() -> None:
        found.append(await lookups.wait_for_turn())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            assert found == [True]
            lookups.end("No.")
    assert found == [True, *[False] * 4]


async def test_one_member_that_is_refused_is_asked_itself_and_said_too(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=2, opt_in_disabled=0.5, refuse_list_regions=True)
    here.assert_exact(await here.collect(region_status="management"))
    assert [each.message for each in caplog.records if "trusted access" in each.message]


@pytest.mark.parametrize("source", ["management", "member", "off"])
async def test_an_account_whose_role_is_refused_is_not_covered_by_what_others_say(
    lab: Start, source: str
) -> None:
    here = await lab(accounts=5, opt_in_disabled=1.0)
    await here.collect(region_status=source, region_status_max_age="1h")
    here.simulator.world.no_role = frozenset(range(1, 5))
    outcomes = here.assert_exact(await here.collect(region_status=source, region_status_max_age="1h"))
    assert outcomes[Outcome.ASSUME_ROLE_FAILED] == 4 * 3


async def test_nobody_is_asked_where_that_is_off(lab: Start) -> None:
    here = await lab(accounts=5, opt_in_disabled=0.5)
    outcomes = here.assert_exact(await here.collect(region_status="off"))
    assert outcomes[Outcome.REGION_DISABLED] == 2
    assert here.calls("account.ListRegions") + here.calls("ec2.DescribeRegions") == 0


@pytest.mark.parametrize("said_by", ["member", "management", "off"])
async def test_pools_in_regions_that_were_disabled_since_are_told_of(lab: Start, said_by: str) -> None:
    before = await (await lab(accounts=5, pools_per_target=2)).collect(region_status=said_by)
    here = await lab(accounts=5, pools_per_target=2, opt_in_disabled=1.0)
    async with Census(here.settings(region_status=said_by)) as census:
        assert census.hidden == {}
        await census.collect()
        disabled = tuple(result_of(before, f"{account:012d}", "af-south-1") for account in range(2, 6))
        assert sum(each.pools for each in disabled) == 8
        assert census.hidden == {Outcome.REGION_DISABLED: disabled}
        # Once: the newest snapshot knows it by now.
        await census.collect()
        assert census.hidden == {}


async def test_what_is_told_of_such_pools_can_be_copied_and_pickled(lab: Start) -> None:
    async with Census((await lab(accounts=5, pools_per_target=2)).settings()) as census:
        await census.collect()
        # No target is of an outcome that hides any.
        assert pickle.loads(pickle.dumps(census.hidden)) == copy.deepcopy(census.hidden) == {}
    here = await lab(accounts=5, pools_per_target=2, opt_in_disabled=1.0)
    async with Census(here.settings()) as census:
        told = [census.hidden]
        for _ in range(2):
            await census.collect()
            told.append(census.hidden)
    assert [*map(len, told)] == [0, 1, 0]
    assert pickle.loads(pickle.dumps(told)) == copy.deepcopy(told) == told


async def test_an_answer_that_is_kept_saves_the_call_and_the_ledger_says_so(lab: Start) -> None:
    here = await lab(accounts=5, opt_in_disabled=0.5)
    first = await here.collect(region_status_max_age="1h")
    second = await here.collect(region_status_max_age="1h")
    assert here.calls("account.ListRegions") == 5
    assert here.assert_exact(first) == here.assert_exact(second)
    for snapshot, said in ((first, False), (second, True)):
        messages = {
            each.error_message for each in snapshot.targets() if each.outcome is Outcome.REGION_DISABLED
        }
        assert all((each is not None) == said for each in messages)
    assert all(
        re.match(
            r"by the account's region status of 20..-..-..T..:..:..\....Z, from an earlier run",
            cast("str", each.error_message),
        )
        for each in second.targets()
        if each.outcome is Outcome.REGION_DISABLED
    )
    await here.collect()
    assert here.calls("account.ListRegions") == 10


async def test_a_region_that_was_disabled_since_is_told_by_itself(lab: Start) -> None:
    here = await lab(accounts=5)
    await here.collect(region_status_max_age="1h")
    here.simulator.world.opt_in_disabled = frozenset({3})
    again = await here.collect(region_status_max_age="1h")
    assert here.calls("account.ListRegions") == 5
    assert result_of(again, account_id(3), "af-south-1").outcome is Outcome.REGION_DISABLED
    here.assert_exact(again)


@pytest.mark.parametrize("said", ["DISABLING", "ENABLING", "A_NEW_STATUS"])
@pytest.mark.parametrize("source", ["management", "member"])
async def test_a_region_that_is_not_said_to_be_enabled_may_say_that_it_is_disabled(
    lab: Start, monkeypatch: pytest.MonkeyPatch, said: str, source: str
) -> None:
    here = await lab(accounts=5, opt_in_disabled=0.5)
    real = Members.opt_status

    def opt_status(self: Members, index: int, region: str) -> str:
        status = real(self, index, region)
        return said if status == "DISABLED" else status

    monkeypatch.setattr(Members, "opt_status", opt_status)
    outcomes = here.assert_exact(await here.collect(region_status=source))
    assert outcomes[Outcome.REGION_DISABLED] == 2


async def test_ec2_is_asked_where_every_account_knows_its_credentials(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=5, opt_in_disabled=0.5, refuse_list_regions=True, faults=("html:0",))
    seen: list[str] = []

    def choose(_: object, call: Call, page: object) -> None:
        if call.operation == "DescribeRegions":
            seen.append(call.region)

    monkeypatch.setattr(Injector, "choose", choose)
    monkeypatch.setenv("AWS_REGION", "af-south-1")
    here.assert_exact(await here.collect())
    assert seen == ["us-east-1"] * 5


async def test_a_status_that_is_not_answered_is_asked_of_ec2_and_holds_up_no_region(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poolcensus.aws.region_status.calls._LONGEST_ATTEMPT", 0.5)
    here = await lab(accounts=40, opt_in_disabled=0.5, faults=("hang,service=account",))
    with anyio.fail_after(20):
        outcomes = here.assert_exact(await here.collect(concurrency=30))
    assert outcomes[Outcome.REGION_DISABLED] > 0
    assert here.calls("ec2.DescribeRegions") == 40
    # Those of the first half a second, and single ones that look whether it is back.
    assert here.calls("account.ListRegions") < 40


async def test_services_that_throttle_all_calls_for_a_status_are_not_queued_for(lab: Start) -> None:
    here = await lab(
        accounts=120,
        pools_per_target=1,
        faults=("throttle429,service=account", "throttle,service=ec2"),
    )
    snapshot = await here.collect()
    assert here.assert_exact(snapshot) == {Outcome.OK: 360}
    # Each account for itself would have four attempts at each of the two.
    assert here.calls("account.ListRegions") + here.calls("ec2.DescribeRegions") < 240


async def test_a_management_account_that_gets_no_answer_is_not_asked_about_every_member(
    lab: Start, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=40, opt_in_disabled=0.5, faults=("unsupported,service=account",))
    here.assert_exact(await here.collect(region_status="management", concurrency=2))
    # Each member is asked once by its own credentials, and by EC2 then.
    assert here.calls("ec2.DescribeRegions") == 40
    assert here.calls("account.ListRegions") < 40 + 20
    (warned,) = [each.message for each in caplog.records if "AccountId" in each.message]
    assert warned.startswith("account:ListRegions with AccountId failed: ")
    assert "trusted access" not in warned


async def test_a_plan_by_the_management_account_assumes_no_role(lab: Start) -> None:
    here = await lab(accounts=5, opt_in_disabled=0.5)
    async with Census(here.settings(region_status="management")) as census:
        plan = await census.plan()
    assert plan.region_disabled == 2
    assert plan.calls["account:ListRegions"] == 5
    assert here.calls("sts.AssumeRole") == 0


async def test_lookups_wait_where_the_management_account_s_are_throttled(lab: Start) -> None:
    throttled = "throttle429,service=account,first=30,per=all"
    here = await lab(accounts=20, opt_in_disabled=0.5, faults=(throttled,))
    async with Census(here.settings(region_status="management")) as census:
        await census.plan()
    # The management account asks for its own regions another way.
    assert here.calls("account.ListRegions") >= 19 + 30
    # None was held back, whose account would have been asked itself.
    assert here.calls("sts.AssumeRole") == 0


async def test_a_plan_names_the_accounts_that_do_not_say(lab: Start) -> None:
    of_some = f"account={account_id(1)}"
    here = await lab(
        accounts=8,
        opt_in_disabled=0.5,
        no_role=0.25,
        faults=(f"denied,service=account,{of_some}", f"denied,service=ec2,{of_some}"),
    )
    silent = {account_id(index) for index in {1} | here.simulator.world.no_role}
    assert len(silent) == 3
    async with Census(here.settings()) as census:
        plan = await census.plan()
    assert plan.region_status_unknown == tuple(sorted(silent))
    assert plan.region_status_reasons == {
        account: "account:ListRegions: AccessDeniedException; ec2:DescribeRegions: UnauthorizedOperation"
        if account == account_id(1)
        else "could not assume the role: AccessDenied"
        for account in silent
    }
    # No account is called whose role was refused.
    called = plan.targets - plan.region_disabled - 2 * len(here.simulator.world.config.regions)
    assert plan.calls["workspaces:DescribeWorkspacesPools"] == called
    # Nobody is asked, and nobody has kept silent.
    async with Census(here.settings(region_status="off")) as census:
        assert (await census.plan()).region_status_unknown == ()


async def test_a_caller_that_has_expired_is_no_refusal_of_a_role(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=3, opt_in_disabled=0.5)

    async def expired(*_: object, **__: object) -> None:
        raise CallerExpiredError("no more", code="ExpiredToken", status=403)

    monkeypatch.setattr(RegionStatus, "disabled", expired)
    async with Census(here.settings()) as census:
        plan = await census.plan()
    assert {*plan.region_status_reasons.values()} == {"could not assume the role: ExpiredToken"}
    # What a run comes to does not follow from that.
    assert plan.calls["workspaces:DescribeWorkspacesPools"] == plan.targets


@pytest.mark.parametrize("source", ["member", "management"])
async def test_a_partition_without_the_account_api_is_asked_through_ec2(
    lab: Start, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    here = await lab(accounts=3, partition="aws-us-gov", regions=("us-gov-west-1", "us-gov-south-1"))
    await here.collect(extra_regions="us-gov-south-1", region_status=source)
    assert here.calls("account.ListRegions") == 0
    assert here.calls("ec2.DescribeRegions") == 3
    warned = [each.message for each in caplog.records if "no endpoint" in each.message]
    assert len(warned) == (source == "management")
