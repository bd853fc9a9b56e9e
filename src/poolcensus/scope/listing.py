"""What lists the accounts of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from poolcensus.model import Account, SkippedAccount


class ListsAccounts(Protocol):
    """The accounts of a run, in the batches in which they become known, and those that are left out."""

    @property
    def skipped(self) -> Sequence[SkippedAccount]:
        """The accounts that are left out, once the others have been listed."""

    def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        """Yield the accounts to ask, each once. Raises a FatalError where they can't be listed."""


class ListsOrganization(ListsAccounts, Protocol):
    """A listing that can tell of the whole Organization as well."""

    organization_id: str | None

    @property
    def digest(self) -> str:
        """The digest of the accounts that were listed, once they have been."""

    @property
    def asks_organization(self) -> bool:
        """Whether the listing calls Organizations."""

    def lacks(self, account_id: str) -> bool:
        """Whether the whole Organization was listed, and no source has the account."""
