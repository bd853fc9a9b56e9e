"""Where accounts are in the tree of the Organization, and which organizational units choose them."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.aws.organizations import ListedAccount, Organization


class AccountPaths:
    """The paths of accounts: those that a listing gives, or else those of a walk of the tree.

    With `with_paths` the path of every account is wanted, and a walk is of the whole tree; without, it is of
    the units that are asked about. Each walk is made once. Unless the Organization `asks`, an account whose
    path is not known is nowhere.
    """

    def __init__(self, organization: Organization, *, with_paths: bool, asks: bool) -> None:
        self._organization = organization
        self._with_paths = with_paths
        self._asks = asks
        self._paths: dict[str, str] | None = None
        self._under: dict[str, frozenset[str]] = {}

    async def with_paths_of(self, accounts: list[ListedAccount]) -> list[ListedAccount]:
        """Return accounts that a file names with the paths that Organizations lists them with."""
        wanted = {each.id for each in accounts}
        paths: dict[str, str] = {}
        async with aclosing(self._organization.accounts()) as pages:
            async for page in pages:
                paths.update((each.id, each.path) for each in page if each.path is not None)
                # Where a listing has no paths, the rest of it is of no use.
                if wanted <= paths.keys() or any(each.path is None for each in page):
                    break
        return [msgspec.structs.replace(each, path=paths.get(each.id)) for each in accounts]

    async def path_of(self, account: ListedAccount) -> str | None:
        """Return the account's path; None where it is not wanted or can't be had."""
        if account.path is not None or not self._with_paths or not self._asks:
            return account.path
        if self._paths is None:
            self._paths = await self._organization.paths()
        return self._paths.get(account.id)

    async def is_under(self, account: ListedAccount, units: Iterable[str]) -> bool:
        """Whether the account is under any of the roots and units, at any depth."""
        path = await self.path_of(account)
        if path is not None:
            return not set(units).isdisjoint(path.split("/"))
        for unit in units:
            if account.id in await self._walked(unit):
                return True
        return False

    async def _walked(self, unit: str) -> frozenset[str]:
        found = self._under.get(unit)
        if found is None:
            if not self._asks:
                return frozenset()
            async with aclosing(self._organization.accounts_under(unit)) as pages:
                found = self._under[unit] = frozenset([each.id async for page in pages for each in page])
        return found
