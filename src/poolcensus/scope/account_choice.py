"""Which accounts are wanted: where they come from, and what narrows them."""

from __future__ import annotations

import struct
from fnmatch import fnmatchcase
from hashlib import shake_128
from typing import TYPE_CHECKING

import msgspec

from poolcensus.config.narrowing import REASONS
from poolcensus.scope.account_entry import ACTIVE
from poolcensus.scope.joined_files import FileAccounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poolcensus.aws.organizations import ListedAccount
    from poolcensus.model import Shard
    from poolcensus.scope.account_list import AccountList

ORGANIZATION = "organization"
SELF = "self"


class AccountChoice(msgspec.Struct, frozen=True):
    """Which accounts are wanted: where they come from and what narrows them.

    `sources` are `organization`, `self` and paths of files, which are joined. `files` has the accounts of the
    files, which have been read before any call is made. `snapshot` is a list that was written before, which
    takes the place of all sources: files then only say how their accounts are called. `names` and
    `exclude_names` are patterns of names. `with_paths` and `with_tags` ask for what records are to have.
    """

    sources: tuple[str, ...] = (ORGANIZATION,)
    files: FileAccounts = FileAccounts()
    snapshot: AccountList | None = None
    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    exclude_names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    exclude_units: tuple[str, ...] = ()
    tags: frozenset[tuple[str, str]] = frozenset()
    with_paths: bool = False
    with_tags: bool = False
    shard: Shard | None = None

    @property
    def own_regions(self) -> dict[str, tuple[str, ...]]:
        """The patterns of regions of the accounts that have their own, by id."""
        return {each.id: each.regions for each in self.files.entries.values() if each.regions}

    @property
    def needs_paths(self) -> bool:
        """Whether the tree of the Organization has to be known."""
        return bool(self.units or self.exclude_units or self.with_paths)

    @property
    def needs_tags(self) -> bool:
        """Whether the tags of the accounts have to be read."""
        return bool(self.tags or self.with_tags)

    @property
    def lists_organization(self) -> bool:
        """Whether the accounts of the Organization are listed as a source."""
        return self.snapshot is None and ORGANIZATION in self.sources

    @property
    def needs_organization(self) -> bool:
        """Whether Organizations has to be asked."""
        known = self.snapshot
        return (
            self.lists_organization
            or (self.needs_paths and not (known is not None and known.has_paths))
            or (self.needs_tags and not (known is not None and known.has_tags))
        )

    @property
    def source_name(self) -> str:
        """The sources, in words."""
        if self.snapshot is not None:
            return f"list {self.snapshot.path}"
        names = {ORGANIZATION: "Organization", SELF: "caller"}
        return " and the ".join(names.get(each, f"file {each}") for each in self.sources)

    def includes(self, account_id: str) -> bool:
        """Whether an account is among those that are named, where any are, and of this shard.

        Nobody expects to hear of another one.
        """
        if self.include and account_id not in self.include:
            return False
        return self.shard is None or shard_of(account_id, self.shard.count) == self.shard.index

    def reason_to_skip(self, account: ListedAccount) -> str | None:
        """Return why an account is skipped that is one of this choice; None for one to ask.

        Where it is in the Organization is not looked at.
        """
        if account.id in self.exclude:
            return REASONS["exclude_accounts"]
        # An account without a name has none that matches.
        name = account.name or ""
        if any(fnmatchcase(name, pattern) for pattern in self.exclude_names):
            return REASONS["exclude_account_names"]
        if self.names and not any(fnmatchcase(name, pattern) for pattern in self.names):
            return REASONS["account_names"]
        return None if account.state == ACTIVE else account.state


def paths_among(sources: Iterable[str]) -> tuple[str, ...]:
    """Return the sources that are files."""
    return tuple(each for each in sources if each not in {ORGANIZATION, SELF})


def shard_of(account_id: str, count: int) -> int:
    """Return the part, from 1, that an account belongs to. The same on every machine and in every run.

    By rendezvous hashing: each part has a weight for the account, whatever the others are, and the heaviest
    takes it. So accounts that come and go move no other, and a part that is added takes its share of the
    accounts from all the others, which keep theirs.
    """
    # The output of SHAKE is as long as is asked for, and a longer one begins like a shorter one.
    weights = struct.unpack(f">{count}Q", shake_128(account_id.encode()).digest(8 * count))
    return weights.index(max(weights)) + 1
