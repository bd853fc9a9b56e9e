"""Messages about skipped accounts: if all are skipped, or some that the settings name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from poolcensus.config.narrowing import NARROWING, REASONS, REGIONS
from poolcensus.errors import FatalError
from poolcensus.format.text import listed

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from poolcensus.config import Settings
    from poolcensus.model import SkippedAccount


def none_matches(skipped: Sequence[SkippedAccount], settings: Settings) -> FatalError:
    """Return the error of a run without an account to query. It names the settings that exclude accounts."""
    reasons = Counter(each.reason for each in skipped).most_common()
    by_region = any(reason == REASONS["regions"] for reason, _ in reasons)
    names = (*NARROWING, *REGIONS) if by_region else NARROWING
    given = [f"`{name}`" for name in names if getattr(settings, name)]
    advice = f"Check {' and '.join(filter(None, (', '.join(given[:-1]), given[-1])))}." if given else None
    if not skipped:
        why = "none was listed"
    elif len(skipped) == 1:
        why = f"account {skipped[0].id} was filtered out ({skipped[0].reason})"
    else:
        words = ", ".join(f"{count:,} {reason}" if len(reasons) > 1 else reason for reason, count in reasons)
        why = f"all {len(skipped):,} were filtered out ({words})"
    # Not a SettingsError, since calls were made to learn it.
    return FatalError(f"No accounts match: {why}.", advice=advice)


def excluded_in_vain(excluded: frozenset[str], listed_accounts: Container[str]) -> str | None:
    """Return a sentence about excluded accounts that are not among those listed, or None."""
    found = sorted(each for each in excluded if each not in listed_accounts)
    if not found:
        return None
    if len(found) == 1:
        return f"account {found[0]} is excluded, and is not among the accounts of the Organization"
    names = listed(found)
    return f"{len(found):,} accounts are excluded, and are not among those of the Organization: {names}"


def skipped_by_name(skipped: Iterable[SkippedAccount], named: frozenset[str]) -> str | None:
    """Return a sentence about accounts that the settings name and that are skipped, or None."""
    found = [each for each in skipped if each.id in named]
    if not found:
        return None
    if len(found) == 1:
        return f"account {found[0].id} is skipped: it is {found[0].reason}"
    names = listed([f"{each.id} ({each.reason})" for each in found])
    return f"{len(found):,} accounts that were named are skipped: {names}"
