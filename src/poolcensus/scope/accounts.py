"""Lists the accounts to query, as a stream that starts before the listing ends."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

from poolcensus.aws.organizations import ListedAccount
from poolcensus.config.narrowing import REASONS
from poolcensus.errors import AccountChoiceError
from poolcensus.format.text import listed as in_words
from poolcensus.model import Account, SkippedAccount
from poolcensus.scope.account_choice import ORGANIZATION, SELF
from poolcensus.scope.account_entry import ACTIVE
from poolcensus.scope.account_list import listed_digest
from poolcensus.scope.account_paths import AccountPaths
from poolcensus.scope.tagging import with_tags
from poolcensus.scope.unmatched import excluded_in_vain, skipped_by_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence

    from poolcensus.aws.organizations import Organization
    from poolcensus.model import Caller
    from poolcensus.scope.account_choice import AccountChoice

_log = logging.getLogger("poolcensus")

# Accounts of files and lists are yielded in batches of this size, that of a page of Organizations, so that
# the first can be queried while the tags of the others are read.
_PAGE = 20
_OF_FILES = "files"


class AccountListing:
    """One listing of the accounts. At its end, `skipped` and `organization_id` are complete.

    `regions` has the regions of accounts that have their own. `usual` is the regions of all other accounts,
    or None if they have those of the run.

    The other parameters are for a run of several Organizations. `name` is the name of this one in the
    settings, and `tables` has the names of all. `owners` maps each account to the Organization that listed
    it: a second one that lists it is an error. `for_all` is the settings that apply to all Organizations.
    What they name may be in another one; `missing` and `missing_units` say what this one lacks.
    """

    def __init__(
        self,
        choice: AccountChoice,
        caller: Caller,
        organization: Organization,
        *,
        regions: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        usual: tuple[str, ...] | None = None,
        name: str | None = None,
        owners: dict[str, str | None] | None = None,
        tables: Sequence[str | None] = (),
        for_all: frozenset[str] = frozenset(),
    ) -> None:
        self._choice = choice
        self._caller = caller
        self._organization = organization
        self._regions = regions
        self._usual = usual
        self.name = name
        self._owners = {} if owners is None else owners
        self._tables = tables
        self._paths = AccountPaths(organization, with_paths=choice.with_paths, asks=choice.needs_organization)
        self._source_of: dict[str, str] = {}
        self._inactive: set[str] = set()
        self._units = choice.units
        self._exclude_units = choice.exclude_units
        self._kept: list[tuple[Account, ...]] | None = None
        self.named_for_all = choice.include if "accounts" in for_all else frozenset[str]()
        units = {"ous": choice.units, "exclude_ous": choice.exclude_units}
        self._own_units = tuple(each for key in units if key not in for_all for each in units[key])
        self.units_for_all = tuple(each for key in units if key in for_all for each in units[key])
        self.missing = frozenset[str]()
        self.missing_units = frozenset[str]()
        self._has_looked = False
        self.is_complete = False
        self._repeated = dict.fromkeys(choice.files.repeated)
        self.skipped: list[SkippedAccount] = []
        self.organization_id: str | None = choice.snapshot.organization_id if choice.snapshot else None

    @property
    def asks_organization(self) -> bool:
        """Whether the listing calls AWS Organizations."""
        return self._choice.needs_organization

    async def accounts(self) -> AsyncGenerator[tuple[Account, ...]]:
        """Yield the accounts to query, each once, in batches as they become known.

        Raises ScopeError if an organizational unit does not exist, before any account is yielded. Raises
        OrganizationError if the accounts can't be listed, or if an account that the settings name is not
        among them.
        """
        if self._kept is not None:
            for accounts in self._kept:
                yield accounts
            return
        async with aclosing(self._list()) as batches:
            async for accounts in batches:
                yield accounts

    async def list_all(self) -> int:
        """List all accounts, which `accounts` yields later, and return their number."""
        async with aclosing(self._list()) as batches:
            self._kept = [accounts async for accounts in batches]
        return sum(map(len, self._kept))

    async def look_for_units(self) -> None:
        """Find out which units named for all Organizations are in this one. Raises OrganizationError."""
        if self.units_for_all and not self._has_looked:
            self._has_looked = True
            self.missing_units = await self._organization.missing_units(self.units_for_all)
            self._units = tuple(each for each in self._units if each not in self.missing_units)
            self._exclude_units = tuple(
                each for each in self._exclude_units if each not in self.missing_units
            )

    def warn_of_skipped(self) -> None:
        """Log which of the accounts that the settings name are skipped."""
        # Not those that another Organization has: with settings for all, they are queried there.
        elsewhere = self._owners.keys() if self.named_for_all else frozenset[str]()
        if (sentence := skipped_by_name(self.skipped, self._choice.include - elsewhere)) is not None:
            _log.warning("%s", sentence)

    async def _list(self) -> AsyncGenerator[tuple[Account, ...]]:
        choice = self._choice
        some = False
        await self._check_units()
        async with aclosing(self._batches()) as batches:
            async for batch in batches:
                wanted = [account for listed in batch if (account := await self._wanted(listed)) is not None]
                accounts = await self._tagged(wanted) if choice.needs_tags else wanted
                self._claim(accounts)
                some = some or bool(accounts)
                yield tuple(accounts)
        self.missing = frozenset(choice.include - self._source_of.keys())
        if self.missing and not self.named_for_all:
            missing = ", ".join(sorted(self.missing))
            raise AccountChoiceError(
                f"{missing}: not among the accounts of the {choice.source_name} (check `accounts`)"
            )
        self._warn_of_repeated()
        # Without any account, the run ends with an error about it. In a run of several Organizations, another
        # may have some.
        if some and not self.named_for_all:
            self.warn_of_skipped()
        self.is_complete = True
        self._warn_of_exclusions()

    @property
    def digest(self) -> str:
        """The digest of all listed accounts, over all shards. Valid once the listing has ended."""
        snapshot = self._choice.snapshot
        return listed_digest(self._source_of) if snapshot is None else snapshot.digest

    def lacks(self, account_id: str) -> bool:
        """Return whether the whole Organization was listed, and no source has the account."""
        return self.is_complete and self._choice.lists_organization and account_id not in self._source_of

    def _claim(self, accounts: Iterable[Account]) -> None:
        shared: dict[str | None, list[str]] = {}
        for account in accounts:
            owner = self._owners.setdefault(account.id, self.name)
            if owner != self.name:
                shared.setdefault(owner, []).append(account.id)
        if shared:
            # Which Organization lists an account first is chance. Sorted by their tables, the error is always
            # the same.
            other = min(shared, key=self._tables.index)
            first, second = sorted((other, self.name), key=self._tables.index)
            error = AccountChoiceError(_shared_by(first, shared[other]))
            error.organization = second
            raise error

    async def _check_units(self) -> None:
        choice = self._choice
        await self.look_for_units()
        units = self._own_units
        # A list with paths was checked when it was read.
        if units and not (choice.snapshot is not None and choice.snapshot.has_paths):
            await self._organization.check_units(units)

    async def _batches(self) -> AsyncGenerator[Iterable[ListedAccount]]:
        """Yield the accounts of the sources, each once.

        Organizations comes first, whatever the order of the sources, since it knows the state of an account
        better than a file does.
        """
        choice = self._choice
        if choice.snapshot is not None:
            listed = list(choice.snapshot.accounts)
            for part in _parts(listed if choice.snapshot.has_paths else await self._with_paths(listed)):
                yield self._new(part, "list")
            return
        if choice.lists_organization:
            async with aclosing(self._organization.accounts()) as pages:
                async for page in pages:
                    yield self._new(page, ORGANIZATION)
        alone = [ListedAccount(self._caller.account_id, None, ACTIVE, None)] if SELF in choice.sources else []
        named = [
            *alone,
            *(
                ListedAccount(each.id, each.name, each.state or ACTIVE, None)
                for each in choice.files.entries.values()
            ),
        ]
        # If the Organization was listed, accounts that only files name are not in it, and have no paths.
        if not choice.lists_organization:
            named = await self._with_paths(named)
        for source, some in ((SELF, named[: len(alone)]), (_OF_FILES, named[len(alone) :])):
            for part in _parts(some):
                yield self._new(part, source)

    def _new(self, accounts: Iterable[ListedAccount], source: str) -> Iterator[ListedAccount]:
        for each in accounts:
            before = self._source_of.get(each.id)
            if before is None:
                self._source_of[each.id] = source
                if each.state != ACTIVE:
                    self._inactive.add(each.id)
                yield each
            elif before == source:
                # An account is on two pages if the Organization changed in between. It may have become
                # active.
                if each.state == ACTIVE and each.id in self._inactive:
                    self._inactive.remove(each.id)
                    self.skipped[:] = [skipped for skipped in self.skipped if skipped.id != each.id]
                    yield each
            # An entry with settings of its own complements that of the other source.
            elif not self._adds(each.id):
                self._repeated[each.id] = None

    def _adds(self, account_id: str) -> bool:
        entry = self._choice.files.entries.get(account_id)
        return entry is not None and (entry.has_own_access or bool(entry.regions))

    async def _with_paths(self, accounts: list[ListedAccount]) -> list[ListedAccount]:
        """Return accounts that Organizations did not list, with their paths if they are needed."""
        if not accounts or not self._choice.needs_paths:
            return accounts
        return await self._paths.with_paths_of(accounts)

    async def _wanted(self, listed: ListedAccount) -> Account | None:
        """Return the account if it is to be queried. Otherwise return None, and record why it is skipped."""
        choice = self._choice
        self.organization_id = self.organization_id or listed.organization_id
        if not choice.includes(listed.id):
            return None
        reason = choice.reason_to_skip(listed)
        # Last, since each check may cost a walk of the tree.
        if choice.units and not await self._paths.is_under(listed, self._units):
            if listed.id in choice.include:
                self.skipped.append(SkippedAccount(listed.id, listed.name, REASONS["ous"]))
            return None
        if self._exclude_units and await self._paths.is_under(listed, self._exclude_units):
            reason = REASONS["exclude_ous"]
        regions = self._regions.get(listed.id, self._usual)
        if reason is None and regions == ():
            reason = REASONS["regions"]
        if reason is not None:
            self.skipped.append(SkippedAccount(listed.id, listed.name, reason))
            return None
        return Account(
            listed.id,
            listed.name,
            await self._paths.path_of(listed) if choice.with_paths else None,
            choice.snapshot.tags.get(listed.id)
            if choice.snapshot is not None and choice.needs_tags
            else None,
            self.name,
            regions,
        )

    async def _tagged(self, accounts: list[Account]) -> list[Account]:
        """Return the accounts that have all wanted tags. They keep their tags if records have them."""
        choice = self._choice
        wanted = []
        for account in await with_tags(accounts, self._organization):
            if choice.tags <= {*(account.tags or ())}:
                wanted.append(account if choice.with_tags else replace(account, tags=None))
            else:
                self.skipped.append(SkippedAccount(account.id, account.name, REASONS["account_tags"]))
        return wanted

    def _warn_of_repeated(self) -> None:
        if self._repeated:
            count = len(self._repeated)
            _log.warning(
                "%s named by more than one source, %s among them: each is asked once",
                f"{count:,} accounts are" if count > 1 else "1 account is",
                next(iter(self._repeated)),
            )

    def _warn_of_exclusions(self) -> None:
        # Only if the Organization was listed: a file says nothing about accounts that it lacks. In a run of
        # several Organizations, the excluded account may be in another one.
        if not self._choice.lists_organization or self.name is not None:
            return
        if (sentence := excluded_in_vain(self._choice.exclude, self._source_of)) is not None:
            # Not a warning, which would be mailed every night: a closed account leaves the Organization by
            # itself.
            _log.info("%s", sentence)


def _shared_by(other: str | None, accounts: Sequence[str]) -> str:
    if len(accounts) == 1:
        which, them = f"account {accounts[0]} is", "it"
    else:
        which, them = f"{len(accounts):,} accounts are", "them"
    names = f": {in_words(sorted(accounts))}" if len(accounts) > 1 else ""
    return (
        f"{which} listed by {other} too{names}. Leave {them} out of one of them, with exclude_accounts in its"
        " table."
    )


def _parts(accounts: Iterable[ListedAccount]) -> Iterator[tuple[ListedAccount, ...]]:
    rest = iter(accounts)
    while part := tuple(islice(rest, _PAGE)):
        yield part
