"""Organizational units by the paths that ListAccounts tells, and an Organizations that throttles."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from poolcensus.census import Census
from poolcensus.errors import OrganizationError
from poolcensus.simulator.directory import Directory
from poolcensus.simulator.latency import Latency
from poolcensus.simulator.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab
    from poolcensus.model import JsonObject

    Start = Callable[..., Coroutine[None, None, Lab]]


def path_in(directory: Directory, account_id: str) -> str:
    above, steps = account_id, [account_id]
    while (parent := directory.parent_of(above)) is not None:
        steps.insert(0, parent)
        above = parent
    return "/".join((directory.organization_id, *steps, ""))


@pytest.fixture(params=["all", "every other", "none"])
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which replies of the simulator tell where an account is."""
    original = Directory.account

    def account(self: Directory, index: int) -> JsonObject:
        described = {key: value for key, value in original(self, index).items() if key != "Paths"}
        if request.param == "all" or (request.param == "every other" and index % 2):
            described["Paths"] = [path_in(self, str(described["Id"]))]
        return described

    monkeypatch.setattr(Directory, "account", account)
    return str(request.param)


async def asked(here: Lab, **given: object) -> dict[str, str | None]:
    async with Census(here.settings(**given)) as census:
        return {each.account.id: each.account.ou_path async for each in census.targets()}


async def test_units_choose_the_same_accounts_whether_paths_are_told_or_not(lab: Start, told: str) -> None:
    here = await lab(accounts=60, regions=("us-east-1",))
    directory = Directory(here.simulator.world)
    places = {f"{number:012d}": path_in(directory, f"{number:012d}") for number in range(1, 61)}
    (top, *_) = [unit for unit in directory.units_of(directory.root_id) if directory.units_of(unit)]
    below = directory.units_of(top)[0]

    def under(unit: str) -> set[str]:
        return {account for account, place in places.items() if unit in place.split("/")}

    assert under(top) > under(below) > set()
    assert set(await asked(here, ous=top)) == under(top)
    walked = "organizations.ListOrganizationalUnitsForParent"
    assert bool(here.calls(walked)) == (told != "all")
    assert set(await asked(here, ous=top, exclude_ous=below)) == under(top) - under(below)
    assert set(await asked(here, exclude_ous=(top, below))) == places.keys() - under(top)
    assert await asked(here, include_ou_path=True) == places
    assert bool(here.calls(walked)) == (told != "all")
    assert bool(here.calls("organizations.ListRoots")) == (told != "all")


async def test_the_units_of_a_file_are_those_of_the_organization(
    lab: Start, told: str, tmp_path: Any
) -> None:
    here = await lab(accounts=60, regions=("us-east-1",))
    directory = Directory(here.simulator.world)
    some = [f"{number:012d}" for number in range(1, 21)]
    (tmp_path / "some.txt").write_text("\n".join(some))
    (top, *_) = [unit for unit in directory.units_of(directory.root_id) if directory.units_of(unit)]
    expected = {each: path_in(directory, each) for each in some if top in path_in(directory, each)}
    found = await asked(here, accounts_from=tmp_path / "some.txt", ous=top, include_ou_path=True)
    assert found == expected != {}


async def test_tags_are_read_in_spite_of_throttling(lab: Start) -> None:
    fault = "throttle:0.3,service=organizations,operation=ListTagsForResource,per=all"
    here = await lab(accounts=20, regions=("us-east-1",), faults=(fault,))
    directory = Directory(here.simulator.world)
    found = await asked(here, account_tags="env=prod")
    everybody = [f"{number:012d}" for number in range(1, 21)]
    assert (
        set(found)
        == {each for each in everybody if (directory.tags_of(each) or {})["env"] == "prod"}
        != set()
    )
    assert here.calls("organizations.ListTagsForResource") > 20


async def test_tags_are_read_where_another_request_is_in_progress(lab: Start) -> None:
    limits = Limits(organizations_concurrency=2)
    here = await lab(accounts=60, regions=("us-east-1",), limits=limits, latency=Latency.parse("5"))
    directory = Directory(here.simulator.world)
    async with Census(here.settings(include_account_tags=True)) as census:
        found = {each.account.id: each.account.tags async for each in census.targets()}
    assert found == {account: tuple(sorted((directory.tags_of(account) or {}).items())) for account in found}
    assert len(found) == 60
    assert here.calls("organizations.ListTagsForResource") > 60


async def test_a_delegated_administrator_lists_sixty_nested_units(lab: Start) -> None:
    here = await lab(accounts=120, ous=60, caller="delegated", regions=("us-east-1",))
    directory = Directory(here.simulator.world)
    found = await asked(here, include_ou_path=True)
    assert found == {f"{number:012d}": path_in(directory, f"{number:012d}") for number in range(1, 121)}
    deep = max((path or "" for path in found.values()), key=lambda each: each.count("/"))
    *_, above, unit, _, _ = deep.split("/")
    below = {account for account, path in found.items() if above in (path or "").split("/")}
    excluded = {account for account, path in found.items() if unit in (path or "").split("/")}
    assert set(await asked(here, ous=above, exclude_ous=unit)) == below - excluded
    assert here.calls("organizations.ListOrganizationalUnitsForParent") == 0


async def test_who_is_no_administrator_is_told_who_is(lab: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    here = await lab(accounts=5, regions=("us-east-1",))

    def session_of_a_member() -> dict[str, str]:
        session = boto3.Session(region_name="us-east-1")
        with closing(session.client("sts")) as sts:
            role = "arn:aws:iam::000000000003:role/PoolCensusReader"
            reply = sts.assume_role(RoleArn=role, RoleSessionName="test")
        found: dict[str, str] = reply["Credentials"]
        return found

    keys = await asyncio.to_thread(session_of_a_member)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    with pytest.raises(OrganizationError, match="000000000003.*management account 000000000001"):
        await asked(here)
