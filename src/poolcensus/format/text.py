"""Text for people to read, much of it from other people."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_NAMED: Final = 5
"""How many accounts a sentence names: enough to see what they have in common."""

LONGEST_NAME: Final = 256
"""AWS takes 50 characters for an account. A list of accounts may hold anything."""

# Control, format (which reorders text), surrogate, private and unassigned characters, and line separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """Return the text with escapes for what a terminal would obey and a page would hide."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


def listed(names: Sequence[str], most: int = MOST_NAMED, *, total: int | None = None) -> str:
    """Return the first names in one line, and how many more there are: `a, b, and 3 more`.

    `total` is how many there are in all, where `names` are not all of them.
    """
    shown = names[:most]
    more = (len(names) if total is None else total) - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more > 0 else shown)


def account_named(account_id: str, name: str | None, region: str, regions: int) -> str:
    """Return an account in words: with its region or how many it has, or with none of them."""
    shown = f"{account_id} {name[:LONGEST_NAME]}" if name else account_id
    if not regions:
        return shown
    return f"{shown} ({region if regions == 1 else counted(regions, 'region')})"


def counted(number: int, what: str, several: str | None = None) -> str:
    """Return a number and its noun; `several` is the plural where it does not end in an s alone."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"
