"""AWS as one run sees it: everything that makes calls, opened together and closed together."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.client import Client
from poolcensus.aws.confirmation import ConfirmationElsewhere
from poolcensus.aws.credentials.broker import CredentialBroker
from poolcensus.aws.credentials.chain_credentials import ChainCredentials
from poolcensus.aws.credentials.identity import ask_anything, identify, identity_of
from poolcensus.aws.credentials.profiles import open_profiles
from poolcensus.aws.credentials.roles import roles_of, session_of
from poolcensus.aws.credentials.sts import StsEndpoints, second_sts_region, sts_region
from poolcensus.aws.organizations import Organization
from poolcensus.aws.pages import PageReader
from poolcensus.aws.region_status.calls import IAM_ACTIONS
from poolcensus.aws.region_status.status import RegionStatus
from poolcensus.aws.sdk.access import Sdk
from poolcensus.aws.signing import Clock
from poolcensus.aws.telemetry import CallTelemetry
from poolcensus.aws.transport.fast import FastTransport
from poolcensus.aws.transport.files import most_connections
from poolcensus.aws.transport.tls import Trust
from poolcensus.config import TransportKind
from poolcensus.errors import SettingsError
from poolcensus.flow.breaker import CircuitBreakers
from poolcensus.flow.concurrency import ConcurrencyLimiter
from poolcensus.flow.rate import RateLimits
from poolcensus.flow.retry import Retrier, RetryPolicy
from poolcensus.flow.windows import Pauses
from poolcensus.loops import in_thread, require_asyncio
from poolcensus.partitions import partitions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from poolcensus.aws.credentials.patience import Waiting
    from poolcensus.aws.credentials.roles import RoleOverride
    from poolcensus.aws.transport.protocol import Transport
    from poolcensus.aws.transport.sdk import SdkTransport
    from poolcensus.config import Settings
    from poolcensus.model import Caller
    from poolcensus.operations import Operation, Query
    from poolcensus.tracing import Tracing

_log = logging.getLogger("poolcensus")

_FIRST_STS = "us-east-1"
# What the SDK wants to see before it forms a request. It is forgotten with the body.
_ANY_ROLE = {"RoleArn": "arn:aws:iam::000000000000:role/any", "RoleSessionName": "any"}


class Aws(msgspec.Struct, frozen=True):
    """What a run asks AWS through. `ask_anything` makes a call that AWS answers if it can be reached."""

    caller: Caller
    client: Client
    broker: CredentialBroker
    organization: Organization
    region_status: RegionStatus
    reader: PageReader
    ask_anything: Callable[[], Awaitable[None]]

    def forget(self, account_id: str) -> None:
        """Drop an account's credentials and region status: it has no target left."""
        self.broker.forget(account_id)
        self.region_status.forget(account_id)
        self.client.forget(account_id)


class CallerSession(msgspec.Struct, frozen=True):
    """The SDK's configuration has been read and holds credentials. No call has been made of ours."""

    sdk: Sdk
    credentials: ChainCredentials
    trust: Trust


@asynccontextmanager
async def open_caller(settings: Settings) -> AsyncIterator[CallerSession]:
    """Read the SDK's configuration and walk its credential chain.

    Raises SettingsError for a profile that is not there, CredentialsError where there are none, and another
    FatalError where the system can't read the configuration.
    """
    require_asyncio()
    async with Sdk(profile=settings.profile, endpoint_url=settings.endpoint_url) as sdk:
        credentials = ChainCredentials(sdk)
        await credentials.first()
        yield CallerSession(sdk, credentials, Trust(sdk.ca_bundle))


def open_limiter(settings: Settings) -> ConcurrencyLimiter:
    """Return the places for calls of a run, no more than it may have files open.

    Raises FatalError where there is room for none.
    """
    places = min(settings.concurrency, most_connections())
    if places < settings.concurrency:
        _log.info("the limit on open files allows %d calls at a time (ulimit -n raises it)", places)
    return ConcurrencyLimiter(
        total=places,
        per_account=settings.per_account,
        per_region=settings.per_region,
    )


