"""The server of the simulator: its configuration, start and end."""

from __future__ import annotations

import asyncio
import gc
import time
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from poolcensus.signals import ENDING
from poolcensus.simulator.application import Service, SimulatorApplication
from poolcensus.simulator.bounds import MANY, Bounds, FieldError, check_bounds
from poolcensus.simulator.connection import Connection
from poolcensus.simulator.control import Control
from poolcensus.simulator.credentials import CredentialStore
from poolcensus.simulator.faults import Fault, Injector
from poolcensus.simulator.latency import Clockwork, Latency
from poolcensus.simulator.limits import Limiter, Limits
from poolcensus.simulator.s3 import S3
from poolcensus.simulator.services.account import AccountManagement
from poolcensus.simulator.services.ec2 import Ec2
from poolcensus.simulator.services.organizations import Organizations
from poolcensus.simulator.services.sts import Sts
from poolcensus.simulator.services.workspaces import WorkSpaces
from poolcensus.simulator.sigv4 import Verifier
from poolcensus.simulator.stats import Stats
from poolcensus.simulator.tokens import TokenMint
from poolcensus.simulator.unauthorized import denied_by
from poolcensus.simulator.world import World, WorldConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from poolcensus.simulator.http import Request
    from poolcensus.simulator.refusal import RefusalError

SERVICES = ("account", "ec2", "organizations", "s3", "sts", "workspaces")
_BACKLOG = 4096
# About thirty years either way, so that every time can be represented as a datetime.
_CLOCK = Bounds(-MANY, MANY)
# More seconds than lie between any two dates that a signature can have.
_WINDOW = Bounds(0, 10**12)
# Turns of the event loop in which a connection that is being accepted gets its task, its transport and its
# protocol, which then aborts it.
_TURNS_TO_CLOSE = 4
_WANTED_ACCOUNT = "must be the 12-digit ID of an account of the Organization"


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """What is simulated, and where the simulator listens."""

    world: WorldConfig = field(default_factory=WorldConfig)
    latency: Latency = field(default_factory=Latency)
    limits: Limits = field(default_factory=Limits)
    faults: tuple[Fault, ...] = field(default=(), metadata={"help": "rules for calls that go wrong"})
    host: str = field(default="127.0.0.1", metadata={"help": "address to listen on"})
    port: int = field(
        default=0, metadata={"bounds": Bounds(0, 65_535), "help": "port to listen on; 0: any free one"}
    )
    clock_offset: float = field(
        default=0.0,
        metadata={"bounds": _CLOCK, "help": "seconds that the simulated clock is ahead of this machine's"},
    )
    signature_window: float = field(
        default=300.0,
        metadata={"bounds": _WINDOW, "help": "seconds by which the date of a signature may be off"},
    )
    session_seconds: float | None = field(
        default=None,
        metadata={"bounds": Bounds(0, MANY), "help": "how long every session lasts, whatever was asked for"},
    )
    no_organization: bool = field(
        default=False, metadata={"help": "the caller's account is in no Organization"}
    )
    empty_list_pages: bool = field(
        default=False, metadata={"help": "Organizations puts an empty page before every page"}
    )
    refuse_list_regions: bool = field(default=False, metadata={"help": "refuse account:ListRegions"})
    refuse_describe_regions: bool = field(default=False, metadata={"help": "refuse ec2:DescribeRegions"})

    def __post_init__(self) -> None:
        """Validate the configuration.

        Raises ValueError if a number is out of bounds, or if a region or an account is not simulated.
        """
        check_bounds(self)
        world, slow = self.world, self.limits.slow_account
        if slow is not None and not world.has_account(slow):
            raise FieldError("slow_account", f"{_WANTED_ACCOUNT}, not {slow!r}")
        for fault in self.faults:
            for name, account in (("account", fault.account), ("role_account", fault.role_account)):
                if account is not None and not world.has_account(account):
                    raise FieldError("fault", f"{fault.kind}: {name} {_WANTED_ACCOUNT}, not {account!r}")
            if fault.region is not None and not world.has_region(fault.region):
                wanted = f"region must be one that is simulated, not {fault.region!r}"
                raise FieldError("fault", f"{fault.kind}: {wanted}")


