"""The lower floor: asyncio's protocols, own signatures, orjson; no HTTP library, and no safety whatever.

It makes the calls of the floor and writes the pools as lines. A request is written in one piece, and its
reply is what Content-Length announces. A status other than 200 or a connection that closes ends the run.
Nothing is retried, there is no ledger, and of a page it knows only that orjson can read it.
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
from collections.abc import Callable, Coroutine
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, TypeAlias
from urllib.parse import urlencode, urlsplit

import orjson

URL = urlsplit(os.environ["AWS_ENDPOINT_URL"])
HOST, PORT = URL.hostname or "", URL.port or (443 if URL.scheme == "https" else 80)
# With TLS every connection has one context: loading the authorities takes longer than a handshake.
TLS = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE")) if URL.scheme == "https" else None
CALLER = (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], "")
ROLE = "PoolCensusReader"
OPT_IN = {"af-south-1", "il-central-1", "ap-southeast-5"}
JSON = "application/x-amz-json-1.1"
FORM = "application/x-www-form-urlencoded; charset=utf-8"
REST = "application/json"
ACCOUNTS = "AWSOrganizationsV20161128.ListAccounts"
POOLS = "WorkspacesService.DescribeWorkspacesPools"

Keys: TypeAlias = tuple[str, str, str]


@lru_cache(maxsize=1 << 16)
def day_key(secret: str, day: str) -> bytes:
    """Return what all signing keys of a secret begin with on one day."""
    return hmac.digest(b"AWS4" + secret.encode(), day.encode(), "sha256")


@lru_cache(maxsize=1 << 16)
def signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Return the key that a day's calls of one service in one region are signed with."""
    key = day_key(secret, day)
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


