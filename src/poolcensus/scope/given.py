"""Accounts that a run is given, where another one has listed and chosen them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from poolcensus.model import Account, SkippedAccount


class GivenAccounts(msgspec.Struct, frozen=True):
    """The accounts of one part of a run.

    `name` is what the settings call their Organization, in a run of several, and `parts` is how many parts go
    on side by side as the same caller.
    """

    accounts: tuple[Account, ...]
    name: str | None
    parts: int


class Listing(Protocol):
    """The accounts of a run, in the batches in which they become known, and those that are left out."""

    organization_id: str | None

    @property
    def skipped(self) -> Sequence[SkippedAccount]:
        """The accounts that are left out, once the others have been listed."""

    @property
    def digest(self) -> str:
        """The digest of the accounts that were listed, once they have been."""

    @property
    def asks_organization(self) -> bool:
        """Whether the listing calls Organizations."""

    def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        """Yield the accounts to ask, each once. Raises a FatalError where they can't be listed."""

    def lacks(self, account_id: str) -> bool:
        """Whether the whole Organization was listed, and no source has the account."""


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
