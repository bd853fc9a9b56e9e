"""The settings that narrow which accounts are asked: those that are listed and that each of them keeps."""

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
"""Their keys, in the order in which the example configuration has them."""

REGIONS: Final = ("regions", "exclude_regions")
"""The keys of those that choose among the regions of a partition."""

REASONS: Final[Mapping[str, str]] = {
    "exclude_accounts": "excluded",
    "ous": "outside the organizational units that are named",
    "exclude_ous": "excluded by its organizational unit",
    "account_tags": "without the tags",
    "account_names": "without a name that matches",
    "exclude_account_names": "excluded by name",
    # Of an Organization beside others, which have some of them.
    "regions": "in none of the regions that are asked",
}
"""Why an account is skipped, by the key of the setting that leaves it out."""

_CHOOSING: Final = frozenset({"accounts", "ous", "account_tags", "account_names"})


def may_have_none(for_all: frozenset[str], reasons: Iterable[str]) -> bool:
    """Whether an Organization is to have no account where others of the run have some.

    `for_all` are the settings that stand for all of them, and `reasons` are why its accounts are skipped.
    What is excluded for all may be all that its own settings choose, unless these chose nothing.
    """
    given = frozenset(reasons)
    left_out_by = {key for key, reason in REASONS.items() if reason in given}
    if "regions" in left_out_by or not _CHOOSING.isdisjoint(for_all):
        return True
    return not left_out_by.isdisjoint(for_all) and left_out_by.isdisjoint(_CHOOSING)
