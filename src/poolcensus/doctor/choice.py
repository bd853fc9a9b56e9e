"""Checks which accounts are to be tried, before any call is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.config.readers import AccountId, each_of
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ChoiceNames(NamedTuple):
    """The names of the two ways to choose accounts, for messages: options of a command, or parameters."""

    every_account: str
    accounts: str


def check_choice(accounts: Sequence[str], *, every_account: bool, names: ChoiceNames) -> None:
    """Raise SettingsError if both ways to choose accounts are used, or if an account ID is invalid."""
    if every_account and accounts:
        raise SettingsError(f"{names.every_account} and {names.accounts} exclude each other: leave one out.")
    try:
        each_of(AccountId)(accounts)
    except ValueError as error:
        raise SettingsError(f"{names.accounts}: {error}") from None
