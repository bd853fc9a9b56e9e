"""The places of settings, for errors that are found only when a setting is used, such as a missing file."""

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
    """Store the places of a command's settings, by Organization and key, for as long as the command runs."""
    ctx = click.get_current_context(silent=True)
    if ctx is not None:
        ctx.meta[_KEY] = places


def both_on_standard_output(other: str) -> str:
    """Return the message for `json` and `other` both writing to standard output."""
    ctx = click.get_current_context(silent=True)
    places: Mapping[tuple[str | None, str], str] = {} if ctx is None else ctx.meta.get(_KEY, {})
    place = places.get((None, "json"), "--json")
    undone = "" if place == "--json" else ", or give --no-json"
    return f"{place} and {other} both want standard output: leave one out{undone}"


def name_place(error: SettingsError, ctx: click.Context) -> None:
    """If the message of an error begins with a setting, replace that with the place of the setting."""
    places: Mapping[tuple[str | None, str], str] = ctx.meta.get(_KEY, {})
    if (found := _BEGINNING.match(str(error))) is None:
        return
    name, key = found["name"], found["key"]
    place = places.get((name, key)) or places.get((None, key))
    if place is not None:
        error.begin_with(f"{place}{found['then']}", in_place_of=found.end())
