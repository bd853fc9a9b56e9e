"""Queries that come with the program, by name: a file of SQL each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from typing import Final

from poolcensus.errors import SettingsError
from poolcensus.format.text import did_you_mean, nearest

_FOLDER: Final = "queries"
_DAYS: Final = re.compile(r"([1-9][0-9]*) days")


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query that comes with the program.

    `reads_all` says that it is over all snapshots, or over those that are newer than `newer_than`, unless the
    user chooses others.
    """

    name: str
    description: str
    sql: str
    reads_all: bool = False
    newer_than: timedelta | None = None


def named_queries() -> tuple[NamedQuery, ...]:
    """Return the queries that come with the program, in the order of their names."""
    found = files(__package__).joinpath(_FOLDER).iterdir()
    queries = (
        _read(each.name.removesuffix(".sql"), each.read_text(encoding="utf-8"))
        for each in found
        if each.name.endswith(".sql")
    )
    return tuple(sorted(queries, key=lambda each: each.name))


def named_query(name: str) -> NamedQuery:
    """Return the query of this name. Raises `SettingsError` where there is none, and suggests a close one."""
    queries = {each.name: each for each in named_queries()}
    if name in queries:
        return queries[name]
    hint = did_you_mean(nearest(name, queries)) or " Run 'poolcensus query --list' to see them."
    raise SettingsError(f'There is no query "{name}".{hint}')


def _read(name: str, text: str) -> NamedQuery:
    """Read a file: a comment that says what it shows, and one that says over which snapshots, if not one."""
    first, second, _ = text.split("\n", 2)
    over = second.removeprefix("-- over: ") if second.startswith("-- over: ") else None
    days = _DAYS.fullmatch(over or "")
    return NamedQuery(
        name,
        first.removeprefix("-- "),
        text,
        over is not None,
        timedelta(days=int(days[1])) if days else None,
    )
