"""The setting `organization`: several Organizations, with a table for each."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from poolcensus.config.narrowing import NARROWING
from poolcensus.config.readers import EntryError, shown, suggestion

if TYPE_CHECKING:
    from poolcensus.config.readers import Reader

# The settings that a table may have: those that can differ between Organizations. The others are for the run.
KEYS: Final = frozenset(
    {
        *NARROWING,
        "accounts_from",
        "endpoint_url",
        "exclude_regions",
        "external_id",
        "external_id_file",
        "extra_regions",
        "profile",
        "region_status",
        "regions",
        "role_arn",
        "role_chain",
        "role_name",
        "session_duration",
        "session_name",
        "session_policy",
        "session_tags",
        "source_identity",
        "sts_region",
    }
)
_NAME: Final = r"(?a)[\w.-]{1,64}"


class OrganizationTable(msgspec.Struct, frozen=True):
    """The table of an Organization: its name, and the settings for it alone, as keys and values."""

    name: str
    settings: tuple[tuple[str, object], ...]


def read_organizations(value: object, readers: Mapping[str, Reader]) -> tuple[OrganizationTable, ...]:
    """Read the tables. `readers` has the reader of each setting by key."""
    if not isinstance(value, list | tuple):
        raise EntryError("must be tables of a configuration file, [[organization]], with a name each")
    tables = tuple(_table(each, readers) for each in value)
    names = [each.name for each in tables]
    if twice := next((each for each in names if names.count(each) > 1), None):
        raise EntryError(f"two tables have the name {shown(twice)}")
    return tables


def _table(entry: object, readers: Mapping[str, Reader]) -> OrganizationTable:
    if isinstance(entry, OrganizationTable):
        return entry
    if not isinstance(entry, Mapping):
        raise EntryError(f"{shown(entry)} is not a table")
    name = entry.get("name")
    if name is None:
        raise EntryError(_nameless(entry, readers))
    if not isinstance(name, str) or not re.fullmatch(_NAME, name):
        raise EntryError(f"{shown(name)} is not a name: 1 to 64 letters, digits and ._-")
    found = {}
    for key, value in entry.items():
        if key == "name":
            continue
        if key not in KEYS or key not in readers:
            raise EntryError(_unknown(str(key), name, frozenset(readers)))
        try:
            found[key] = readers[key](value)
        except EntryError as error:
            raise EntryError(f"{shown(name)}: {key}: {error}") from None
        except ValueError as error:
            raise EntryError(f"{shown(name)}: {key}: {shown(value)} {error}") from None
    return OrganizationTable(name, tuple(sorted(found.items())))


def _nameless(entry: Mapping[str, object], known: Collection[str]) -> str:
    for key in map(str, entry):
        if key not in known and (hint := suggestion(key, {"name", *KEYS})):
            return f"unknown setting {shown(key)}.{hint}"
    return 'a table has no name: each needs one, such as name = "gov"'


def _unknown(key: str, name: str, known: frozenset[str]) -> str:
    if key in known:
        return f"{shown(name)}: {key} is set for the whole run, and not for one Organization"
    return f"{shown(name)}: unknown setting {shown(key)}.{suggestion(key, KEYS & known)}"
