"""Tables of the page: cells of bounded length, and as many rows as a number of bytes has room for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.format.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST: Final = 160
"""Names come from others, and may be as long as a file. AWS's own limits are below this."""
LONGEST_SENTENCE: Final = 2_000
"""Of a sentence that names a path or the first accounts of many. With names as AWS allows it stays whole."""

# A region, an ID or a name of AWS's own making is shorter, and stays whole.
_LINE: Final = 34

# Bytes of HTML for the rows of each table. Together with all else they stay below 5 MB, which a browser opens
# at once and a mail takes.
FEW_BYTES: Final = 60_000
SKIPPED_BYTES: Final = 180_000
TREND_BYTES: Final = 300_000
ACCOUNT_BYTES: Final = 350_000
CHANGE_BYTES: Final = 350_000
FAILURE_BYTES: Final = 400_000
WORKLIST_BYTES: Final = 2_700_000

# What HTML makes of the characters that mean something there, and of others in UTF-8.
_ESCAPED: Final = {"&": 5, "<": 4, ">": 4, '"': 5, "'": 5}
# The tags of a row, of a cell and of its second line, each with its longest attribute.
_ROW_BYTES: Final = 18
_CELL_BYTES: Final = 16
_SMALL_BYTES: Final = 15


class Heading(NamedTuple):
    """The head of a column. Numbers are aligned to the right, and sorted as such."""

    title: str
    is_number: bool = False


class Cell(NamedTuple):
    """A cell: what it says, and a second line in small print."""

    text: str
    small: str = ""

    @property
    def is_long(self) -> bool:
        """Whether it needs more than one line of a column: IDs and names as a rule don't."""
        return len(self.text) > _LINE or len(self.small) > _LINE


class Row(NamedTuple):
    """A row. `kinds` are the words that the page filters by, with blanks between them."""

    cells: tuple[Cell, ...]
    kinds: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the page. `left_out` counts the rows that had no room, which `command` lists."""

    id: str
    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]
    left_out: int
    command: str


def short(text: object, longest: int = LONGEST) -> str:
    """Return text that can be seen, cut where it is very long."""
    said = "" if text is None else str(text)
    if len(said) <= longest:
        return printable(said)
    return f"{printable(said[:longest])}… ({len(said):,} characters)"


def sentence(text: object) -> str:
    """Return a sentence, which ends with what it is about: it is cut only where names in it are no names."""
    return short(text, LONGEST_SENTENCE)


def cell(text: object, small: object = "") -> Cell:
    """Return a cell of values from others."""
    return Cell(short(text), short(small))


def row(*cells: object) -> Row:
    """Return a row of cells, or of values."""
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

    `beyond` counts rows that nobody has kept.
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
    """Return how many bytes a row takes in the page at most."""
    texts = sum(
        _bytes(each.text) + (_SMALL_BYTES + _bytes(each.small) if each.small else 0) for each in wanted.cells
    )
    return _ROW_BYTES + len(wanted.kinds) + _CELL_BYTES * len(wanted.cells) + texts


def _bytes(text: str) -> int:
    if text.isalnum() and text.isascii():
        return len(text)
    return len(text.encode()) + sum(more * text.count(character) for character, more in _ESCAPED.items())
