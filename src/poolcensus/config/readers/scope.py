"""Readers for what a census covers: accounts, organizational units, regions, pools and shards."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from poolcensus.config.readers.conversion import EntryError, check_keys, elements_of, shown, text, written
from poolcensus.config.readers.places import path_text
from poolcensus.config.values import FilterOperator, PoolFilter
from poolcensus.model import Shard

# https://docs.aws.amazon.com/workspaces/latest/api/API_DescribeWorkspacesPools.html
_MAX_FILTERS = 25
_MAX_FILTER_VALUES = 25
_MAX_FILTER_VALUE_LENGTH = 128
_FILTER_KEYS = ("name", "operator", "values")

# Choosing the shard of an account hashes 8 bytes for each shard. With as many shards as accounts, most would
# have one account or none.
_MOST_SHARDS = 10_000
_SHARD = r"([0-9]{1,9})/([0-9]{1,9})"

AccountId = Annotated[str, written(r"[0-9]{12}", "an account ID of 12 digits")]
AccountNamePattern = Annotated[
    str, written(r"[^\x00-\x1f\x7f]{1,128}", "a name or a pattern of names, such as prod-*")
]
UnitId = Annotated[
    str,
    written(
        r"ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32}",
        "an OU ID (such as ou-ab12-34cd56ef) or a root ID (r-ab12)",
    ),
]
Region = Annotated[str, written(r"[a-z]{2,8}(?:-[a-z]+){1,3}-[0-9]{1,2}", "a region, such as eu-west-1")]
RegionPattern = Annotated[
    str,
    written(r"[a-z0-9*?\[\]!-]{1,64}", "a region or a pattern in lower case, such as eu-west-1 or eu-*"),
]
PoolId = Annotated[str, written(r"wspool-[0-9a-z]{9}", "a pool ID (such as wspool-a1b2c3d4e)")]


def accounts_from(value: object) -> tuple[str, ...]:
    """Read the sources of accounts: `organization`, `self`, and file paths. Defaults to `organization`."""
    sources: dict[str, None] = {}
    for entry in [value] if isinstance(value, str | Path) else elements_of(value):
        # In a text, a comma separates sources. In a Path, it is part of the name.
        for part in [str(entry)] if isinstance(entry, Path) else elements_of(text(entry)):
            sources[path_text(part)] = None
    return tuple(sources) or ("organization",)


def account_tags(value: object) -> tuple[tuple[str, str], ...]:
    """Read tags from `KEY=VALUE` texts, or from a table."""
    pairs = tuple(value.items()) if isinstance(value, Mapping) else elements_of(value)
    found: dict[tuple[str, str], None] = {}
    for pair in pairs:
        match pair:
            case str() if "=" in pair:
                key, _, wanted = pair.partition("=")
            case (str(key), str(wanted)):
                pass
            case _:
                raise EntryError(f"{shown(pair)} is not a tag: KEY=VALUE")
        key = key.strip()
        if not 1 <= len(key) <= 128 or len(wanted) > 256:
            raise EntryError(
                f"{shown(pair)} is not a tag: a key has 1 to 128 characters, a value at most 256"
            )
        found[(key, wanted.strip())] = None
    return tuple(found)


def filters(value: object) -> tuple[PoolFilter, ...]:
    """Read filters from `NAME:OPERATOR:VALUE,VALUE` texts, or from tables of name, operator and values."""
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    elif isinstance(value, Mapping):
        value = [value]
    found = tuple(dict.fromkeys(_filter(entry) for entry in elements_of(value)))
    if len(found) > _MAX_FILTERS:
        raise EntryError(f"has {len(found)} filters: the service takes at most {_MAX_FILTERS}")
    return found


def _filter(entry: object) -> PoolFilter:
    if isinstance(entry, Mapping):
        check_keys(entry, _FILTER_KEYS)
    given: tuple[object, ...]
    match entry:
        case PoolFilter():
            name, operator, given = entry.name, str(entry.operator), tuple(entry.values)
        case str() if entry.count(":") >= 2:
            name, operator, joined = (part.strip() for part in entry.split(":", 2))
            given = tuple(part.strip() for part in joined.split(","))
        case Mapping() if entry.keys() == {*_FILTER_KEYS}:
            name, operator = entry["name"], entry["operator"]
            raw = entry["values"]
            given = tuple(raw) if isinstance(raw, list | tuple) else (raw,)
        case _:
            raise EntryError(
                f"{shown(entry)} is not a filter: PoolName:OPERATOR:VALUE,VALUE, or a table of name, operator"
                f" and values. OPERATOR is one of {', '.join(FilterOperator)}"
            )
    if name != "PoolName":
        raise EntryError(f"{shown(name)} can't be filtered by: the service knows only PoolName")
    if operator not in list(FilterOperator):
        raise EntryError(f"{shown(operator)} is not an operator: {', '.join(FilterOperator)}")
    wanted: dict[str, None] = {}
    for each in given:
        if not isinstance(each, str) or not 1 <= len(each) <= _MAX_FILTER_VALUE_LENGTH:
            raise EntryError(
                f"{shown(each)} is no filter value: text of 1 to {_MAX_FILTER_VALUE_LENGTH} characters"
            )
        wanted[each] = None
    if not 1 <= len(wanted) <= _MAX_FILTER_VALUES:
        raise EntryError(f"a filter has 1 to {_MAX_FILTER_VALUES} values, not {len(wanted)}")
    return PoolFilter(name=name, operator=FilterOperator(operator), values=tuple(wanted))


def shard(value: object) -> Shard:
    """Read a shard from `I/N`."""
    if isinstance(value, Shard):
        found = (value.index, value.count)
    else:
        split = re.fullmatch(_SHARD, value) if isinstance(value, str) else None
        found = (int(split[1]), int(split[2])) if split else (0, 0)
    if not 1 <= found[0] <= found[1]:
        raise ValueError("must be I/N with I from 1 to N, such as 1/4")
    if found[1] > _MOST_SHARDS:
        raise ValueError(f"has too many shards: there may be {_MOST_SHARDS:,}")
    return Shard(*found)
