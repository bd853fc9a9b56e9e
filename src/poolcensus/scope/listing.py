"""The interfaces of listings of accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from poolcensus.model import Account, SkippedAccount


class ListsAccounts(Protocol):
    """Lists the accounts of a run, and those that are skipped."""

    @property
    def skipped(self) -> Sequence[SkippedAccount]:
        """The skipped accounts. Complete once the others have been listed."""

    def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        """Yield the accounts to query, each once, in batches. Raises a FatalError if they can't be listed."""


class ListsOrganization(ListsAccounts, Protocol):
    """A listing that also knows about the whole Organization."""

    organization_id: str | None

    @property
    def digest(self) -> str:
        """The digest of the listed accounts. Valid once the listing has ended."""

    @property
    def asks_organization(self) -> bool:
        """Whether the listing calls AWS Organizations."""

    def lacks(self, account_id: str) -> bool:
        """Return whether the whole Organization was listed, and no source has the account."""
