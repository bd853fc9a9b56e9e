"""boto3 walks the same organization with its own paging, parsing and error classes, and finds the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from botocore.model import Shape

    from census_lab import Lab
    from poolcensus.snapshot import Snapshot

    Start = Callable[..., Coroutine[None, None, Lab]]

REGIONS = ("us-east-1", "eu-west-1", "af-south-1")


@dataclass
class Walk:
    """What boto3 has seen: pools by account and region, and the code of every refusal."""

    accounts: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    pools: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    shape: Shape | None = None


def walk(here: Lab, connect: Callable[..., Any], **request: Any) -> Walk:
    found = Walk()
    simulator = here.simulator
    caller = (simulator.endpoint_url, simulator.access_key_id, simulator.secret_access_key)
    sts = connect("sts", *caller)
    own = sts.get_caller_identity()["Account"]
    for page in connect("organizations", *caller).get_paginator("list_accounts").paginate():
        for account in page["Accounts"]:
            chosen = found.accounts if account["Status"] == "ACTIVE" else found.skipped
            chosen[account["Id"]] = account["Name"] if account["Status"] == "ACTIVE" else account["Status"]
    for account_id in found.accounts:
        keys: tuple[str, ...] = caller[1:]
        if account_id != own:
            try:
                reply = sts.assume_role(
                    RoleArn=f"arn:aws:iam::{account_id}:role/PoolCensusReader", RoleSessionName="oracle"
                )["Credentials"]
            except ClientError as error:
                code = error.response["Error"]["Code"]
                found.refused.update({(account_id, region): code for region in REGIONS})
                continue
            keys = (reply["AccessKeyId"], reply["SecretAccessKey"], reply["SessionToken"])
        for region in REGIONS:
            client = connect("workspaces", caller[0], *keys, region=region)
            found.shape = client.meta.service_model.shape_for("WorkspacesPool")
            try:
                found.pools[account_id, region] = pools_of(client, request)
            except ClientError as error:
                found.refused[account_id, region] = error.response["Error"]["Code"]
    return found


def pools_of(client: Any, request: dict[str, Any]) -> list[dict[str, Any]]:
    pools: list[dict[str, Any]] = []
    page = client.describe_workspaces_pools(**request)
    pools += page["WorkspacesPools"]
    while token := page.get("NextToken"):
        page = client.describe_workspaces_pools(**request, NextToken=token)
        pools += page["WorkspacesPools"]
    return pools


def known(value: Any, shape: Any) -> Any:
    """What the SDK's model knows of a value, with its times as times."""
    match shape.type_name:
        case "structure":
            return {
                name: known(value[name], member) for name, member in shape.members.items() if name in value
            }
        case "list":
            return [known(each, shape.member) for each in value]
        case "timestamp":
            return datetime.fromisoformat(value)
    return value


def assert_same(snapshot: Snapshot, found: Walk) -> None:
    assert {each.id: each.reason for each in snapshot.manifest.accounts_skipped} == found.skipped
    assert {each.account_id: each.account_name for each in snapshot.targets()} == found.accounts
    records: dict[tuple[str, str], list[Any]] = {place: [] for place in found.pools}
    for record in snapshot.pools():
        records[record.account_id, record.region].append(known(record.pool, found.shape))
    by_id = {place: sorted(pools, key=lambda pool: pool["PoolId"]) for place, pools in records.items()}
    assert by_id == {
        place: sorted(pools, key=lambda pool: str(pool["PoolId"])) for place, pools in found.pools.items()
    }
    read = {(each.account_id, each.region) for each in snapshot.targets() if each.outcome.covered}
    off = {
        (each.account_id, each.region)
        for each in snapshot.targets()
        if each.outcome in {Outcome.REGION_DISABLED, Outcome.REGION_UNSUPPORTED}
    }
    assert read - off == found.pools.keys()
    refused = {
        (each.account_id, each.region): each.error_code
        for each in snapshot.targets()
        if not each.outcome.covered
    }
    assert refused == {place: code for place, code in found.refused.items() if place not in off}
    assert off <= found.refused.keys()


async def test_the_census_and_boto3_see_the_same_organization(
    lab: Start, connect: Callable[..., Any]
) -> None:
    here = await lab(
        accounts=25,
        regions=REGIONS,
        mean_pools=20,
        max_pools=60,
        suspended=0.1,
        scp_denied=0.1,
        no_role=0.1,
        access_denied=0.1,
        opt_in_disabled=0.2,
        extra_fields=True,
    )
    found = await asyncio.to_thread(walk, here, connect)
    snapshot = await here.collect()
    assert_same(snapshot, found)
    assert sum(map(len, found.pools.values())) > 200
    assert max(map(len, found.pools.values())) > 25
    assert set(found.refused.values()) == {
        "AccessDenied",
        "AccessDeniedException",
        "UnrecognizedClientException",
    }


async def test_filters_and_page_sizes_mean_the_same_to_both(lab: Start, connect: Callable[..., Any]) -> None:
    here = await lab(accounts=4, regions=REGIONS, pools_per_target=40, extra_fields=True)
    pool = next(iter(here.simulator.world.truth())).pools[0]
    word = str(pool["PoolName"])[:3]
    filters = [{"Name": "PoolName", "Operator": "NOTCONTAINS", "Values": [word, "no such name"]}]
    found = await asyncio.to_thread(walk, here, connect, Filters=filters, Limit=7)
    snapshot = await here.collect(filters=(f"PoolName:NOTCONTAINS:{word},no such name",), page_size=9)
    assert_same(snapshot, found)
    assert 0 < snapshot.manifest.totals.pools < 4 * 3 * 40