@lru_cache(maxsize=1)
def stamp(seconds: int) -> str:
    """Return a time as signatures have it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def signed(
    service: str,
    region: str,
    keys: Keys,
    body: bytes,
    *,
    content_type: str = JSON,
    target: str = "",
    path: str = "/",
) -> bytes:
    """Return a request as it goes over the wire, with its signature."""
    now = stamp(int(time.time()))
    headers, names = f"content-type:{content_type}\nhost:{URL.netloc}\nx-amz-date:{now}\n", ""
    if keys[2]:
        headers, names = f"{headers}x-amz-security-token:{keys[2]}\n", ";x-amz-security-token"
    if target:
        headers, names = f"{headers}x-amz-target:{target}\n", f"{names};x-amz-target"
    names = f"content-type;host;x-amz-date{names}"
    canonical = f"POST\n{path}\n\n{headers}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = signing_key(keys[1], now[:8], region, service)
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    head = headers.replace("\n", "\r\n")
    return (
        f"POST {path} HTTP/1.1\r\n{head}content-length:{len(body)}\r\nauthorization:AWS4-HMAC-SHA256 "
        f"Credential={keys[0]}/{scope}, SignedHeaders={names}, Signature={signature}\r\n\r\n"
    ).encode() + body


class Connection(asyncio.Protocol):
    """A connection that is kept open, with one call at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self.received = b""
        self.head = self.size = 0
        self.reply: asyncio.Future[bytes] | None = None

    async def call(self, request: bytes) -> bytes:
        """Send a request, over a new connection if there is none, and return the reply's body."""
        loop = asyncio.get_running_loop()
        if self.transport is None:
            self.transport, _ = await loop.create_connection(lambda: self, HOST, PORT, ssl=TLS)
        self.reply = loop.create_future()
        self.transport.write(request)
        return await self.reply

    def data_received(self, data: bytes) -> None:
        """Add to the reply; it is whole when it has the length that it announced."""
        self.received = self.received + data if self.received else data
        if not self.size:
            end = self.received.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            head = self.received[:end].lower()
            length = head.index(b"\r\ncontent-length:") + 17
            self.head, self.size = end, end + int(head[length : head.index(b"\r", length)])
        if len(self.received) >= self.size and self.reply is not None:
            body, status = self.received[self.head : self.size], self.received[9:12]
            self.received, self.size = b"", 0
            if status == b"200":
                self.reply.set_result(body)
            else:
                self.reply.set_exception(RuntimeError(body.decode()))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the call that waits."""
        if self.reply is not None and not self.reply.done():
            self.reply.set_exception(error or ConnectionError("closed by the other side"))


Job: TypeAlias = Callable[[Connection], Coroutine[None, None, None]]


class LowerFloor:
    """The run: a queue of jobs, and workers with a connection each."""

    def __init__(self, regions: list[str], out: BinaryIO) -> None:
        self.always_on = [region for region in regions if region not in OPT_IN]
        self.opt_in = [region for region in regions if region in OPT_IN]
        self.out = out
        self.queue: asyncio.Queue[Job | None] = asyncio.Queue()

    async def list_accounts(self, connection: Connection) -> None:
        """Queue every account as soon as its page is there."""
        request: dict[str, object] = {}
        while True:
            body = orjson.dumps(request)
            request_bytes = signed("organizations", "us-east-1", CALLER, body, target=ACCOUNTS)
            page = orjson.loads(await connection.call(request_bytes))
            for each in page["Accounts"]:
                self.queue.put_nowait(self.account(each["Id"]))
            if not page.get("NextToken"):
                return
            request["NextToken"] = page["NextToken"]

    def account(self, account: str) -> Job:
        """Return the job that assumes an account's role, asks for its regions and queues its targets."""

        async def job(connection: Connection) -> None:
            keys = CALLER if account == "000000000001" else await role(connection, account)
            for region in self.always_on:
                self.queue.put_nowait(self.target(account, region, keys))
            if self.opt_in:
                body = b"{}"
                await connection.call(
                    signed("account", "us-east-1", keys, body, content_type=REST, path="/listRegions")
                )
            for region in self.opt_in:
                self.queue.put_nowait(self.target(account, region, keys))

        return job

    def target(self, account: str, region: str, keys: Keys) -> Job:
        """Return the job that reads the pages of one account in one region."""

        async def job(connection: Connection) -> None:
            request: dict[str, object] = {"Limit": 25}
            while True:
                body = orjson.dumps(request)
                page = orjson.loads(
                    await connection.call(signed("workspaces", region, keys, body, target=POOLS))
                )
                for pool in page["WorkspacesPools"]:
                    line = {"account_id": account, "region": region, "pool": pool}
                    self.out.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                if not page.get("NextToken"):
                    return
                request["NextToken"] = page["NextToken"]

        return job

    async def worker(self) -> None:
        """Do one job after the other over one connection."""
        connection = Connection()
        while (job := await self.queue.get()) is not None:
            await job(connection)
            self.queue.task_done()
        if connection.transport is not None:
            connection.transport.close()

    async def run(self, concurrency: int) -> None:
        """List the accounts and read them all."""
        self.queue.put_nowait(self.list_accounts)
        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(self.worker())
            await self.queue.join()
            for _ in range(concurrency):
                self.queue.put_nowait(None)


async def role(connection: Connection, account: str) -> Keys:
    """Return the credentials of an account's role."""
    request = {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": f"arn:aws:iam::{account}:role/{ROLE}",
        "RoleSessionName": "lower-floor",
    }
    body = urlencode(request).encode()
    reply = (await connection.call(signed("sts", "us-east-1", CALLER, body, content_type=FORM))).decode()
    key_id, secret, token = (
        re.findall(f"<{name}>(.*?)</{name}>", reply)[0]
        for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")
    )
    return key_id, secret, token


if __name__ == "__main__":
    with Path(sys.argv[2]).open("wb") as pools:
        asyncio.run(LowerFloor(sys.argv[1].split(","), pools).run(int(sys.argv[3])))
