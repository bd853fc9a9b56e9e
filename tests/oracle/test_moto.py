"""moto's Organizations, STS and EC2, which know nothing of ours, answer as ours do."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from botocore.config import Config

from poolcensus.census import Census
from poolcensus.config import load_settings
from poolcensus.errors import SettingsError
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.scope.joining import open_all, prepare_all
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import boto3

    from poolcensus.config import Settings

    Connect = Callable[..., Any]

# moto serves one worker.
pytestmark = pytest.mark.xdist_group("moto")

CALLER = "123456789012"
KEYS = ("AKIAIOSFODNN7EXAMPLE", "secret")


@dataclass
class Tree:
    """The organization that moto has been given."""

    root: str
    outer: str
    inner: str
    accounts: dict[str, str]
    in_outer: set[str]
    in_inner: set[str]
    tagged: set[str]

    @property
    def everyone(self) -> set[str]:
        return {CALLER, *self.accounts}


@pytest.fixture
def moto(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    return moto_url


@pytest.fixture(scope="module")
def planted(moto_url: str, boto_session: boto3.Session) -> Tree:
    """An organization that the tests look at and don't change: it takes moto seconds to make."""
    opener = build_opener(ProxyHandler({}))
    opener.open(Request(f"{moto_url}/moto-api/reset", method="POST"), timeout=10).close()
    with closing(
        boto_session.client(
            "organizations",
            region_name="us-east-1",
            endpoint_url=moto_url,
            aws_access_key_id=KEYS[0],
            aws_secret_access_key=KEYS[1],
            # No test has cleared the environment yet.
            config=Config(proxies={}),
        )
    ) as organizations:
        return plant(organizations)


@pytest.fixture
def tree(planted: Tree, moto: str) -> Tree:
    return planted


def plant(organizations: Any) -> Tree:
    organizations.create_organization(FeatureSet="ALL")
    root = organizations.list_roots()["Roots"][0]["Id"]
    accounts = {}
    for number in range(25):
        name = f"member {number}"
        status = organizations.create_account(AccountName=name, Email=f"m{number}@example.com")
        accounts[status["CreateAccountStatus"]["AccountId"]] = name
    outer = organizations.create_organizational_unit(ParentId=root, Name="outer")["OrganizationalUnit"]["Id"]
    inner = organizations.create_organizational_unit(ParentId=outer, Name="inner")["OrganizationalUnit"]["Id"]
    ids = list(accounts)
    for unit, members in ((outer, ids[:5]), (inner, ids[5:9])):
        for account in members:
            organizations.move_account(AccountId=account, SourceParentId=root, DestinationParentId=unit)
    for account in ids[3:12]:
        tags = [{"Key": "env", "Value": "prod" if account in ids[3:7] else "dev"}, {"Key": "x", "Value": "1"}]
        organizations.tag_resource(ResourceId=account, Tags=tags)
    return Tree(root, outer, inner, accounts, set(ids[:5]), set(ids[5:9]), set(ids[3:7]))


def settings(**changes: object) -> Settings:
    given: dict[str, object] = {"regions": ("us-east-1", "eu-west-1", "af-south-1"), "max_attempts": 2}
    return load_settings(overrides={**given, **changes})


async def asked(**changes: object) -> dict[str, str | None]:
    """The accounts that a census with these settings would ask."""
    async with Census(settings(**changes)) as census:
        return {target.account.id: target.account.name async for target in census.targets()}


async def test_the_accounts_are_those_of_the_organization(tree: Tree) -> None:
    found = await asked()
    assert found.keys() == tree.everyone
    assert {account: found[account] for account in tree.accounts} == tree.accounts
    assert set(await asked(ous=(tree.outer,))) == tree.in_outer | tree.in_inner
    assert set(await asked(ous=(tree.inner,))) == tree.in_inner
    assert set(await asked(ous=(tree.root,))) == tree.everyone
    assert set(await asked(exclude_ous=(tree.inner,))) == tree.everyone - tree.in_inner
    assert set(await asked(ous=(tree.outer,), exclude_ous=(tree.inner,))) == tree.in_outer
    assert set(await asked(account_tags=("env=prod",))) == tree.tagged
    assert set(await asked(account_tags=("env=prod", "x=2"))) == set()
    assert (
        set(await asked(ous=(tree.inner,), account_tags=("env=prod", "x=1"))) == tree.tagged & tree.in_inner
    )


