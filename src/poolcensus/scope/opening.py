"""What a run begins with: the caller, the accounts' source and the regions, made from the settings."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.session import open_aws, open_caller
from poolcensus.config.external_id import with_external_id
from poolcensus.loops import in_thread
from poolcensus.operations import Query
from poolcensus.scope.account_file import AccountEntry, read_accounts
from poolcensus.scope.accounts import AccountChoice, AccountListing
from poolcensus.scope.regions import RegionChoice, choose_regions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from poolcensus.aws.session import Aws, CallerSession
    from poolcensus.config import Settings
    from poolcensus.flow.concurrency import ConcurrencyLimiter
    from poolcensus.operations import Operation
    from poolcensus.tracing import Tracing


class Prepared(msgspec.Struct, frozen=True):
    """What is read before the first call: the caller's session, and the accounts of a file."""

    settings: Settings
    session: CallerSession
    from_file: tuple[AccountEntry, ...]
    tracing: Tracing | None


class Shared(msgspec.Struct):
    """What the Organizations of one run have in common: places for calls, and whose each account is."""

    limiter: ConcurrencyLimiter | None = None
    owners: dict[str, str | None] = msgspec.field(default_factory=dict)


class Opened(msgspec.Struct, frozen=True):
    """Whom a run asks, and where: the connections to AWS, the listing of accounts, and the regions.

    `name` is what the settings call the Organization, in a run of several.
    """

    name: str | None
    aws: Aws
    listing: AccountListing
    regions: RegionChoice
    tracing: Tracing | None


@asynccontextmanager
async def prepare(settings: Settings, tracing: Tracing | None) -> AsyncIterator[Prepared]:
    """Read everything that settings point at, for a run that is traced or not. Makes no call."""
    source = settings.accounts_from
    settings = await in_thread(with_external_id, settings)
    from_file = () if source in {"organization", "self"} else await in_thread(read_accounts, source)
    async with open_caller(settings) as session:
        yield Prepared(settings, session, from_file, tracing)


@asynccontextmanager
async def open_run(
    operation: Operation, prepared: Prepared, *, name: str | None = None, shared: Shared | None = None
) -> AsyncIterator[Opened]:
    """Open the connections to AWS. Raises a FatalError where the caller or the regions can't be told.

    `name` and `shared` are for one of several Organizations.
    """
    settings = prepared.settings
    shared = shared or Shared()
    choice = AccountChoice(
        source=settings.accounts_from,
        from_file=prepared.from_file,
        include=frozenset(settings.accounts),
        exclude=frozenset(settings.exclude_accounts),
        units=settings.ous,
        exclude_units=settings.exclude_ous,
        tags=frozenset(settings.account_tags),
        shard=settings.shard,
    )
    query = Query(settings.pool_ids, tuple(each.parameter for each in settings.filters), settings.page_size)
    async with open_aws(
        settings, prepared.session, operation, query, prepared.tracing, limiter=shared.limiter
    ) as aws:
        shared.limiter = aws.channel.limiter
        regions = choose_regions(
            operation,
            aws.caller.partition,
            settings.regions,
            settings.exclude_regions,
            settings.extra_regions,
        )
        listing = AccountListing(choice, aws.caller, aws.organization, name=name, owners=shared.owners)
        yield Opened(name, aws, listing, regions, prepared.tracing)
