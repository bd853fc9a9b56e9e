"""One Organization or several: each is prepared and opened by itself, and a run has them side by side."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.session import open_caller, open_limiter
from poolcensus.errors import DestinationError, FatalError
from poolcensus.scope.opening import Opened, Prepared, Shared, open_run, prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from poolcensus.aws.credentials.patience import Waiting
    from poolcensus.aws.session import CallerSession
    from poolcensus.config import Settings
    from poolcensus.operations import Operation
    from poolcensus.scope.given import GivenAccounts
    from poolcensus.tracing import Tracing


class Joined(msgspec.Struct, frozen=True):
    """The Organizations of a run, prepared, by name; a single one has None.

    `session` is whose credentials reach a destination on S3.
    """

    organizations: Mapping[str | None, Prepared]
    session: CallerSession


@asynccontextmanager
async def prepare_all(
    settings: Settings, tracing: Tracing | None, *, for_destination: bool = False
) -> AsyncIterator[Joined]:
    """Read everything that the settings of each Organization point at. Makes no call.

    `for_destination` asks for the credentials that a destination on S3 is reached with: those of the settings
    outside of any table. Raises SettingsError where they can't be read.
    """
    async with AsyncExitStack() as stack:
        organizations = {}
        for name, each in settings.by_organization().items():
            with naming(name):
                organizations[name] = await stack.enter_async_context(prepare(each, tracing))
        session = next(iter(organizations.values())).session
        if for_destination and settings.organization:
            session = await stack.enter_async_context(open_caller(settings))
        yield Joined(organizations, session)


@asynccontextmanager
async def open_all(
    operation: Operation,
    joined: Joined,
    given: GivenAccounts | None = None,
    waiting: Waiting | None = None,
) -> AsyncIterator[tuple[Opened, ...]]:
    """Open the connections to AWS for each Organization. Raises a FatalError where one can't be.

    `given` are the accounts of one of them, which is then the only one. With `waiting`, a network that is
    away is waited for, and said there.
    """
    async with AsyncExitStack() as stack:
        # What bounds the calls is set for the run, and not in the table of an Organization.
        shared = Shared(open_limiter(next(iter(joined.organizations.values())).settings))
        opened = []
        for key, prepared in joined.organizations.items():
            # The settings of given accounts are those of one Organization, which has no name there.
            name = key if given is None else given.name
            with naming(name):
                run = open_run(operation, prepared, shared, name=name, given=given, waiting=waiting)
                opened.append(await stack.enter_async_context(run))
        yield tuple(opened)


@contextmanager
def naming(organization: str | None) -> Iterator[None]:
    """Have a FatalError say of which of several Organizations it tells."""
    try:
        yield
    except DestinationError:
        raise
    except FatalError as error:
        if organization is not None:
            error.begin_with(f"Organization {organization}: ")
            error.organization = organization
        raise
