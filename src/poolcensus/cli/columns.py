"""Rows of cells in columns that fit a terminal: what has to be copied is never broken.

Cells are cut only in columns that allow it. Where that is not enough, columns are left out, and at last the
lines run over. Without a width, as in a pipe, every row is one whole line.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from poolcensus.format.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions

    Row = Sequence[str]
    # Pieces of text, each with its style.
    Line = list[tuple[str, str]]

_GAP: Final = 2
# What a sentence needs in order to be read in a column; with less, it goes below its row.
_NARROWEST_SENTENCE: Final = 40
_INDENT: Final = 4
# IAM's denials name the policy at their end, after three ARNs: that is five lines. Others may be any length.
_LINES_OF_SENTENCE: Final = 6
# Without a terminal a cell may be any length. Beyond this, others are not moved aside for it.
_WIDEST_PADDED: Final = 40
# Columns are as wide as these need. All of a million rows would have to be kept to be measured.
_ROWS_MEASURED: Final = 500

ELLIPSIS: Final = "…"
# More than the ARN of a role's session has. Only what somebody made up is longer.
LONGEST_WORD: Final = 200


def plain(cell: str) -> str:  # noqa: ARG001 - a style depends on its cell
    """Return no style, for any cell."""
    return ""


class Column(NamedTuple):
    """A column: its title, and what becomes of it where there is no room.

    Columns of the highest `rank` are left out first, those of rank 0 never. Cells are cut to no less than
    `least` cells of the terminal; None: they are not cut. The last column may be of sentences.
    """

    title: str
    rank: int = 0
    least: int | None = None
    is_number: bool = False
    is_sentence: bool = False
    style: Callable[[str], str] = plain


class Grid:
    """Rows under the titles of their columns. They are read once, when it is printed, and counted then."""

    def __init__(self, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        self._columns = columns
        self._rows = rows
        self.rows_read = 0

    def texts(self) -> Iterator[str]:
        """Yield each line as plain text, however long: the titles, and a line for each row."""
        for line in self._lines(None):
            yield "".join(piece for piece, _ in line).rstrip()

    def styled(self, width: int) -> Iterator[Text]:
        """Yield the lines for a terminal of this width."""
        for line in self._lines(width):
            yield unbroken(*line)

    def _lines(self, width: int | None) -> Iterator[Line]:
        # Nothing where there are no rows.
        rows = (tuple(map(printable, row)) for row in self._rows)
        first = list(islice(rows, _ROWS_MEASURED))
        if not first:
            return
        layout = _Layout(self._columns, first, width)
        yield layout.titles()
        for part in (first, rows):
            for row in part:
                self.rows_read += 1
                yield from layout.lines(row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from self.styled(options.max_width)


class _Layout:
    """Which columns are shown, and how wide. `_widths` has them by the column's place in a row."""

    def __init__(self, columns: Sequence[Column], sample: Sequence[Row], width: int | None) -> None:
        self._columns = columns
        self._width = width
        self._sentence = next((at for at, each in enumerate(columns) if each.is_sentence), None)
        natural = {
            at: max(cell_len(column.title), *(cell_len(row[at]) for row in sample))
            for at, column in enumerate(columns)
            if not column.is_sentence
        }
        if width is None:
            self._widths = {at: min(cells, _WIDEST_PADDED) for at, cells in natural.items()}
        else:
            self._widths = _fitted(columns, natural, width)
        self._room = 0 if width is None else width - sum(self._widths.values()) - _GAP * len(self._widths)
        self._is_below = width is not None and self._room < _NARROWEST_SENTENCE

    def titles(self) -> Line:
        titles = [column.title for column in self._columns]
        if self._sentence is None or self._is_below:
            return self._line(titles, "bold")
        return self._line(titles, "bold", titles[self._sentence])

    def lines(self, row: Row) -> Iterator[Line]:
        sentence = "" if self._sentence is None else row[self._sentence]
        if self._width is None or not sentence:
            yield self._line(row, None, sentence)
            return
        indent = _INDENT if self._is_below else self._width - self._room
        pieces = _wrapped(sentence, self._width - indent)
        yield self._line(row, None, "" if self._is_below else pieces.pop(0))
        for piece in pieces:
            yield [(" " * indent, ""), (piece, "dim" if self._is_below else "")]

    def _line(self, row: Row, style: str | None, sentence: str = "") -> Line:
        made: Line = []
        last = None if sentence else next(reversed(self._widths), None)
        for at, cells in self._widths.items():
            column, cell = self._columns[at], row[at]
            if self._width is not None and column.least is not None:
                cell = cut(cell, cells)
            blank = " " * (cells - cell_len(cell))
            if column.is_number:
                cell = blank + cell
            made.append((cell, column.style(row[at]) if style is None else style))
            if at != last:
                made.append((" " * _GAP if column.is_number else f"{blank}{' ' * _GAP}", ""))
        made.append((sentence, style or ""))
        return made


def unbroken(*pieces: tuple[str, str]) -> Text:
    """Return a line that a console neither breaks nor cuts, if it is printed with `soft_wrap`."""
    return Text.assemble(*pieces, no_wrap=True, overflow="ignore")


def _fitted(columns: Sequence[Column], natural: dict[int, int], width: int) -> dict[int, int]:
    """Return the width of each column that is shown, by its place."""
    widths = {at: min(cells, columns[at].least or cells) for at, cells in natural.items()}
    while sum(widths.values()) + _GAP * (len(widths) - 1) > width:
        rank, at = max((columns[at].rank, at) for at in widths)
        if rank == 0:
            break
        del widths[at]
    spare = width - sum(widths.values()) - _GAP * (len(widths) - 1)
    more = shared_out(spare, {at: natural[at] - cells for at, cells in widths.items()})
    return {at: cells + more[at] for at, cells in widths.items()}


def shared_out(spare: int, missing: Mapping[int, int]) -> dict[int, int]:
    """Return how many of the spare cells each column gets, by its place, where these are missing.

    What needs least gets it all, so that as few columns as possible are short of room.
    """
    more: dict[int, int] = {}
    for number, at in enumerate(sorted(missing, key=lambda at: (missing[at], at))):
        more[at] = max(min(missing[at], spare // (len(missing) - number)), 0)
        spare -= more[at]
    return more


def cut(text: str, cells: int) -> str:
    """Return the text, cut to this many cells of a terminal with an ellipsis where it has more."""
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + ELLIPSIS


def _wrapped(text: str, width: int) -> list[str]:
    """Return the text in lines that break between words; a word that is longer, such as an ARN, runs over."""
    lines = list(islice(words_in_lines(text, width, LONGEST_WORD), _LINES_OF_SENTENCE + 1))
    if len(lines) > _LINES_OF_SENTENCE:
        del lines[_LINES_OF_SENTENCE:]
        lines[-1] = cut(f"{lines[-1]} {ELLIPSIS}", width)
    return lines


def words_in_lines(text: str, width: int, longest: int | None = None) -> Iterator[str]:
    """Yield the text in lines of at most `width` cells, but for words that are longer.

    Those are cut to `longest` cells, if that is not None.
    """
    line = ""
    for each in text.split(" "):
        word = each if longest is None else cut(each, longest)
        longer = f"{line} {word}" if line else word
        if line and cell_len(longer) > width:
            yield line
            longer = word
        line = longer
    yield line
