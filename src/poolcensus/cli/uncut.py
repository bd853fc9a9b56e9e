"""Tables of text in which a word that a user may copy, such as an ID, is never split over two lines."""

from __future__ import annotations

import io

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolcensus.cli.columns import shared_out
from poolcensus.format.text import printable

_GAP = 2
# The minimum width for text of several words and for JSON, which may be wrapped. With less it is unreadable.
_NARROWEST_TEXT = 20


def uncut_table(names: list[str], numbers: list[bool], rows: list[list[str]], width: int | None) -> str:
    """Return the table as lines of text, with control characters escaped.

    With a `width` of None, a row is one line, however long. If `width` is too small for the longest word of
    every column, each row becomes a list of names and values.
    """
    titles = [printable(each) for each in names]
    cells = [[printable(each) for each in row] for row in rows]
    # At least 1: rich gives an empty column one cell, which it would otherwise take from the last column.
    full = [max(1, *map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    gaps = _GAP * (len(titles) - 1)
    if width is None:
        return "".join(_whole_line(each, numbers, full) for each in (titles, *cells))
    if sum(full) + gaps <= width:
        return _table(titles, numbers, cells, full)
    least = [max(1, *map(_longest_word, column)) for column in zip(titles, *cells, strict=True)]
    if sum(least) + gaps <= width:
        missing = {at: full[at] - cells for at, cells in enumerate(least)}
        more = shared_out(width - gaps - sum(least), missing)
        return _table(titles, numbers, cells, [cells + more[at] for at, cells in enumerate(least)])
    return _lists(titles, cells, width)


def _longest_word(text: str) -> int:
    # JSON may be wrapped anywhere, so it counts no more than the minimum.
    return max(
        min(cell_len(each), _NARROWEST_TEXT) if each.startswith(("{", "[")) else cell_len(each)
        for each in text.split(" ")
    )


def _whole_line(row: list[str], numbers: list[bool], widths: list[int]) -> str:
    """Return the row as `_table` would, but without rich, which takes a millisecond for a row."""
    blank = " " * _GAP
    return f"{blank.join(map(_padded, row, numbers, widths)).rstrip()}\n"


def _padded(text: str, is_number: bool, width: int) -> str:
    if is_number:
        text = text.rstrip()
        return " " * (width - cell_len(text)) + text
    # As rich does, drop trailing blanks of a text that is longer than its column.
    text = text[: max(len(text.rstrip()), width)]
    return text + " " * (width - cell_len(text))


def _table(titles: list[str], numbers: list[bool], rows: list[list[str]], widths: list[int]) -> str:
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=True, header_style="")
    for title, is_number, width in zip(titles, numbers, widths, strict=True):
        made.add_column(Text(title), justify="right" if is_number else "left", width=width, overflow="fold")
    for row in rows:
        made.add_row(*map(Text, row))
    return _lines(made, sum(widths) + _GAP * len(widths))


def _lists(titles: list[str], rows: list[list[str]], width: int) -> str:
    room = max(map(cell_len, titles))
    parts = []
    for row in rows:
        made = Table.grid(padding=(0, _GAP, 0, 0))
        made.add_column(width=room)
        made.add_column(width=max(width - room - _GAP, _NARROWEST_TEXT), overflow="fold")
        for title, cell in zip(titles, row, strict=True):
            made.add_row(Text(title), Text(cell))
        parts.append(_lines(made, max(width, room + _GAP + _NARROWEST_TEXT + _GAP)))
    return "\n".join(parts) + "\n" if parts else "\n".join(titles) + "\n"


def _lines(table: Table, width: int) -> str:
    # A console that writes to memory, and ignores the size and the colours of the terminal.
    console = Console(
        file=io.StringIO(), width=width + _GAP, color_system=None, markup=False, highlight=False, emoji=False,
        force_terminal=False, legacy_windows=False, _environ={},
    )  # fmt: skip
    with console.capture() as captured:
        console.print(table, soft_wrap=False)
    return "\n".join(line.rstrip() for line in captured.get().split("\n"))
