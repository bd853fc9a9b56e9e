"""Joins the accounts of several files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.credentials.roles import RoleOverride
from poolcensus.errors import SettingsError
from poolcensus.scope.account_entry import ACTIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from poolcensus.scope.account_entry import AccountEntry


class FileAccounts(msgspec.Struct, frozen=True):
    """The accounts of files, by ID and in order. `repeated` is the IDs that a second file adds nothing to."""

    entries: Mapping[str, AccountEntry] = {}
    repeated: tuple[str, ...] = ()

    @property
    def overrides(self) -> dict[str, RoleOverride]:
        """The accounts' own roles, external IDs and profiles, by account ID."""
        return {
            each.id: RoleOverride(each.role, each.external_id, each.profile)
            for each in self.entries.values()
            if each.has_own_access
        }


def join_files(paths: Iterable[str], extra_regions: Iterable[str] = ()) -> FileAccounts:
    """Read files of accounts in order, and combine the entries of each account.

    Raises SettingsError if a file is wrong, or if two files contradict each other. Blocks.
    """
    paths = [*paths]
    if not paths:
        return FileAccounts()
    from poolcensus.scope.account_file import read_accounts  # noqa: PLC0415 - few runs have files

    entries: dict[str, AccountEntry] = {}
    said_in: dict[str, str] = {}
    repeated: dict[str, None] = {}
    for path in paths:
        for entry in read_accounts(path, extra_regions):
            before = entries.get(entry.id)
            if before is None:
                entries[entry.id], said_in[entry.id] = entry, path
                continue
            joined = _joined(before, entry, path, said_in[entry.id])
            # A state of ACTIVE adds nothing, since it is also the default.
            if _taken(joined) == _taken(before):
                repeated[entry.id] = None
            entries[entry.id] = joined
    return FileAccounts(entries, tuple(repeated))


def _taken(entry: AccountEntry) -> AccountEntry:
    return entry._replace(state=entry.state or ACTIVE)


def _joined(before: AccountEntry, entry: AccountEntry, path: str, other: str) -> AccountEntry:
    for key in ("state", "role", "external_id", "regions", "profile"):
        one, two = getattr(before, key), getattr(entry, key)
        if one and two and one != two:
            raise SettingsError(
                f"{path}: account {entry.id} is also in {other}, with another value of {key}. Leave one out."
            )
    return before._replace(
        name=before.name or entry.name,
        state=before.state or entry.state,
        role=before.role or entry.role,
        external_id=before.external_id or entry.external_id,
        regions=before.regions or entry.regions,
        profile=before.profile or entry.profile,
    )
