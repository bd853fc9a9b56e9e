"""The choice of accounts: their sources, and the settings that narrow them down."""

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
    """The choice of accounts: their sources, and the settings that narrow them down.

    `sources` is any of `organization`, `self` and paths of files, and `files` has the accounts in these
    files. `snapshot` is a list of accounts that replaces all sources; files then only say how their accounts
    are called. `names` and `exclude_names` are patterns. `with_paths` and `with_tags` say whether records
    have the accounts' paths and tags.
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
        """The region patterns of accounts that have their own, by account ID."""
        return {each.id: each.regions for each in self.files.entries.values() if each.regions}

    @property
    def needs_paths(self) -> bool:
        """Whether the paths of accounts in the Organization are needed."""
        return bool(self.units or self.exclude_units or self.with_paths)

    @property
    def needs_tags(self) -> bool:
        """Whether the tags of accounts are needed."""
        return bool(self.tags or self.with_tags)

    @property
    def lists_organization(self) -> bool:
        """Whether the Organization is a source of accounts."""
        return self.snapshot is None and ORGANIZATION in self.sources

    @property
    def needs_organization(self) -> bool:
        """Whether AWS Organizations has to be called."""
        known = self.snapshot
        return (
            self.lists_organization
            or (self.needs_paths and not (known is not None and known.has_paths))
            or (self.needs_tags and not (known is not None and known.has_tags))
        )

    @property
    def source_name(self) -> str:
        """The sources in words, for messages."""
        if self.snapshot is not None:
            return f"list {self.snapshot.path}"
        names = {ORGANIZATION: "Organization", SELF: "caller"}
        return " and the ".join(names.get(each, f"file {each}") for each in self.sources)

    def includes(self, account_id: str) -> bool:
        """Return whether an account is among those named, if any are, and belongs to this shard.

        Other accounts are not reported as skipped.
        """
        if self.include and account_id not in self.include:
            return False
        return self.shard is None or shard_of(account_id, self.shard.count) == self.shard.index

    def reason_to_skip(self, account: ListedAccount) -> str | None:
        """Return why an included account is skipped, or None.

        Its place in the Organization is not checked.
        """
        if account.id in self.exclude:
            return REASONS["exclude_accounts"]
        # An account without a name matches only patterns that match the empty name.
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
    """Return the shard, from 1 to `count`, that an account belongs to. It is the same in every run.

    Uses rendezvous hashing: each shard has a weight for the account, and the shard with the highest weight
    gets it. So a new account moves no other, and a new shard takes only its share from each of the others.
    """
    # SHAKE output has any length, and a longer output begins with the shorter one.
    weights = struct.unpack(f">{count}Q", shake_128(account_id.encode()).digest(8 * count))
    return weights.index(max(weights)) + 1
