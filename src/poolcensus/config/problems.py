"""Problems with settings, and the error that holds all of them."""

from __future__ import annotations

import msgspec

from poolcensus.errors import SettingsError


class SettingProblem(msgspec.Struct, frozen=True):
    """A problem with a setting. The message contains the value, unless that is secret.

    `key` is the name of the setting in files.
    """

    key: str
    message: str

    def at(self, place: str) -> str:
        """Return the message after the place of the value. A message that begins with a verb continues it."""
        separator = " " if self.message.startswith(("takes ", "excludes ")) else ": "
        return f"{place}{separator}{self.message}"


class Clash(SettingProblem, frozen=True):
    """A value that is valid on its own, but contradicts others. `keys` is all the settings involved."""

    keys: frozenset[str]


class InvalidSettingsError(SettingsError, ValueError):
    """The settings are wrong. `problems` is all problems: first those of single values, then the clashes."""

    def __init__(self, problems: tuple[SettingProblem, ...]) -> None:
        super().__init__(*(each.at(each.key) for each in problems))
        self.problems = problems
