"""Reads the tags of accounts concurrently."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from poolcensus.aws.organizations import TAGS_AT_ONCE
from poolcensus.loops import for_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.aws.organizations import Organization
    from poolcensus.model import Account


async def with_tags(accounts: Iterable[Account], organization: Organization) -> list[Account]:
    """Return the accounts with their tags, sorted by key. Tags that an account already has are not read.

    Raises OrganizationError.
    """
    found = list(accounts)

    async def read(number: int) -> None:
        account = found[number]
        found[number] = replace(account, tags=tuple(sorted(await organization.tags(account.id))))

    without = [number for number, each in enumerate(found) if each.tags is None]
    await for_each(read, without, at_once=TAGS_AT_ONCE)
    return found
