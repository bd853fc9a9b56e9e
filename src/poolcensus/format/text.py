"""Text for people to read, much of it from other people."""

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


def counted(number: int, what: str, several: str | None = None) -> str:
    """Return a number and its noun; `several` is the plural where it does not end in an s alone."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"
