"""aioboto3 with one session, one client for each region, and credentials chosen for each call."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from contextvars import ContextVar

import aioboto3
import orjson
from aiobotocore.config import AioConfig
from botocore.credentials import ReadOnlyCredentials

ROLE = "PoolCensusReader"
CURRENT: ContextVar[ReadOnlyCredentials | None] = ContextVar("current", default=None)


def choose(request: object, **_: object) -> None:
    """Sign with the credentials of the task that makes the call."""
    if (keys := CURRENT.get()) is not None:
        request.context.setdefault("signing", {})["request_credentials"] = keys  # type: ignore[attr-defined]


async def main(regions: str, path: str, concurrency: str) -> None:
    """Read everything."""
    session = aioboto3.Session()
    gate = asyncio.Semaphore(int(concurrency))
    config = AioConfig(max_pool_connections=int(concurrency))
    async with AsyncExitStack() as stack:
        sts = await stack.enter_async_context(session.client("sts", region_name="us-east-1", config=config))
        organizations = await stack.enter_async_context(
            session.client("organizations", region_name="us-east-1")
        )
        clients = {}
        for region in regions.split(","):
            client = session.client("workspaces", region_name=region, config=config)
            clients[region] = await stack.enter_async_context(client)
            clients[region].meta.events.register("before-sign", choose)
        own = (await sts.get_caller_identity())["Account"]
        accounts = []
        async for page in organizations.get_paginator("list_accounts").paginate():
            accounts += [each["Id"] for each in page["Accounts"]]
        out = stack.enter_context(open(path, "wb"))

        async def read(account: str, region: str, keys: ReadOnlyCredentials | None) -> None:
            async with gate:
                CURRENT.set(keys)
                request: dict[str, object] = {"Limit": 25}
                while True:
                    page = await clients[region].describe_workspaces_pools(**request)
                    for pool in page["WorkspacesPools"]:
                        out.write(orjson.dumps({"account_id": account, "region": region, "pool": pool}) + b"\n")
                    if not page.get("NextToken"):
                        return
                    request["NextToken"] = page["NextToken"]

        async def one(account: str) -> None:
            keys = None
            if account != own:
                async with gate:
                    reply = await sts.assume_role(
                        RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="shared"
                    )
                found = reply["Credentials"]
                keys = ReadOnlyCredentials(
                    found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], None
                )
            await asyncio.gather(*(read(account, region, keys) for region in clients))

        await asyncio.gather(*(one(account) for account in accounts))


asyncio.run(main(*sys.argv[1:4]))
