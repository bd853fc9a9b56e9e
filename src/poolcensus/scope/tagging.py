"""The tags of accounts, read side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from poolcensus.aws.organizations import TAGS_AT_ONCE
from poolcensus.errors import first_reason_raised

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.aws.organizations import Organization
    from poolcensus.model import Account


async def with_tags(accounts: Iterable[Account], organization: Organization) -> list[Account]:
    """Return the accounts with their tags, sorted by key. Those that have theirs are not asked about.

    Raises OrganizationError.
    """
    found = list(accounts)
    left = iter([number for number, each in enumerate(found) if each.tags is None])

    async def read() -> None:
        for number in left:
            account = found[number]
            found[number] = replace(account, tags=tuple(sorted(await organization.tags(account.id))))

    with first_reason_raised():
        async with anyio.create_task_group() as group:
            # More tasks would only wait.
            for _ in range(min(len(found), TAGS_AT_ONCE)):
                group.start_soon(read)
    return found
