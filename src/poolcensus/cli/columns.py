"""Tables that fit a terminal. Text that a user may copy, such as an ID, is never broken.

Cells are truncated only in columns that allow it. If that is not enough, columns are left out, and finally
lines exceed the width. Without a width, as in a pipe, every row is one complete line.
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
    # Pieces of text with their styles.
    Line = list[tuple[str, str]]

_GAP: Final = 2
# A column of sentences needs this many cells to be readable. With fewer, a sentence goes below its row.
_NARROWEST_SENTENCE: Final = 40
_INDENT: Final = 4
# An IAM denial names the policy at its end, after three ARNs, which takes five lines. Others have no limit.
_LINES_OF_SENTENCE: Final = 6
# Without a terminal, cells have no maximum length. A longer cell does not widen the column for the others.
_WIDEST_PADDED: Final = 40
# Column widths are measured on the first rows. Measuring all would keep a million rows in memory.
_ROWS_MEASURED: Final = 500

ELLIPSIS: Final = "…"
# Longer than the ARN of any role session, so that only invented text is cut.
LONGEST_WORD: Final = 200


def plain(cell: str) -> str:  # noqa: ARG001 - a style depends on its cell
    """Return the empty style, whatever the cell."""
    return ""


class Column(NamedTuple):
    """A column: its title, and what happens to it if the table is too wide.

    Columns with the highest `rank` are left out first, those with rank 0 never. `least` is the minimum width
    that cells may be cut to, in terminal cells; with None they are not cut. Only the last column may hold
    sentences.
    """

    title: str
    rank: int = 0
    least: int | None = None
    is_number: bool = False
    is_sentence: bool = False
    style: Callable[[str], str] = plain


class Grid:
    """A table with column titles. `rows` is iterated once, during printing; `rows_read` counts the rows."""

    def __init__(self, columns: Sequence[Column], rows: Iterable[Row]) -> None:
        self._columns = columns
        self._rows = rows
        self.rows_read = 0

    def texts(self) -> Iterator[str]:
        """Yield the titles and each row as one line of plain text, however long."""
        for line in self._lines(None):
            yield "".join(piece for piece, _ in line).rstrip()

    def styled(self, width: int) -> Iterator[Text]:
        """Yield the lines for a terminal that is `width` cells wide."""
        for line in self._lines(width):
            yield unbroken(*line)

    def _lines(self, width: int | None) -> Iterator[Line]:
        # Without rows, the titles are not printed either.
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
    """Which columns are shown, and how wide. `_widths` maps a column's index in a row to its width."""

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
    """Return a line that a console neither wraps nor truncates, if it is printed with `soft_wrap`."""
    return Text.assemble(*pieces, no_wrap=True, overflow="ignore")


def _fitted(columns: Sequence[Column], natural: dict[int, int], width: int) -> dict[int, int]:
    """Return the width of each column that is shown, by its index."""
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
    """Divide the spare cells among the columns. `missing` is how many cells each column lacks, by index.

    Columns that lack least are served first, so that as few as possible stay too narrow.
    """
    more: dict[int, int] = {}
    for number, at in enumerate(sorted(missing, key=lambda at: (missing[at], at))):
        more[at] = max(min(missing[at], spare // (len(missing) - number)), 0)
        spare -= more[at]
    return more


def cut(text: str, cells: int) -> str:
    """Return the text. If it is wider than `cells` terminal cells, cut it and end it with an ellipsis."""
    return text if cell_len(text) <= cells else set_cell_size(text, cells - 1).rstrip() + ELLIPSIS


def _wrapped(text: str, width: int) -> list[str]:
    """Return the text in lines broken between words. A word wider than `width`, such as an ARN, overflows."""
    lines = list(islice(words_in_lines(text, width, LONGEST_WORD), _LINES_OF_SENTENCE + 1))
    if len(lines) > _LINES_OF_SENTENCE:
        del lines[_LINES_OF_SENTENCE:]
        lines[-1] = cut(f"{lines[-1]} {ELLIPSIS}", width)
    return lines


def words_in_lines(text: str, width: int, longest: int | None = None) -> Iterator[str]:
    """Yield the text in lines of at most `width` cells, broken between words.

    A word wider than `width` has a line of its own. Words are cut to `longest` cells, unless it is None.
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
