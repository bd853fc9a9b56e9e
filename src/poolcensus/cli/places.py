"""Where a setting stands that is found to be wrong only when it is used, such as a file that is not there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.errors import SettingsError

_KEY = "poolcensus.places"
_BEGINNING = re.compile(r"(?:Organization (?P<name>[\w.-]+): )?`(?P<key>[a-z0-9_]+)`(?P<then>:? )")


def remember(places: Mapping[tuple[str | None, str], str]) -> None:
    """Keep the places of a command's settings, by Organization and key, while the command runs."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        ctx.meta[_KEY] = places


def both_on_standard_output(other: str) -> str:
    """Return what is said where `json`, wherever that is set, and `other` want standard output both."""
    ctx = click.get_current_context(silent=True)
    places: Mapping[tuple[str | None, str], str] = {} if ctx is None else ctx.meta.get(_KEY, {})
    place = places.get((None, "json"), "--json")
    undone = "" if place == "--json" else ", or give --no-json"
    return f"{place} and {other} both want standard output: leave one out{undone}"


def name_place(error: SettingsError, ctx: click.Context) -> None:
    """Have a message that begins with a setting begin with the place where that stands."""
    places: Mapping[tuple[str | None, str], str] = ctx.meta.get(_KEY, {})
    if (found := _BEGINNING.match(str(error))) is None:
        return
    name, key = found["name"], found["key"]
    place = places.get((name, key)) or places.get((None, key))
    if place is not None:
        error.begin_with(f"{place}{found['then']}", in_place_of=found.end())
