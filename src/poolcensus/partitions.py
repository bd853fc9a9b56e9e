"""The regions of each partition: where WorkSpaces exists, and which regions an account has to enable."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Partition(msgspec.Struct, frozen=True):
    """The regions of one partition. `workspaces` and `other` together are all of them.

    `pools` are those in which WorkSpaces Pools is or may be offered. `account_api` says whether the partition
    has an endpoint of the Account API.
    """

    name: str
    sts: str
    workspaces: tuple[str, ...]
    pools: frozenset[str]
    opt_in: frozenset[str]
    other: tuple[str, ...]
    account_api: bool

    @property
    def regions(self) -> tuple[str, ...]:
        """Every region of the partition, sorted."""
        return tuple(sorted({*self.workspaces, *self.other}))


@cache
def partitions() -> Mapping[str, Partition]:
    """Return the catalogue that ships with poolcensus, by the partition's name."""
    text = Path(__file__).with_name("partitions.toml").read_text(encoding="utf-8")
    return {
        name: Partition(
            name=name,
            sts=table["sts"],
            workspaces=tuple(table["workspaces"]),
            pools=frozenset(table["pools"]),
            opt_in=frozenset(table["opt_in"]),
            other=tuple(table["other"]),
            account_api=table["account_api"],
        )
        for name, table in tomllib.loads(text).items()
    }


def known_regions() -> frozenset[str]:
    """Every region of every partition."""
    return frozenset(region for each in partitions().values() for region in each.regions)


def is_pattern(text: str) -> bool:
    """Whether `text` stands for several regions (`eu-*`) rather than for one."""
    return any(character in text for character in "*?[")


def matches(region: str, patterns: Iterable[str]) -> bool:
    """Whether any of the patterns names the region."""
    return any(fnmatchcase(region, pattern) for pattern in patterns)
