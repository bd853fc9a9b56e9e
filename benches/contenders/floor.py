"""The floor: bare aiohttp, signatures of its own, orjson, and no safety at all.

It makes the calls of a census, with the same number in flight, and writes the pools as lines of JSON. It
retries nothing, checks nothing, keeps no ledger and would not notice a truncated page.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import ssl
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode

import aiohttp
import orjson

URL = os.environ["AWS_ENDPOINT_URL"] + "/"
HOST = URL.split("/")[2]
TLS = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE")) if URL.startswith("https:") else True
CALLER = (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], "")
ROLE = "PoolCensusReader"
OPT_IN = {"af-south-1", "il-central-1", "ap-southeast-5"}
JSON = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
REST = "application/json"
ACCOUNTS = "AWSOrganizationsV20161128.ListAccounts"
POOLS = "WorkspacesService.DescribeWorkspacesPools"

Keys = tuple[str, str, str]


@lru_cache(maxsize=1 << 16)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Return the signing key for a day, a region and a service."""
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(
    service: str,
    region: str,
    keys: Keys,
    body: bytes,
    *,
    content_type: str = JSON,
    target: str = "",
    path: str = "/",
) -> dict[str, str]:
    """Return the headers of a request, including its signature."""
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
    key = signing_key(keys[1], stamp[:8], region, service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys[0]}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


class Floor:
    """The run: a queue of targets and a number of workers."""

    def __init__(self, session: aiohttp.ClientSession, regions: list[str], out: BinaryIO) -> None:
        self.session = session
        self.regions = regions
        self.out = out
        self.queue: asyncio.Queue[tuple[str, str, Keys] | None] = asyncio.Queue()

    async def post(self, headers: dict[str, str], body: bytes, path: str = "") -> bytes:
        """Make one call, and return the body of the reply."""
        async with self.session.post(URL + path, data=body, headers=headers) as response:
            return await response.read()

    async def account(self, account: str, gate: asyncio.Semaphore) -> None:
        """Assume the role of an account, list its regions, and queue its targets."""
        async with gate:
            keys = CALLER if account == "000000000001" else await self.role(account)
            if OPT_IN.intersection(self.regions):
                body = b"{}"
                headers = sign("account", "us-east-1", keys, body, content_type=REST, path="/listRegions")
                await self.post(headers, body, "listRegions")
        for region in self.regions:
            self.queue.put_nowait((account, region, keys))

    async def role(self, account: str) -> Keys:
        """Return credentials of the account's role."""
        request = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": f"arn:aws:iam::{account}:role/{ROLE}",
            "RoleSessionName": "floor",
        }
        body = urlencode(request).encode()
        reply = (await self.post(sign("sts", "us-east-1", CALLER, body, content_type=FORM), body)).decode()
        key_id, secret, token = (
            re.findall(f"<{name}>(.*?)</{name}>", reply)[0]
            for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
        )
        return key_id, secret, token

    async def worker(self) -> None:
        """Take targets from the queue, and write their pools."""
        while (target := await self.queue.get()) is not None:
            account, region, keys = target
            request: dict[str, object] = {"Limit": 25}
            while True:
                body = orjson.dumps(request)
                page = orjson.loads(
                    await self.post(sign("workspaces", region, keys, body, target=POOLS), body)
                )
                for pool in page["WorkspacesPools"]:
                    line = {"account_id": account, "region": region, "pool": pool}
                    self.out.write(orjson.dumps(line) + b"\n")
                if not page.get("NextToken"):
                    break
                request["NextToken"] = page["NextToken"]

    async def run(self, concurrency: int) -> None:
        """List the accounts, and read all of their targets."""
        workers = [asyncio.create_task(self.worker()) for _ in range(concurrency)]
        gate = asyncio.Semaphore(concurrency)
        accounts = []
        request: dict[str, object] = {}
        while True:
            body = orjson.dumps(request)
            headers = sign("organizations", "us-east-1", CALLER, body, target=ACCOUNTS)
            page = orjson.loads(await self.post(headers, body))
            accounts += [asyncio.create_task(self.account(each["Id"], gate)) for each in page["Accounts"]]
            if not page.get("NextToken"):
                break
            request["NextToken"] = page["NextToken"]
        await asyncio.gather(*accounts)
        for _ in workers:
            self.queue.put_nowait(None)
        await asyncio.gather(*workers)


async def main(regions: list[str], out: BinaryIO, concurrency: int) -> None:
    """Write the pools of all accounts."""
    connector = aiohttp.TCPConnector(limit=concurrency, ssl=TLS)
    async with aiohttp.ClientSession(connector=connector) as session:
        await Floor(session, regions, out).run(concurrency)


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as pools:
        asyncio.run(main(sys.argv[1].split(","), pools, int(sys.argv[3])))
