"""The paths of accounts in the Organization, and whether an account is under an organizational unit."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.aws.organizations import ListedAccount, Organization


class AccountPaths:
    """The paths of accounts, from their listing or, if that has none, from a walk of the tree.

    With `with_paths`, the path of every account is needed, and a walk covers the whole tree. Otherwise it
    covers the units in question. Each walk is made once. If `asks` is false, no walk is made, and an account
    without a path is under no unit.
    """

    def __init__(self, organization: Organization, *, with_paths: bool, asks: bool) -> None:
        self._organization = organization
        self._with_paths = with_paths
        self._asks = asks
        self._paths: dict[str, str] | None = None
        self._under: dict[str, frozenset[str]] = {}

    async def with_paths_of(self, accounts: list[ListedAccount]) -> list[ListedAccount]:
        """Return the accounts of a file with the paths from Organizations' listing."""
        wanted = {each.id for each in accounts}
        paths: dict[str, str] = {}
        async with aclosing(self._organization.accounts()) as pages:
            async for page in pages:
                paths.update((each.id, each.path) for each in page if each.path is not None)
                # If the listing has no paths, don't read the rest of it.
                if wanted <= paths.keys() or any(each.path is None for each in page):
                    break
        return [msgspec.structs.replace(each, path=paths.get(each.id)) for each in accounts]

    async def path_of(self, account: ListedAccount) -> str | None:
        """Return the path of an account, or None if it is not known or not needed."""
        if account.path is not None or not self._with_paths or not self._asks:
            return account.path
        if self._paths is None:
            self._paths = await self._organization.paths()
        return self._paths.get(account.id)

    async def is_under(self, account: ListedAccount, units: Iterable[str]) -> bool:
        """Return whether the account is under any of the roots and units, at any depth."""
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
