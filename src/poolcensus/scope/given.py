"""Accounts that a run is given instead of listing them, because another run has chosen them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from poolcensus.model import Account, SkippedAccount


class GivenAccounts(msgspec.Struct, frozen=True):
    """The accounts of one part of a run.

    `name` is the name of their Organization in the settings, in a run of several. `concurrent_runs` is the
    number of runs that share the caller.
    """

    accounts: tuple[Account, ...]
    name: str | None
    concurrent_runs: int

    @property
    def own_regions(self) -> dict[str, tuple[str, ...]]:
        """The regions of accounts that have their own, by account ID."""
        return {each.id: each.regions for each in self.accounts if each.regions}


class GivenListing:
    """A listing of given accounts. It makes no calls."""

    organization_id: str | None = None
    digest = ""
    asks_organization = False
    skipped: tuple[SkippedAccount, ...] = ()

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        self._accounts = accounts

    async def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        """Yield all accounts in one batch."""
        yield self._accounts

    def lacks(self, account_id: str) -> bool:  # noqa: ARG002 - the listing's interface
        """Return False, since it is not known."""
        return False
