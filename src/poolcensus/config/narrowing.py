"""The settings that narrow down the accounts: an account that is listed has to pass each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

NARROWING: Final = (
    "accounts",
    "exclude_accounts",
    "ous",
    "exclude_ous",
    "account_tags",
    "account_names",
    "exclude_account_names",
)
"""The keys of these settings, in the order of the example configuration."""

REGIONS: Final = ("regions", "exclude_regions")
"""The keys of the settings that choose among the regions of a partition."""

REASONS: Final[Mapping[str, str]] = {
    "exclude_accounts": "excluded",
    "ous": "outside the organizational units that are named",
    "exclude_ous": "excluded by its organizational unit",
    "account_tags": "without the tags",
    "account_names": "without a name that matches",
    "exclude_account_names": "excluded by name",
    # In a run of several Organizations, one may have none of the regions.
    "regions": "in none of the regions that are asked",
}
"""The reason why an account is skipped, by the key of the setting that excludes it."""

_CHOOSING: Final = frozenset({"accounts", "ous", "account_tags", "account_names"})


def may_have_none(for_all: frozenset[str], reasons: Iterable[str]) -> bool:
    """Return whether it is acceptable that an Organization has no account left, in a run of several.

    `for_all` is the settings that apply to all Organizations, and `reasons` is why the accounts of this one
    are skipped. It is acceptable if the Organization has none of the regions, if a setting for all chooses
    accounts, which may be elsewhere, or if one for all excludes the accounts that its own settings choose.
    """
    given = frozenset(reasons)
    left_out_by = {key for key, reason in REASONS.items() if reason in given}
    if "regions" in left_out_by or not _CHOOSING.isdisjoint(for_all):
        return True
    return not left_out_by.isdisjoint(for_all) and left_out_by.isdisjoint(_CHOOSING)
