"""Formats text for people: lists, counts, suggestions, and escapes for text from elsewhere."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from collections.abc import Set as AbstractSet

MOST_NAMED: Final = 5
"""How many accounts a sentence names: enough to see what they have in common."""

LONGEST_NAME: Final = 256
"""How many characters of an account's name are shown. AWS allows 50, but a list of accounts may have more."""

# The default cutoff of difflib.get_close_matches.
_CLOSE: Final = 0.6
# Unrelated words often have their first two letters in common.
_SHORTEST_BEGINNING: Final = 3

# The categories of control, format (which may reorder text), surrogate, private-use and unassigned
# characters, and of line and paragraph separators.
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """Return a text with escapes in place of characters that control a terminal or are invisible."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        ascii(character)[1:-1] if unicodedata.category(character) in _UNPRINTABLE else character
        for character in text
    )


def printable_json(line: str) -> str:
    """Return a JSON text of one line with JSON escapes in place of characters that control a terminal."""
    if line.isascii() and line.isprintable():
        return line
    return "".join(
        _json_escape(character) if unicodedata.category(character) in _UNPRINTABLE else character
        for character in line
    )


def _json_escape(character: str) -> str:
    if character in "\t\r":
        # JSON strings can't hold these, so this is white space between two values.
        return " "
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def listed(names: Sequence[str], most: int = MOST_NAMED, *, total: int | None = None) -> str:
    """Return the first `most` names and the number of the others: `a, b, and 3 more`.

    `total` is the number of all names, if `names` does not have all of them.
    """
    shown = names[:most]
    more = (len(names) if total is None else total) - len(shown)
    return ", ".join([*shown, f"and {more:,} more"] if more > 0 else shown)


def account_named(account_id: str, name: str | None, region: str, regions: int) -> str:
    """Return an account's ID and name, with the region, or the number of regions, in parentheses.

    With 0 `regions` the parentheses are left out.
    """
    shown = f"{account_id} {name[:LONGEST_NAME]}" if name else account_id
    if not regions:
        return shown
    return f"{shown} ({region if regions == 1 else counted(regions, 'region')})"


def counted(number: int, what: str, several: str | None = None) -> str:
    """Return a number and its noun. `several` is the plural, if it is not the noun with an s."""
    return f"{number:,} {what if number == 1 else several or f'{what}s'}"


def nearest(
    word: str,
    known: Collection[str],
    *,
    cutoff: float = _CLOSE,
    beginnings: bool = True,
    preferred: AbstractSet[str] = frozenset(),
) -> str | None:
    """Return the known word that is closest to `word`, or None if none is close.

    With `beginnings`, words of which one begins with the other are preferred to all others. Else a word is
    close if difflib's ratio, from 0 to 1, is at least `cutoff`. Among equally close words, a `preferred` one
    is returned.
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
        # The one of the most similar length.
        return min(begun, key=lambda each: (abs(len(each) - len(word)), each not in preferred, each))
    close = difflib.get_close_matches(word, sorted(known), n=max(len(known), 1), cutoff=cutoff)
    ratio = difflib.SequenceMatcher(b=word)

    def nearness(each: str) -> tuple[float, bool, str]:
        ratio.set_seq1(each)
        return ratio.ratio(), each in preferred, each

    return max(close, key=nearness, default=None)


def did_you_mean(name: str | None) -> str:
    """Return " Did you mean NAME?", to put behind a sentence, or an empty string for None."""
    return "" if name is None else f" Did you mean {name}?"
