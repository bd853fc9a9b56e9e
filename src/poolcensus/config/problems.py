"""What is wrong with settings."""

from __future__ import annotations

import msgspec

from poolcensus.errors import SettingsError


class SettingProblem(msgspec.Struct, frozen=True):
    """What is wrong with a setting. The message holds the value where that may be shown.

    `key` is what a person writes, in a file for one.
    """

    key: str
    message: str

    def at(self, place: str) -> str:
        """Return the message of a value there, which goes on from the place where it begins with its verb."""
        separator = " " if self.message.startswith(("takes ", "excludes ")) else ": "
        return f"{place}{separator}{self.message}"


class Clash(SettingProblem, frozen=True):
    """A value that is right by itself and wrong beside others. `keys` are all that play a part."""

    keys: frozenset[str]


class InvalidSettingsError(SettingsError, ValueError):
    """Settings can't be made of these values. `problems` are all of them: single values, then clashes."""

    def __init__(self, problems: tuple[SettingProblem, ...]) -> None:
        super().__init__(*(each.at(each.key) for each in problems))
        self.problems = problems