class Simulator:
    """A running simulator: `async with Simulator(config) as simulator`.

    `services` are added to its own or replace them, by their signing names. `monotonic` is the clock of rate
    limits and of the times of faults.
    """

    def __init__(
        self,
        config: SimulatorConfig | None = None,
        services: Mapping[str, Service] = MappingProxyType({}),
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config or SimulatorConfig()
        self.world = World(self.config.world)
        self._advanced = 0.0
        self.stats = Stats()
        seed = self.config.world.seed
        self._store = CredentialStore(seed, self.world.access.caller)
        self._injector = Injector(self.config.faults, seed, monotonic)
        self._limiter = Limiter(self.config.limits, monotonic)
        self._clockwork = Clockwork(self.config.latency, seed)
        mint = TokenMint(seed)
        self._application = SimulatorApplication(
            world=self.world,
            services={**self._services(mint), **services},
            verifier=Verifier(self._store, self.clock, window=self.config.signature_window),
            limiter=self._limiter,
            injector=self._injector,
            clockwork=self._clockwork,
            mint=mint,
            stats=self.stats,
            control=Control(self.world, self.stats, self.reset),
            clock=self.clock,
        )
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def endpoint_url(self) -> str:
        """The value for `AWS_ENDPOINT_URL`."""
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"http://{host}:{self._port}"

    @property
    def access_key_id(self) -> str:
        """The access key ID of the caller."""
        return self._store.access_key_id

    @property
    def secret_access_key(self) -> str:
        """The secret access key of the caller."""
        return self._store.secret_access_key

    def clock(self) -> float:
        """Return the simulated time in epoch seconds."""
        return time.time() + self.config.clock_offset + self._advanced

    def advance(self, seconds: float) -> None:
        """Set the simulated clock ahead, so that sessions expire sooner. Rate limits and faults stay."""
        self._advanced += seconds

    def reset(self) -> None:
        """Reset statistics, rate limits, faults and latencies. Sessions and objects of S3 stay."""
        self.stats.reset()
        self._injector.reset()
        self._limiter.reset()
        self._clockwork.reset()

    async def start(self) -> None:
        """Start to listen."""
        loop = asyncio.get_running_loop()
        self._application.serving = True
        self._server = await loop.create_server(
            lambda: Connection(self._application), self.config.host, self.config.port, backlog=_BACKLOG
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, and abort all connections."""
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        self._application.serving = False
        for connection in tuple(self._application.connections):
            connection.abort()
        # asyncio would leave open a connection that is being accepted while the server closes.
        for each in self._server.sockets:
            loop.remove_reader(each.fileno())
        for _ in range(_TURNS_TO_CLOSE):
            await asyncio.sleep(0)
        self._server.close()
        await self._server.wait_closed()
        self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _services(self, mint: TokenMint) -> dict[str, Service]:
        config = self.config
        return {
            "workspaces": WorkSpaces(self.world, mint),
            "organizations": Organizations(
                self.world, mint, exists=not config.no_organization, empty_pages=config.empty_list_pages
            ),
            "sts": Sts(self.world, self._store, self.clock, session_seconds=config.session_seconds),
            "account": AccountManagement(self.world, mint, refuse=config.refuse_list_regions),
            "ec2": Ec2(self.world, refuse=config.refuse_describe_regions),
            "s3": S3(clock=self.clock, deny=self._deny),
        }

    def _deny(self, request: Request, action: str, resource: str) -> RefusalError | None:
        denial = self.world.access.deny(request.identity.principal, action, lambda: resource, request.region)
        return None if denial is None else denied_by(denial, request, action, resource)


def serve(config: SimulatorConfig, *, on_ready: Callable[[Simulator], None]) -> None:
    """Serve until a signal ends the program. `on_ready` is called when the port is open."""
    # The process does nothing else. Its objects either live shortly or stay to the end.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    asyncio.run(_serve(config, on_ready))


async def _serve(config: SimulatorConfig, on_ready: Callable[[Simulator], None]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in ENDING:
        loop.add_signal_handler(number, stop.set)
    try:
        async with Simulator(config) as simulator:
            on_ready(simulator)
            await stop.wait()
    finally:
        for number in ENDING:
            loop.remove_signal_handler(number)
