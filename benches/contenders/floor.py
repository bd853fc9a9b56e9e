"""The floor: bare aiohttp, its own signatures, orjson, and no safety whatever.

It makes the calls that a census makes, with as many in flight, and writes the pools as lines. It retries
nothing, checks nothing, keeps no ledger and would not notice a page that is cut off.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import sys
import time
from urllib.parse import urlencode

import aiohttp
import orjson

URL = os.environ["AWS_ENDPOINT_URL"] + "/"
HOST = URL.split("/")[2]
CALLER = (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], "")
ROLE = "PoolCensusReader"
OPT_IN = {"af-south-1", "il-central-1", "ap-southeast-5"}
JSON = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded; charset=utf-8"

Keys = tuple[str, str, str]


def sign(
    service: str, region: str, keys: Keys, body: bytes, content_type: str, target: str = "", path: str = "/"
) -> dict[str, str]:
    """The headers of a request, signed."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    headers = {"content-type": content_type, "host": HOST, "x-amz-date": stamp}
    if keys[2]:
        headers["x-amz-security-token"] = keys[2]
    if target:
        headers["x-amz-target"] = target
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"POST\n{path}\n\n{lines}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + keys[1].encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys[0]}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


class Floor:
    """The run: a queue of targets and a number of workers."""

    def __init__(self, session: aiohttp.ClientSession, regions: list[str], out: str) -> None:
        self.session = session
        self.regions = regions
        self.out = open(out, "wb")  # noqa: SIM115 - closed at the end of the run
        self.queue: asyncio.Queue[tuple[str, str, Keys] | None] = asyncio.Queue()
        self.pools = 0

    async def post(self, headers: dict[str, str], body: bytes, path: str = "") -> bytes:
        """One call."""
        async with self.session.post(URL + path, data=body, headers=headers) as response:
            return await response.read()

    async def account(self, account: str, gate: asyncio.Semaphore) -> None:
        """Assume the account's role, ask for its regions, and queue its targets."""
        keys = CALLER
        async with gate:
            if account != "000000000001":
                body = urlencode(
                    {
                        "Action": "AssumeRole",
                        "Version": "2011-06-15",
                        "RoleArn": f"arn:aws:iam::{account}:role/{ROLE}",
                        "RoleSessionName": "floor",
                    }
                ).encode()
                reply = (await self.post(sign("sts", "us-east-1", CALLER, body, FORM), body)).decode()
                found = [
                    re.search(f"<{name}>(.*?)</{name}>", reply)
                    for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
                ]
                keys = (found[0][1], found[1][1], found[2][1])  # type: ignore[index] # no safety
            if OPT_IN.intersection(self.regions):
                headers = sign("account", "us-east-1", keys, b"{}", "application/json", path="/listRegions")
                await self.post(headers, b"{}", "listRegions")
        for region in self.regions:
            self.queue.put_nowait((account, region, keys))

    async def worker(self) -> None:
        """Take targets and read their pages."""
        while (target := await self.queue.get()) is not None:
            account, region, keys = target
            request: dict[str, object] = {"Limit": 25}
            while True:
                body = orjson.dumps(request)
                headers = sign(
                    "workspaces", region, keys, body, JSON, "WorkspacesService.DescribeWorkspacesPools"
                )
                page = orjson.loads(await self.post(headers, body))
                for pool in page["WorkspacesPools"]:
                    self.out.write(orjson.dumps({"account_id": account, "region": region, "pool": pool}) + b"\n")
                    self.pools += 1
                if not page.get("NextToken"):
                    break
                request["NextToken"] = page["NextToken"]

    async def run(self, concurrency: int) -> None:
        """List the accounts and read them all."""
        workers = [asyncio.create_task(self.worker()) for _ in range(concurrency)]
        gate = asyncio.Semaphore(concurrency)
        accounts = []
        request: dict[str, object] = {}
        while True:
            body = orjson.dumps(request)
            target = "AWSOrganizationsV20161128.ListAccounts"
            page = orjson.loads(
                await self.post(sign("organizations", "us-east-1", CALLER, body, JSON, target), body)
            )
            accounts += [asyncio.create_task(self.account(each["Id"], gate)) for each in page["Accounts"]]
            if not page.get("NextToken"):
                break
            request["NextToken"] = page["NextToken"]
        await asyncio.gather(*accounts)
        for _ in workers:
            self.queue.put_nowait(None)
        await asyncio.gather(*workers)
        self.out.close()


async def main(regions: str, out: str, concurrency: str) -> None:
    """Read everything."""
    connector = aiohttp.TCPConnector(limit=int(concurrency))
    async with aiohttp.ClientSession(connector=connector) as session:
        floor = Floor(session, regions.split(","), out)
        await floor.run(int(concurrency))
    print(floor.pools)


asyncio.run(main(*sys.argv[1:4]))
