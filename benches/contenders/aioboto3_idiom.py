"""aioboto3 as its README shows it: a session for each account, a client for each region."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import BinaryIO

import aioboto3
import orjson

ROLE = "PoolCensusReader"


async def read(
    session: aioboto3.Session, account: str, region: str, out: BinaryIO, gate: asyncio.Semaphore
) -> None:
    """Write the pools of one account in one region."""
    async with gate, session.client("workspaces", region_name=region) as client:
        request: dict[str, object] = {"Limit": 25}
        while True:
            page = await client.describe_workspaces_pools(**request)
            for pool in page["WorkspacesPools"]:
                line = {"account_id": account, "region": region, "pool": pool}
                out.write(orjson.dumps(line) + b"\n")
            if not page.get("NextToken"):
                return
            request["NextToken"] = page["NextToken"]


async def session_of(caller: aioboto3.Session, own: str, account: str) -> aioboto3.Session:
    """Return a session with credentials of the account."""
    if account == own:
        return aioboto3.Session()
    async with caller.client("sts", region_name="us-east-1") as sts:
        reply = await sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="idiom")
    keys = reply["Credentials"]
    return aioboto3.Session(
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


async def main(regions: list[str], out: BinaryIO, concurrency: int) -> None:
    """Write the pools of all accounts."""
    caller = aioboto3.Session()
    gate = asyncio.Semaphore(concurrency)
    async with caller.client("sts", region_name="us-east-1") as sts:
        own = (await sts.get_caller_identity())["Account"]
    accounts: list[str] = []
    async with caller.client("organizations", region_name="us-east-1") as organizations:
        async for page in organizations.get_paginator("list_accounts").paginate():
            accounts += [each["Id"] for each in page["Accounts"]]

    async def one(account: str) -> None:
        session = await session_of(caller, own, account)
        await asyncio.gather(*(read(session, account, region, out, gate) for region in regions))

    await asyncio.gather(*(one(account) for account in accounts))


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as pools:
        asyncio.run(main(sys.argv[1].split(","), pools, int(sys.argv[3])))
