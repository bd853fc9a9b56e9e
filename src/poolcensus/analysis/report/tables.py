"""The tables of the page. They limit the length of cells, and the number of rows by their size in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.format.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST: Final = 160
"""The most characters of a name. Names in a file can have any length. AWS's own limits are below this."""
LONGEST_SENTENCE: Final = 2_000
"""The most characters of a sentence that names a path or several accounts. Names that AWS allows fit in."""

# The most characters on one line of a cell. Regions, IDs and AWS's own names are shorter.
_LINE: Final = 34

# The most bytes of HTML for the rows of each table. With the rest of the page they stay below 5 MB, which
# browsers open immediately, and which fits into a mail.
FEW_BYTES: Final = 60_000
SKIPPED_BYTES: Final = 180_000
TREND_BYTES: Final = 300_000
ACCOUNT_BYTES: Final = 350_000
CHANGE_BYTES: Final = 350_000
FAILURE_BYTES: Final = 400_000
WORKLIST_BYTES: Final = 2_700_000

# How many bytes escaping in HTML may add to each of these characters, at most.
_ESCAPED: Final = {"&": 5, "<": 4, ">": 4, '"': 5, "'": 5}
# Bytes of the tags of a row, of a cell and of its second line, each with its longest attribute.
_ROW_BYTES: Final = 18
_CELL_BYTES: Final = 16
_SMALL_BYTES: Final = 15


class Heading(NamedTuple):
    """The heading of a column. Columns of numbers are aligned to the right, and sorted as numbers."""

    title: str
    is_number: bool = False


class Cell(NamedTuple):
    """A cell: its text, and a second line in small print."""

    text: str
    small: str = ""

    @property
    def is_long(self) -> bool:
        """Whether the cell needs more than one line for a text. IDs and names usually don't."""
        return len(self.text) > _LINE or len(self.small) > _LINE


class Row(NamedTuple):
    """A row. `kinds` are the words that the page filters by, separated by spaces."""

    cells: tuple[Cell, ...]
    kinds: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page. `left_out` is the number of rows that did not fit. `command` lists all rows."""

    id: str
    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    left_out: int
    command: str


def short(text: object, longest: int = LONGEST) -> str:
    """Return the text with only printable characters. If it is very long, it is cut."""
    said = "" if text is None else str(text)
    if len(said) <= longest:
        return printable(said)
    return f"{printable(said[:longest])}… ({len(said):,} characters)"


def sentence(text: object) -> str:
    """Return a sentence with only printable characters.

    It is cut much later than a name, because the end of a sentence matters.
    """
    return short(text, LONGEST_SENTENCE)


def cell(text: object, small: object = "") -> Cell:
    """Return a cell. Long texts are cut."""
    return Cell(short(text), short(small))


def row(*cells: object) -> Row:
    """Return a row of cells. Other values are made into cells."""
    return Row(tuple(each if isinstance(each, Cell) else cell(each) for each in cells))


def table(
    table_id: str,
    caption: str,
    headings: Iterable[Heading],
    rows: Iterable[Row],
    *,
    budget: int,
    command: str,
    beyond: int = 0,
) -> Table:
    """Return a table with as many of the rows as fit into `budget` bytes of HTML.

    `beyond` is the number of further rows that are not in `rows`.
    """
    fitting: list[Row] = []
    left_out = beyond
    for each in rows:
        budget -= size_of(each)
        if budget < 0:
            left_out += 1
        else:
            fitting.append(each)
    return Table(table_id, caption, tuple(headings), tuple(fitting), left_out, command)


def size_of(wanted: Row) -> int:
    """Return the most bytes that a row can take in the page."""
    texts = sum(
        _bytes(each.text) + (_SMALL_BYTES + _bytes(each.small) if each.small else 0) for each in wanted.cells
    )
    return _ROW_BYTES + len(wanted.kinds) + _CELL_BYTES * len(wanted.cells) + texts


def _bytes(text: str) -> int:
    if text.isalnum() and text.isascii():
        return len(text)
    return len(text.encode()) + sum(more * text.count(character) for character, more in _ESCAPED.items())
