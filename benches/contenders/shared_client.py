"""aioboto3 with one session, one client for each region, and credentials chosen for each call."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO

import aioboto3
import orjson
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials

ROLE = "PoolCensusReader"
CURRENT: ContextVar[AioCredentials | None] = ContextVar("current", default=None)


def choose(request: Any, **_: object) -> None:  # noqa: ANN401 - the SDK has no types
    """Sign with the credentials of the task that makes the call."""
    if (keys := CURRENT.get()) is not None:
        request.context.setdefault("signing", {})["request_credentials"] = keys


class Census:
    """A census with one client for each region, and a limit on the targets that are read at a time."""

    def __init__(self, clients: dict[str, Any], sts: Any, own: str, out: BinaryIO, concurrency: int) -> None:  # noqa: ANN401 - the SDK has no types
        self.clients = clients
        self.sts = sts
        self.own = own
        self.out = out
        self.gate = asyncio.Semaphore(concurrency)

    async def read(self, account: str, region: str, keys: AioCredentials | None) -> None:
        """Write the pools of one account in one region."""
        async with self.gate:
            CURRENT.set(keys)
            request: dict[str, object] = {"Limit": 25}
            while True:
                page = await self.clients[region].describe_workspaces_pools(**request)
                for pool in page["WorkspacesPools"]:
                    line = {"account_id": account, "region": region, "pool": pool}
                    self.out.write(orjson.dumps(line) + b"\n")
                if not page.get("NextToken"):
                    return
                request["NextToken"] = page["NextToken"]

    async def one(self, account: str) -> None:
        """Write the pools of one account in all regions."""
        keys = None
        if account != self.own:
            async with self.gate:
                reply = await self.sts.assume_role(
                    RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="shared"
                )
            found = reply["Credentials"]
            keys = AioCredentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
        await asyncio.gather(*(self.read(account, region, keys) for region in self.clients))


async def main(regions: list[str], out: BinaryIO, concurrency: int) -> None:
    """Write the pools of all accounts."""
    session = aioboto3.Session()
    config = AioConfig(max_pool_connections=concurrency)
    async with AsyncExitStack() as stack:

        async def client(service: str, region: str) -> Any:  # noqa: ANN401 - the SDK has no types
            return await stack.enter_async_context(session.client(service, region_name=region, config=config))

        clients = {region: await client("workspaces", region) for region in regions}
        for each in clients.values():
            each.meta.events.register("before-sign", choose)
        sts = await client("sts", "us-east-1")
        census = Census(clients, sts, (await sts.get_caller_identity())["Account"], out, concurrency)
        accounts: list[str] = []
        organizations = await client("organizations", "us-east-1")
        async for page in organizations.get_paginator("list_accounts").paginate():
            accounts += [each["Id"] for each in page["Accounts"]]
        await asyncio.gather(*(census.one(account) for account in accounts))


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as pools:
        asyncio.run(main(sys.argv[1].split(","), pools, int(sys.argv[3])))
