"""Opens and closes everything that the calls of a run need."""

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
# The SDK requires these parameters to form a request. Only the body depends on them, which is not kept.
_ANY_ROLE = {"RoleArn": "arn:aws:iam::000000000000:role/any", "RoleSessionName": "any"}


class Aws(msgspec.Struct, frozen=True):
    """The access of a run to AWS. `ask_anything` makes a call to see whether AWS can be reached."""

    caller: Caller
    client: Client
    broker: CredentialBroker
    organization: Organization
    region_status: RegionStatus
    reader: PageReader
    ask_anything: Callable[[], Awaitable[None]]

    def forget(self, account_id: str) -> None:
        """Drop the credentials, region status and rates of an account that has no target left."""
        self.broker.forget(account_id)
        self.region_status.forget(account_id)
        self.client.forget(account_id)


class CallerSession(msgspec.Struct, frozen=True):
    """The caller's configuration and credentials, as the SDK finds them, before any call of the run."""

    sdk: Sdk
    credentials: ChainCredentials
    trust: Trust


@asynccontextmanager
async def open_caller(settings: Settings) -> AsyncIterator[CallerSession]:
    """Read the SDK's configuration and resolve its credential chain.

    Raises SettingsError if the profile does not exist, CredentialsError if there are no credentials, and
    another FatalError if the configuration can't be read.
    """
    require_asyncio()
    async with Sdk(profile=settings.profile, endpoint_url=settings.endpoint_url) as sdk:
        credentials = ChainCredentials(sdk)
        await credentials.first()
        yield CallerSession(sdk, credentials, Trust(sdk.ca_bundle))


def open_limiter(settings: Settings) -> ConcurrencyLimiter:
    """Return the concurrency limiter of a run, bounded by the limit on open files.

    Raises FatalError if no connection can be opened.
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
    """Open the access to AWS for a census of an operation, and find out who the caller is.

    `limiter` may be shared with other Organizations of the run. `concurrent_runs` is the number of runs as
    the same caller, which share the limits of the caller's account. `overrides` are the roles, external IDs
    and profiles of single accounts, by ID. With `waiting`, the run waits for a network that is down, and
    records there that it waits and the counts of its calls.

    Raises SettingsError for a profile that can't be read or a role in another partition, CredentialsError, or
    another FatalError. All connections are closed at the end of the block.
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
        if waiting is not None:
            waiting.calls.append(client.counts)
        configured = settings.sts_region or sdk.region
        asked = configured or _FIRST_STS
        # A custom service model that is broken is reported here, before any call.
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
    """Return the STS endpoints for AssumeRole: in the region of the settings, or else in the `home` region.

    A second region is used if STS in the first one is not activated or does not answer. If this has already
    happened with GetCallerIdentity, `moved` is true, `home` is the second region, and only it is used. Raises
    SettingsError if the region of the settings is not in the caller's partition.
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
    """Return a region that offers the operation and that every account has enabled.

    This is the given region if possible, or else the first one of the operation.
    """
    known = partitions().get(caller.partition)
    if known is None:
        return region
    regions = (each for each in (region, *operation.regions(known)) if each not in known.opt_in)
    return next((each for each in regions if operation.offered_in(each)), region)


def _sts_region(settings: Settings, caller: Caller) -> str | None:
    """Return `sts_region` of the settings. Raises SettingsError if it is not in the caller's partition."""
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
    # Importing the asynchronous SDK takes over 100 ms, and only `--transport sdk` needs it.
    from poolcensus.aws.transport.sdk import SdkTransport  # noqa: PLC0415 - slow to import

    return SdkTransport
