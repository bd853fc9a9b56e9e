"""Text from other people, for people to read."""

from __future__ import annotations

import unicodedata

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
