"""Which accounts somebody wants tried, looked at before anything is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from poolcensus.config.readers import AccountId, each_of
from poolcensus.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence


class ChoiceNames(NamedTuple):
    """What whoever chooses calls the two ways to choose."""

    every_account: str
    accounts: str


def check_choice(accounts: Sequence[str], *, every_account: bool, names: ChoiceNames) -> None:
    """Raise SettingsError for accounts together with every account, and for IDs that are wrong."""
    if every_account and accounts:
        raise SettingsError(f"{names.every_account} and {names.accounts} exclude each other: leave one out.")
    try:
        each_of(AccountId)(accounts)
    except ValueError as error:
        raise SettingsError(f"{names.accounts}: {error}") from None