@asynccontextmanager
async def open_aws(
    settings: Settings,
    session: CallerSession,
    operation: Operation,
    query: Query,
    tracing: Tracing | None,
    *,
    limiter: ConcurrencyLimiter,
    concurrent_runs: int,
    overrides: Mapping[str, RoleOverride],
    waiting: Waiting | None,
) -> AsyncIterator[Aws]:
    """Open AWS for a run that takes a census of an operation: the transport, and who the caller is.

    `limiter` has the places for calls, of which others may take some too. `concurrent_runs` is how many go on
    as the same caller, whose own limits each takes its part of. `overrides` are the accounts, by ID,
    that have a role, an external ID or a profile of their own. With `waiting`, a network that is away is
    waited for, and said there.
    Raises SettingsError for a profile that can't be read and a role in another partition, CredentialsError or
    another FatalError. On leaving, every connection is closed.
    """
    sdk, caller_credentials = session.sdk, session.credentials
    async with AsyncExitStack() as stack:
        transport = await stack.enter_async_context(await _transport(settings, session.trust))
        breakers = CircuitBreakers(accounts=settings.give_up_region_after)
        stack.callback(breakers.close)
        policy = RetryPolicy(max_attempts=settings.max_attempts)
        client = Client(
            transport=transport,
            clock=Clock(),
            retrier=Retrier(policy),
            limiter=limiter,
            rates=RateLimits(concurrent_runs),
            pauses=Pauses(),
            breakers=breakers,
            attempt_timeout=settings.attempt_timeout,
            observer=CallTelemetry.of_run(tracing),
        )
        configured = settings.sts_region or sdk.region
        asked = configured or _FIRST_STS
        # A service model of no use is told before anything is called.
        await sdk.template(operation.service, asked, operation.method)
        sdks = await sdk.of_profiles(
            {each.profile: account_id for account_id, each in overrides.items() if each.profile is not None}
        )
        caller, answered = await identify(
            sdk,
            client,
            caller_credentials,
            asked,
            second_sts_region(asked),
            waiting=waiting,
            configured=configured is not None,
        )
        if concurrent_runs > 1:
            client.limiter.bound(caller.account_id, max(settings.per_account // concurrent_runs, 1))
        moved = answered != asked
        home = answered if moved else sts_region(caller.partition, sdk.region)
        sts = _sts_endpoints(sdk, client, policy, settings, caller=caller, home=home, moved=moved)
        client.confirmation = ConfirmationElsewhere(sdk, client, _always_on(home, caller, operation))
        profiles = await stack.enter_async_context(
            open_profiles(
                sdks,
                identify=lambda source: identity_of(sdk, client, source, sts.region),
                work=client.work,
            )
        )
        broker = CredentialBroker(
            sts=sts,
            caller=caller,
            caller_credentials=caller_credentials,
            roles=roles_of(settings, caller, overrides),
            session=session_of(settings, caller, (operation.iam_action, *IAM_ACTIONS)),
            profiles=profiles,
        )
        region_status = RegionStatus(
            sdk,
            client,
            broker,
            caller,
            home,
            source=settings.region_status,
            max_age=settings.region_status_max_age,
            concurrent_runs=concurrent_runs,
        )
        stack.push_async_callback(region_status.close)
        yield Aws(
            caller=caller,
            client=client,
            broker=broker,
            organization=Organization(
                sdk, client, caller_credentials, caller, home, concurrent_runs=concurrent_runs
            ),
            region_status=region_status,
            reader=PageReader(sdk, client, operation, query),
            ask_anything=partial(ask_anything, sdk, client, caller_credentials, home),
        )


def _sts_endpoints(
    sdk: Sdk,
    client: Client,
    policy: RetryPolicy,
    settings: Settings,
    *,
    caller: Caller,
    home: str,
    moved: bool,
) -> StsEndpoints:
    """Return where roles are assumed: in the region that the settings name, or else in the run's `home`.

    Another region is called where STS in that one is off or does not answer. If that was so when STS was
    asked who the caller is, `moved`, its `home` is the other region, and the only one that is called.
    Raises SettingsError where the settings name a region that is none of the caller's partition.
    """
    named = _sts_region(settings, caller) or home
    return StsEndpoints(
        client,
        partial(sdk.template, "sts", method="assume_role", sample=_ANY_ROLE),
        policy,
        region=home if moved else named,
        second=None if moved else second_sts_region(named),
    )


def _always_on(region: str, caller: Caller, operation: Operation) -> str:
    """Return a region with the operation that every account has enabled: the given one, or the first."""
    known = partitions().get(caller.partition)
    if known is None:
        return region
    regions = (each for each in (region, *operation.regions(known)) if each not in known.opt_in)
    return next((each for each in regions if operation.offered_in(each)), region)


def _sts_region(settings: Settings, caller: Caller) -> str | None:
    """Return the region that is set. Raises SettingsError where it is none of the caller's partition."""
    region = settings.sts_region
    if (
        region is not None
        and region not in settings.extra_regions
        and sts_region(caller.partition, region) != region
    ):
        raise SettingsError(
            f"`sts_region`: {region} is not in {caller.partition}, the partition of the caller's credentials"
        )
    return region


async def _transport(settings: Settings, trust: Trust) -> Transport:
    if settings.transport is TransportKind.FAST:
        return FastTransport(connect_timeout=settings.connect_timeout, trust=trust)
    make = await in_thread(_load_sdk_transport)
    return make(
        profile=settings.profile,
        endpoint_url=settings.endpoint_url,
        connect_timeout=settings.connect_timeout,
        trust=trust,
    )


def _load_sdk_transport() -> type[SdkTransport]:
    # The asynchronous SDK takes a good 100 ms, for those who ask for it alone.
    from poolcensus.aws.transport.sdk import SdkTransport  # noqa: PLC0415 - slow to import

    return SdkTransport
