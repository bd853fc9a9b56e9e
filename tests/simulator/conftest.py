"""A simulator in a thread of its own, and a client that signs with botocore and returns raw replies."""

from __future__ import annotations

import asyncio
import gc
import http.client
import threading
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import boto3
import orjson
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from poolcensus.simulator import Simulator, SimulatorConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POOLS = "WorkspacesService.DescribeWorkspacesPools"


class Start(Protocol):
    """Starts a simulator, which ends with the test."""

    def __call__(self, config: SimulatorConfig | None = None, **options: Any) -> Running: ...


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["__type"]).rpartition("#")[2]


class VirtualClock:
    """A monotonic clock that a test moves. It starts at any time, as that of a machine does."""

    now = 5000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Running:
    """A running simulator, and methods that call it."""

    simulator: Simulator
    loop: asyncio.AbstractEventLoop
    session: boto3.Session
    clients: list[Any] = field(default_factory=list)

    @property
    def caller(self) -> Credentials:
        return Credentials(self.simulator.access_key_id, self.simulator.secret_access_key)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.simulator.endpoint_url)
        return parts.hostname or "", parts.port or 0

    @property
    def host(self) -> str:
        return urlsplit(self.simulator.endpoint_url).netloc

    def pass_time(self, seconds: float) -> None:
        """Set the clock of the simulator's event loop ahead, and return after the due timers have run."""

        async def leap() -> None:
            time_before = self.loop.time
            self.loop.time = lambda: time_before() + seconds  # type: ignore[method-assign]
            # One turn of the loop finds the due timers, and another closes their connections.
            for _ in range(3):
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(leap(), self.loop).result(10)

    def client(
        self, service: str, credentials: Credentials | None = None, region: str = "us-east-1", **options: Any
    ) -> Any:
        chosen = credentials or self.caller
        client = self.session.client(
            service,
            region_name=region,
            endpoint_url=self.simulator.endpoint_url,
            aws_access_key_id=chosen.access_key,
            aws_secret_access_key=chosen.secret_key,
            aws_session_token=chosen.token,
            config=Config(retries={"total_max_attempts": 1}, **options),
        )
        self.clients.append(client)
        return client

    def assume(self, account: str, **arguments: str) -> Credentials:
        reply = self.client("sts").assume_role(
            RoleArn=self.simulator.world.role_arn(account), RoleSessionName="census", **arguments
        )["Credentials"]
        return Credentials(reply["AccessKeyId"], reply["SecretAccessKey"], reply["SessionToken"])

    def signed(
        self,
        body: bytes = b"{}",
        *,
        credentials: Credentials | None = None,
        region: str = "us-east-1",
        service: str = "workspaces",
        target: str | None = POOLS,
        path: str = "/",
    ) -> dict[str, str]:
        """Return the signed headers of a POST."""
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        if target is not None:
            headers["X-Amz-Target"] = target
        request = AWSRequest("POST", self.simulator.endpoint_url + path, data=body, headers=headers)
        SigV4Auth(credentials or self.caller, service, region).add_auth(request)
        return dict(request.headers.items())

    def send(self, body: bytes, headers: dict[str, str], path: str = "/") -> Reply:
        connection = http.client.HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return Reply(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def pools(
        self,
        query: dict[str, Any] | bytes | None = None,
        credentials: Credentials | None = None,
        **signing: Any,
    ) -> Reply:
        """Call DescribeWorkspacesPools and return the raw reply."""
        body = query if isinstance(query, bytes) else orjson.dumps(query or {})
        return self.send(body, self.signed(body, credentials=credentials, **signing))

    def get(self, path: str, method: str = "GET") -> Reply:
        connection = http.client.HTTPConnection(*self.address, timeout=5)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


@pytest.fixture(scope="session")
def boto_session() -> boto3.Session:
    session = boto3.Session()
    for service in ("sts", "organizations", "account", "ec2", "workspaces", "s3"):
        session.client(service, "us-east-1", aws_access_key_id="none", aws_secret_access_key="none").close()
    # The models stay loaded to the end. Exclude them from the garbage collections of every test.
    gc.collect()
    gc.freeze()
    return session


@pytest.fixture(autouse=True)
def settled(request: pytest.FixtureRequest) -> Iterator[None]:
    """Wait until a simulator that outlives the test has closed the connections of the test.

    It closes them shortly after the client, whose streams are closed when they are collected.
    """
    kept: list[Simulator] = []
    if "simulator" in request.fixturenames:
        kept.append(request.getfixturevalue("simulator"))
    if "running" in request.fixturenames:
        kept.append(request.getfixturevalue("running").simulator)
    yield
    if kept:
        gc.collect()
    deadline = time.monotonic() + 5
    while any(each.stats.open_connections for each in kept) and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture(scope="session")
def open_simulator(
    boto_session: boto3.Session,
) -> Callable[..., AbstractContextManager[Running]]:
    @contextmanager
    def run(config: SimulatorConfig | None = None, **options: Any) -> Iterator[Running]:
        ready = threading.Event()
        box: list[tuple[Simulator, asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def main() -> None:
            stop = asyncio.Event()
            async with Simulator(config, **options) as simulator:
                box.append((simulator, asyncio.get_running_loop(), stop))
                ready.set()
                await stop.wait()

        thread = threading.Thread(target=asyncio.run, args=(main(),))
        thread.start()
        assert ready.wait(10)
        simulator, loop, stop = box[0]
        running = Running(simulator, loop, boto_session)
        try:
            yield running
        finally:
            for client in running.clients:
                client.close()
            loop.call_soon_threadsafe(stop.set)
            thread.join(10)

    return run


@pytest.fixture
def start(
    open_simulator: Callable[..., AbstractContextManager[Running]],
) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(config: SimulatorConfig | None = None, **options: Any) -> Running:
            return stack.enter_context(open_simulator(config, **options))

        yield begin
