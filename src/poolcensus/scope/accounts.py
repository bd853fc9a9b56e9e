"""Which accounts are asked, as a stream that starts before their listing ends."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import anyio
import msgspec

from poolcensus.aws.organizations import ListedAccount
from poolcensus.errors import OrganizationError, first_reason_raised
from poolcensus.model import Account, SkippedAccount

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from poolcensus.aws.organizations import Organization
    from poolcensus.model import Caller, Shard
    from poolcensus.scope.account_file import AccountEntry

_ACTIVE = "ACTIVE"
# Of the 20 accounts of a page: too many at once are refused ("another request is already in progress").
_TAGS_AT_ONCE = 8


class AccountChoice(msgspec.Struct, frozen=True):
    """Which accounts are wanted: where they come from and what narrows them.

    `source` is `organization`, `self` or the path of a file. `from_file` holds the accounts of
    that file, which has been read before any call is made.
    """

    source: str = "organization"
    from_file: tuple[AccountEntry, ...] = ()
    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    units: tuple[str, ...] = ()
    exclude_units: tuple[str, ...] = ()
    tags: frozenset[tuple[str, str]] = frozenset()
    shard: Shard | None = None

    @property
    def needs_organization(self) -> bool:
        """Whether Organizations has to be asked."""
        return self.source == "organization" or bool(self.units or self.exclude_units or self.tags)


class AccountListing:
    """One walk over the accounts. After it, `skipped` and `organization_id` are complete.

    `name` is what the settings call the Organization, in a run of several. `owners` then has who listed each
    account: no other may.
    """

    def __init__(
        self,
        choice: AccountChoice,
        caller: Caller,
        organization: Organization | None,
        *,
        name: str | None = None,
        owners: dict[str, str | None] | None = None,
    ) -> None:
        self._choice = choice
        self._caller = caller
        self._organization = organization
        self._name = name
        self._owners = {} if owners is None else owners
        self._seen: set[str] = set()
        self.skipped: list[SkippedAccount] = []
        self.organization_id: str | None = None

    @property
    def asks_organization(self) -> bool:
        """Whether the listing calls Organizations."""
        return self._choice.needs_organization

    async def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        """Yield the accounts to ask, each once, in the batches in which they become known.

        Raises OrganizationError where they can't be listed, or where one that was asked for by its id is
        not among them.
        """
        excluded = await self._excluded_by_unit()
        async for batch in self._batches():
            wanted = []
            for listed in batch:
                if listed.id in self._seen:
                    continue
                self._seen.add(listed.id)
                self.organization_id = self.organization_id or listed.organization_id
                reason = self._reason_to_skip(listed, excluded)
                if reason is None:
                    wanted.append(Account(listed.id, listed.name, organization=self._name))
                elif reason:
                    self.skipped.append(SkippedAccount(listed.id, listed.name, reason))
            accounts = await self._tagged(wanted) if self._choice.tags else wanted
            self._claim(accounts)
            yield tuple(accounts)
        if missing := sorted(self._choice.include - self._seen):
            raise OrganizationError(
                f"{', '.join(missing)}: not among the accounts of the {self._source_name()}"
                " (check `accounts`)"
            )

    def _claim(self, accounts: Iterable[Account]) -> None:
        for account in accounts:
            owner = self._owners.setdefault(account.id, self._name)
            if owner != self._name:
                raise OrganizationError(
                    f"account {account.id} is listed by {owner} too. Leave it out of one of them with"
                    " `exclude_accounts`."
                )

    def _reason_to_skip(self, listed: ListedAccount, excluded: frozenset[str]) -> str | None:
        """None for an account to ask, a reason for one to mention, "" for one that was not asked for."""
        choice = self._choice
        if choice.include and listed.id not in choice.include:
            return ""
        if choice.shard is not None and shard_of(listed.id, choice.shard.count) != choice.shard.index:
            return ""
        if listed.id in choice.exclude:
            return "excluded"
        if listed.id in excluded:
            return "excluded by its organizational unit"
        return None if listed.state == _ACTIVE else listed.state

    async def _batches(self) -> AsyncIterator[tuple[ListedAccount, ...]]:
        choice = self._choice
        if choice.source == "organization":
            organization = self._opened()
            if not choice.units:
                async for page in organization.accounts():
                    yield page
            for unit in choice.units:
                async for page in organization.accounts_under(unit):
                    yield page
        elif choice.source == "self":
            yield (ListedAccount(self._caller.account_id, None, _ACTIVE, None),)
        else:
            allowed = await self._under_units()
            yield tuple(
                ListedAccount(each.id, each.name, each.state, None)
                for each in choice.from_file
                if allowed is None or each.id in allowed
            )

    async def _under_units(self) -> frozenset[str] | None:
        if not self._choice.units:
            return None
        return await self._ids_under(self._choice.units)

    async def _excluded_by_unit(self) -> frozenset[str]:
        return await self._ids_under(self._choice.exclude_units)

    async def _ids_under(self, units: Iterable[str]) -> frozenset[str]:
        return frozenset(
            [each.id for unit in units async for page in self._opened().accounts_under(unit) for each in page]
        )

    async def _tagged(self, accounts: list[Account]) -> list[Account]:
        """Return those of the accounts that have all the tags, which are asked for side by side."""
        organization = self._opened()
        has_tags = dict.fromkeys(accounts, False)
        left = iter(accounts)

        async def ask() -> None:
            for account in left:
                has_tags[account] = self._choice.tags <= await organization.tags(account.id)

        with first_reason_raised():
            async with anyio.create_task_group() as group:
                for _ in range(min(len(accounts), _TAGS_AT_ONCE)):
                    group.start_soon(ask)
        self.skipped += [
            SkippedAccount(account.id, account.name, "without the tags")
            for account, has in has_tags.items()
            if not has
        ]
        return [account for account, has in has_tags.items() if has]

    def _opened(self) -> Organization:
        if self._organization is None:
            raise RuntimeError("this choice of accounts needs the Organization")
        return self._organization

    def _source_name(self) -> str:
        names = {"organization": "Organization", "self": "caller"}
        return names.get(self._choice.source, f"file {self._choice.source}")


def shard_of(account_id: str, count: int) -> int:
    """Return the part, from 1, that an account belongs to. The same on every machine and in every run."""
    return zlib.crc32(account_id.encode()) % count + 1