async def test_places_and_tags_are_those_of_the_organization(tree: Tree) -> None:
    async with Census(settings(include_ou_path=True, include_account_tags=True)) as census:
        plan = await census.plan()
    found = {each.id: each for each in plan.accounts}
    top = f"{plan.organization_id}/{tree.root}/"
    places = {account: f"{top}{account}/" for account in tree.everyone}
    places |= {account: f"{top}{tree.outer}/{account}/" for account in tree.in_outer}
    places |= {account: f"{top}{tree.outer}/{tree.inner}/{account}/" for account in tree.in_inner}
    assert {account: each.ou_path for account, each in found.items()} == places
    assert {account for account, each in found.items() if ("env", "prod") in (each.tags or ())} == tree.tagged
    assert found[CALLER].tags == ()


async def test_a_unit_that_does_not_exist_is_refused(tree: Tree) -> None:
    for given in ({"ous": f"{tree.inner}0"}, {"exclude_ous": "r-zzzz"}):
        with pytest.raises(SettingsError, match="There is no root or organizational unit"):
            await asked(**given)


@pytest.mark.long
async def test_a_plan_counts_what_there_is(tree: Tree) -> None:
    async with Census(settings(regions=("us-east-1", "eu-west-1"))) as census:
        plan = await census.plan()
    assert (plan.caller.account_id, plan.caller.partition) == (CALLER, "aws")
    assert {each.id for each in plan.accounts} == tree.everyone
    assert plan.organization_id is not None
    assert plan.organization_id.startswith("o-")
    assert plan.targets == 26 * 2
    assert plan.calls["sts:AssumeRole"] == 25
    async with Census(settings(regions=("us-east-1", "af-south-1"), accounts=(CALLER,))) as census:
        plan = await census.plan()
    assert plan.targets == 2


@pytest.mark.parametrize("by_way_of_a_hub", [False, True])
async def test_every_account_has_credentials_of_its_own(
    tree: Tree, moto: str, connect: Callable[..., Any], by_way_of_a_hub: bool
) -> None:
    some = sorted(tree.accounts)[:3]
    hub = f"arn:{{partition}}:iam::{max(tree.accounts)}:role/Hub"
    way = (
        {"role_chain": hub, "source_identity": "census", "session_tags": "team=x"} if by_way_of_a_hub else {}
    )
    async with (
        prepare_all(settings(**way), None) as joined,
        open_all(WORKSPACES_POOLS, joined) as (opened,),
    ):
        aws = opened.aws
        assert aws.caller.account_id == CALLER
        credentials = [await aws.broker.source(account).get() for account in some]
        own = await aws.broker.source(CALLER).get()

    def identities() -> list[tuple[str, str]]:
        found = []
        for each in credentials:
            keys = (each.access_key_id, each.secret_access_key, each.session_token)
            reply = connect("sts", moto, *keys).get_caller_identity()
            found.append((reply["Account"], reply["Arn"].rpartition("/")[0]))
        return found

    assert await asyncio.to_thread(identities) == [
        (account, f"arn:aws:sts::{account}:assumed-role/PoolCensusReader") for account in some
    ]
    assert own.access_key_id == KEYS[0]
    assert own.session_token is None


async def test_region_status_comes_from_whatever_is_served(
    tree: Tree, moto: str, connect: Callable[..., Any]
) -> None:
    def regions() -> set[str]:
        reply = connect("ec2", moto, *KEYS).describe_regions(AllRegions=True)
        return {each["RegionName"] for each in reply["Regions"] if each["OptInStatus"] == "not-opted-in"}

    off = await asyncio.to_thread(regions)
    async with (
        prepare_all(settings(), None) as joined,
        open_all(WORKSPACES_POOLS, joined) as (opened,),
    ):
        found = await opened.aws.region_status.disabled(min(tree.accounts))
    assert found is not None
    assert set(found) == off != set()


async def test_an_operation_that_is_not_there_is_an_outcome(tree: Tree, tmp_path: Path) -> None:
    async with Census(
        settings(dest=str(tmp_path / "snapshots"), accounts=tuple(sorted(tree.everyone)[:3]))
    ) as census:
        snapshot = await census.collect()
    results = list(snapshot.targets())
    assert len(results) == 9
    assert sum(1 for _ in snapshot.pools()) == 0
    # moto says nothing better than a 500 of an operation that it does not have.
    assert {(each.outcome, each.error_code, each.attempts) for each in results} == {(Outcome.ERROR, "500", 2)}
    assert not verify(snapshot)
    assert snapshot.manifest.status is SnapshotStatus.PARTIAL
