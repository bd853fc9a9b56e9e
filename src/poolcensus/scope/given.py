"""Accounts that a run is given, where another one has listed and chosen them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from poolcensus.model import Account, SkippedAccount


class GivenAccounts(msgspec.Struct, frozen=True):
    """The accounts of one part of a run.

    `name` is what the settings call their Organization, in a run of several, and `concurrent_runs` is how
    many go on as the same caller.
    """

    accounts: tuple[Account, ...]
    name: str | None
    concurrent_runs: int

    @property
    def own_regions(self) -> dict[str, tuple[str, ...]]:
        """The regions of the accounts that have their own, by id."""
        return {each.id: each.regions for each in self.accounts if each.regions}


class GivenListing:
    """The listing of accounts that are given: it calls nobody."""

    organization_id: str | None = None
    digest = ""
    asks_organization = False
    skipped: tuple[SkippedAccount, ...] = ()

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        self._accounts = accounts

    async def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        """Yield the accounts at once."""
        yield self._accounts

    def lacks(self, account_id: str) -> bool:  # noqa: ARG002 - the listing's interface
        """Return False: it is not known."""
        return False
