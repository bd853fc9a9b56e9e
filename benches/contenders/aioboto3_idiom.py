"""aioboto3 as its README shows it: a session for each account, a client for each region."""

from __future__ import annotations

import asyncio
import sys

import aioboto3
import orjson

ROLE = "PoolCensusReader"


async def read(session: aioboto3.Session, account: str, region: str, out: object, gate: asyncio.Semaphore) -> int:
    """The pools of one account in one region."""
    pools = 0
    async with gate, session.client("workspaces", region_name=region) as client:
        request: dict[str, object] = {"Limit": 25}
        while True:
            page = await client.describe_workspaces_pools(**request)
            for pool in page["WorkspacesPools"]:
                line = {"account_id": account, "region": region, "pool": pool}
                out.write(orjson.dumps(line) + b"\n")  # type: ignore[attr-defined] # a binary file
                pools += 1
            if not page.get("NextToken"):
                return pools
            request["NextToken"] = page["NextToken"]


async def session_of(caller: aioboto3.Session, own: str, account: str) -> aioboto3.Session:
    """A session with the account's credentials."""
    if account == own:
        return aioboto3.Session()
    async with caller.client("sts", region_name="us-east-1") as sts:
        reply = await sts.assume_role(
            RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="idiom"
        )
    keys = reply["Credentials"]
    return aioboto3.Session(
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


async def main(regions: str, path: str, concurrency: str) -> None:
    """Read everything."""
    caller = aioboto3.Session()
    gate = asyncio.Semaphore(int(concurrency))
    async with caller.client("sts", region_name="us-east-1") as sts:
        own = (await sts.get_caller_identity())["Account"]
    accounts = []
    async with caller.client("organizations", region_name="us-east-1") as organizations:
        async for page in organizations.get_paginator("list_accounts").paginate():
            accounts += [each["Id"] for each in page["Accounts"]]
    with open(path, "wb") as out:

        async def one(account: str) -> int:
            session = await session_of(caller, own, account)
            return sum(
                await asyncio.gather(*(read(session, account, each, out, gate) for each in regions.split(",")))
            )

        print(sum(await asyncio.gather(*(one(account) for account in accounts))))


asyncio.run(main(*sys.argv[1:4]))
