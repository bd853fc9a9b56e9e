"""The beginning of a run: from the settings to the caller, the listing of accounts, and the regions."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.session import open_aws, open_caller
from poolcensus.config.external_id import with_external_id
from poolcensus.config.narrowing import REGIONS, may_have_none
from poolcensus.loops import in_thread
from poolcensus.operations import Query
from poolcensus.scope.account_choice import AccountChoice, paths_among
from poolcensus.scope.account_list import AccountList, read_account_list
from poolcensus.scope.accounts import AccountListing
from poolcensus.scope.given import GivenAccounts, GivenListing
from poolcensus.scope.joined_files import FileAccounts, join_files
from poolcensus.scope.regions import RegionChoice, plan_regions
from poolcensus.scope.unmatched import none_matches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from poolcensus.aws.credentials.patience import Waiting
    from poolcensus.aws.session import Aws, CallerSession
    from poolcensus.config import Settings
    from poolcensus.errors import ScopeError
    from poolcensus.flow.concurrency import ConcurrencyLimiter
    from poolcensus.operations import Operation
    from poolcensus.scope.listing import ListsOrganization
    from poolcensus.tracing import Tracing


class Prepared(msgspec.Struct, frozen=True):
    """Everything that is read before the first call: the caller's session, and the accounts in files.

    `for_all` is the settings that narrow the accounts and regions of all Organizations of the run.
    """

    settings: Settings
    for_all: frozenset[str]
    session: CallerSession
    files: FileAccounts
    snapshot: AccountList | None
    tracing: Tracing | None


class Shared(msgspec.Struct, frozen=True):
    """State that the Organizations of a run share: the limiter of calls, and the owner of each account.

    `tables` has the names of all Organizations, and `listings` the listings of those opened so far.
    """

    limiter: ConcurrencyLimiter
    tables: tuple[str | None, ...]
    owners: dict[str, str | None] = msgspec.field(default_factory=dict)
    listings: list[AccountListing] = msgspec.field(default_factory=list)


class Opened(msgspec.Struct, frozen=True):
    """An opened Organization: the connections to AWS, the listing of its accounts, and the regions.

    `name` is its name in the settings, in a run of several, and `settings` is its own settings. `for_all` is
    those that narrow the accounts and regions of all Organizations. `lack` says why this one has none of the
    regions. `has_own_access` says that files give some accounts their own role, external ID or profile.
    """

    name: str | None
    settings: Settings
    aws: Aws
    listing: ListsOrganization
    regions: RegionChoice
    tracing: Tracing | None
    has_own_access: bool = False
    for_all: frozenset[str] = frozenset()
    lack: ScopeError | None = None


@asynccontextmanager
async def prepare(
    settings: Settings, tracing: Tracing | None, for_all: frozenset[str] = frozenset()
) -> AsyncIterator[Prepared]:
    """Read everything that the settings of an Organization refer to. Makes no call.

    `for_all` is the settings that narrow the accounts and regions of all Organizations of the run.
    """
    settings = await in_thread(with_external_id, settings)
    files = await in_thread(join_files, paths_among(settings.accounts_from), settings.extra_regions)
    written = settings.accounts_snapshot
    snapshot = await in_thread(read_account_list, str(written)) if written is not None else None
    if snapshot is not None:
        # Not `exclude_ous`: a list written with the same settings has no account of an excluded unit.
        snapshot.check_units(settings.ous)
    async with open_caller(settings) as session:
        yield Prepared(settings, for_all, session, files, snapshot, tracing)


@asynccontextmanager
async def open_run(
    operation: Operation,
    prepared: Prepared,
    shared: Shared,
    *,
    name: str | None,
    given: GivenAccounts | None = None,
    waiting: Waiting | None = None,
) -> AsyncIterator[Opened]:
    """Open the connections to AWS for one Organization.

    `name` is its name in a run of several. `given` is accounts to query instead of listing them. With
    `waiting`, wait for a network that is down, and record there what is waited for. Raises a FatalError if
    the caller or the regions can't be determined.
    """
    settings = prepared.settings
    choice = AccountChoice(
        sources=settings.accounts_from,
        files=prepared.files,
        snapshot=prepared.snapshot,
        include=frozenset(settings.accounts),
        exclude=frozenset(settings.exclude_accounts),
        names=settings.account_names,
        exclude_names=settings.exclude_account_names,
        units=settings.ous,
        exclude_units=settings.exclude_ous,
        tags=frozenset(settings.account_tags),
        with_paths=settings.include_ou_path,
        with_tags=settings.include_account_tags,
        shard=settings.shard,
    )
    query = Query(settings.pool_ids, tuple(each.parameter for each in settings.filters), settings.page_size)
    overrides = choice.files.overrides
    async with open_aws(
        settings,
        prepared.session,
        operation,
        query,
        prepared.tracing,
        limiter=shared.limiter,
        concurrent_runs=settings.concurrent_runs if given is None else given.concurrent_runs,
        overrides=overrides,
        waiting=waiting,
    ) as aws:
        regions = plan_regions(
            operation,
            aws.caller.partition,
            settings,
            choice.own_regions if given is None else given.own_regions,
            # The accounts of a part have been checked before: each has regions.
            may_lack=given is not None or not prepared.for_all.isdisjoint(REGIONS),
        )
        listing: ListsOrganization
        if given is None:
            listing = AccountListing(
                choice,
                aws.caller,
                aws.organization,
                regions=regions.own,
                usual=regions.usual,
                name=name,
                owners=shared.owners,
                tables=shared.tables,
                for_all=prepared.for_all,
            )
            shared.listings.append(listing)
        else:
            listing = GivenListing(given.accounts)
        yield Opened(
            name,
            settings,
            aws,
            listing,
            regions.all,
            prepared.tracing,
            has_own_access=bool(overrides),
            for_all=prepared.for_all,
            lack=regions.lack if not regions.all.regions else None,
        )


def check_accounts(accounts: int, opened: Opened) -> None:
    """Raise a FatalError if an Organization has no account to query, once all have been listed.

    A shard may have none, and so may one of several Organizations if others have some.
    """
    skipped = opened.listing.skipped
    is_wanted = not may_have_none(opened.for_all, (each.reason for each in skipped))
    if accounts == 0 and opened.settings.shard is None and is_wanted:
        raise none_matches(skipped, opened.settings)


def check_any(accounts: int, organizations: Sequence[Opened], settings: Settings) -> None:
    """Raise a FatalError if none of the Organizations has an account to query. A shard may have none."""
    if accounts == 0 and settings.shard is None:
        raise none_matches([skipped for each in organizations for skipped in each.listing.skipped], settings)
