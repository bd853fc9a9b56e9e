"""Text for people to read, much of it from other people."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from collections.abc import Set as AbstractSet

MOST_NAMED: Final = 5
"""How many accounts a sentence names: enough to see what they have in common."""

LONGEST_NAME: Final = 256
"""AWS takes 50 characters for an account. A list of accounts may hold anything."""

# What difflib itself takes for close.
_CLOSE: Final = 0.6
# Two letters begin words that have nothing to do with each other.
_SHORTEST_BEGINNING: Final = 3

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


def printable_json(line: str) -> str:
    """Return a line of JSON, less its end, with escapes of JSON in place of what a terminal would obey."""
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        _json_escape(character) if unicodedata.category(character) in _UNPRINTABLE else character
        for character in line
    )


def _json_escape(character: str) -> str:
    if character in "\t\r":
        # JSON has none in a string: it stands between two values.
        return " "
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


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


def nearest(
    word: str,
    known: Collection[str],
    *,
    cutoff: float = _CLOSE,
    beginnings: bool = True,
    preferred: AbstractSet[str] = frozenset(),
) -> str | None:
    """Return the known word that is close to `word`, None where none is.

    A word is close that differs in a few letters: `cutoff` is the least of difflib's ratios, from 0 to 1.
    With `beginnings`, so is first of all one that begins with the other. Of words that are equally close, one
    that is `preferred` is returned.
    """
    import difflib  # noqa: PLC0415 - only a mistake needs it

    begun = [
        each
        for each in known
        if beginnings
        and min(len(each), len(word)) >= _SHORTEST_BEGINNING
        and (each.startswith(word) or word.startswith(each))
    ]
    if begun:
        # The one that is nearest in length.
        return min(begun, key=lambda each: (abs(len(each) - len(word)), each not in preferred, each))
    close = difflib.get_close_matches(word, sorted(known), n=max(len(known), 1), cutoff=cutoff)
    ratio = difflib.SequenceMatcher(b=word)

    def nearness(each: str) -> tuple[float, bool, str]:
        ratio.set_seq1(each)
        return ratio.ratio(), each in preferred, each

    return max(close, key=nearness, default=None)


def did_you_mean(name: str | None) -> str:
    """Return a question after the name, to put behind a sentence; nothing for None."""
    return "" if name is None else f" Did you mean {name}?"
