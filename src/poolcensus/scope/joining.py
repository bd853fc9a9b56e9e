"""Prepares and opens the Organizations of a run, one or several."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec

from poolcensus.aws.session import open_caller, open_limiter
from poolcensus.errors import (
    AccountChoiceError,
    DestinationError,
    FatalError,
    ScopeError,
    first_reason_raised,
)
from poolcensus.format.text import listed
from poolcensus.scope.accounts import AccountListing
from poolcensus.scope.opening import Opened, Prepared, Shared, open_run, prepare
from poolcensus.scope.unmatched import none_matches

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from poolcensus.aws.credentials.patience import Waiting
    from poolcensus.aws.session import CallerSession
    from poolcensus.config import Settings
    from poolcensus.operations import Operation
    from poolcensus.scope.given import GivenAccounts
    from poolcensus.tracing import Tracing


_log = logging.getLogger("poolcensus")

_T = TypeVar("_T")


class Joined(msgspec.Struct, frozen=True):
    """The prepared Organizations of a run, by name. A single Organization has the name None.

    `settings` is the settings of the run. `session` has the credentials for a destination in a bucket.
    """

    settings: Settings
    organizations: Mapping[str | None, Prepared]
    session: CallerSession


@asynccontextmanager
async def prepare_all(
    settings: Settings, tracing: Tracing | None, *, for_destination: bool = False
) -> AsyncIterator[Joined]:
    """Read everything that the settings of each Organization refer to. Makes no call.

    With `for_destination`, also read the credentials for a bucket as the destination: those of the settings
    outside all tables. Raises SettingsError if something can't be read.
    """
    async with AsyncExitStack() as stack:
        organizations = {}
        for name, each in settings.by_organization().items():
            with naming(name):
                preparing = prepare(each, tracing, settings.narrowing_all(name))
                organizations[name] = await stack.enter_async_context(preparing)
        session = next(iter(organizations.values())).session
        if for_destination and settings.organization:
            session = await stack.enter_async_context(open_caller(settings))
        yield Joined(settings, organizations, session)


@asynccontextmanager
async def open_all(
    operation: Operation,
    joined: Joined,
    given: GivenAccounts | None = None,
    waiting: Waiting | None = None,
) -> AsyncIterator[tuple[Opened, ...]]:
    """Open the connections to AWS. Yield the Organizations that have at least one of the regions.

    With `given`, the run has only one Organization, and these accounts of it. With `waiting`, wait for a
    network that is down, and record there what is waited for.

    Raises a FatalError if an Organization can't be opened, if none has one of the regions, or if an account
    or unit that is named for the whole run is in none of them.
    """
    async with AsyncExitStack() as stack:
        # The limits on calls are settings of the run, which no table can have.
        limiter = open_limiter(next(iter(joined.organizations.values())).settings)
        shared = Shared(limiter, tuple(joined.organizations))
        opened = []
        for key, prepared in joined.organizations.items():
            # For given accounts, the settings are those of one Organization, in which it has no name.
            name = key if given is None else given.name
            with naming(name):
                run = open_run(operation, prepared, shared, name=name, given=given, waiting=waiting)
                opened.append(await stack.enter_async_context(run))
        found = _with_regions(opened)
        await _look_for_named(shared.listings, joined.settings)
        yield found


def _with_regions(organizations: Sequence[Opened]) -> tuple[Opened, ...]:
    """Return the Organizations that have at least one of the regions. Raises ScopeError if there are none."""
    check_regions(organizations)
    for each in organizations:
        if each.lack is not None:
            _log.warning("nothing is asked in Organization %s: %s", each.name, each.lack)
    return tuple(each for each in organizations if each.lack is None)


def check_regions(organizations: Sequence[Opened]) -> None:
    """Raise ScopeError if none of the Organizations has one of the regions to query."""
    lacks = [f"Organization {each.name}: {each.lack}" for each in organizations if each.lack is not None]
    if lacks and len(lacks) == len(organizations):
        raise ScopeError(" ".join(lacks))


async def _look_for_named(listings: Sequence[AccountListing], settings: Settings) -> None:
    """Check the accounts and units that are named for the whole run, before any account is called.

    Lists all accounts if some are named. Raises the errors of `check_named`, and FatalError if no account is
    left to query.
    """
    await _of_each(listings, AccountListing.look_for_units)
    check_named(listings)
    named = [each for each in listings if each.named_for_all]
    accounts = await _of_each(named, AccountListing.list_all)
    check_named(listings)
    if named and len(named) == len(listings) and not any(accounts.values()) and settings.shard is None:
        raise none_matches([skipped for each in named for skipped in each.skipped], settings)
    for each in named:
        each.warn_of_skipped()


def check_named(listings: Sequence[AccountListing]) -> None:
    """Check that the accounts and units named for the whole run are in one of its Organizations.

    Uses what the listings have found out so far. Raises ScopeError for an organizational unit that is in
    none, and AccountChoiceError for an account.
    """
    for unit in dict.fromkeys(unit for each in listings for unit in each.units_for_all):
        looked = [each for each in listings if unit in each.units_for_all]
        if all(unit in each.missing_units for each in looked):
            raise ScopeError(
                f"There is no root or organizational unit {unit} in {_names(looked)}. Check `ous` and"
                " `exclude_ous`."
            )
    looked = [each for each in listings if each.named_for_all]
    if looked and (missing := sorted(frozenset.intersection(*(each.missing for each in looked)))):
        raise AccountChoiceError(
            f"{', '.join(missing)}: not among the accounts of {_names(looked)} (check `accounts`)"
        )


def _names(listings: Sequence[AccountListing]) -> str:
    noun = "Organization" if len(listings) == 1 else "Organizations"
    return f"{noun} {listed([str(each.name) for each in listings])}"


async def _of_each(
    listings: Sequence[AccountListing], look: Callable[[AccountListing], Awaitable[_T]]
) -> Mapping[str | None, _T]:
    """Call `look` for all listings concurrently, and return the results by name.

    Raises the first FatalError.
    """
    found: dict[str | None, _T] = {}

    async def take(listing: AccountListing) -> None:
        with naming(listing.name):
            found[listing.name] = await look(listing)

    with first_reason_raised():
        async with anyio.create_task_group() as group:
            for each in listings:
                group.start_soon(take, each)
    return found


@contextmanager
def naming(organization: str | None) -> Iterator[None]:
    """Add the name of the Organization to a FatalError that is raised in the block."""
    try:
        yield
    except DestinationError:
        raise
    except FatalError as error:
        if organization is not None:
            # An error about two Organizations has already chosen one.
            error.organization = error.organization or organization
            error.begin_with(f"Organization {error.organization}: ")
        raise
