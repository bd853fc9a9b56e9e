"""The named queries that are part of poolcensus. Each is a file of SQL."""

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
    """A query that is part of poolcensus.

    If `reads_all` is true, it reads all snapshots, or those newer than `newer_than`, unless the user chooses
    others. Otherwise it reads one.
    """

    name: str
    description: str
    sql: str
    reads_all: bool = False
    newer_than: timedelta | None = None


def named_queries() -> tuple[NamedQuery, ...]:
    """Return the queries that are part of poolcensus, sorted by name."""
    found = files(__package__).joinpath(_FOLDER).iterdir()
    queries = (
        _read(each.name.removesuffix(".sql"), each.read_text(encoding="utf-8"))
        for each in found
        if each.name.endswith(".sql")
    )
    return tuple(sorted(queries, key=lambda each: each.name))


def named_query(name: str) -> NamedQuery:
    """Return the query of this name. Raises `SettingsError`, with a similar name if any, if there is none."""
    queries = {each.name: each for each in named_queries()}
    if name in queries:
        return queries[name]
    hint = did_you_mean(nearest(name, queries)) or " Run 'poolcensus query --list' to see them."
    raise SettingsError(f'There is no query "{name}".{hint}')


def _read(name: str, text: str) -> NamedQuery:
    """Read the text of a file.

    Its first line is a comment with the description. If the query is not over one snapshot, the second line
    is a comment such as `-- over: 30 days`.
    """
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
