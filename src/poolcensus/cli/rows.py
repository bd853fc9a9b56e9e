"""The rows of a query as NDJSON, as CSV, or as a table for people."""

from __future__ import annotations

import csv
import math
from datetime import date, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from poolcensus.format.codec import dumps
from poolcensus.format.text import printable, printable_json
from poolcensus.format.times import rfc3339
from poolcensus.model import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from poolcensus.analysis.result_values import ResultColumn, Value

# Rows written at a time: few writes, and little memory.
_ROWS_A_PIECE = 500
_END_OF_CSV: Final = "\r\n"
_NUMBERS: Final = frozenset({ColumnType.INTEGER, ColumnType.NUMBER, ColumnType.DECIMAL})
# Types written in CSV and tables as in JSON. Python's str() would write a small Decimal with an exponent.
_AS_IN_JSON: Final = frozenset({ColumnType.JSON, ColumnType.DECIMAL})


class Table(Protocol):
    """A table to be printed: columns, and rows with a value for each column."""

    @property
    def columns(self) -> Sequence[ResultColumn]:
        """The columns."""

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        """Iterate over the rows."""


class TextTable:
    """A table of texts under the names of its columns."""

    def __init__(self, names: Iterable[str], rows: Sequence[tuple[str, ...]]) -> None:
        from poolcensus.analysis.result_values import ResultColumn

        self.columns = [ResultColumn(each, ColumnType.TEXT) for each in names]
        self._rows = rows

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        return iter(self._rows)


def json_pieces(rows: Table, *, for_terminal: bool = False) -> Iterator[bytes]:
    """Yield the rows as lines of JSON, one object each. Times are RFC 3339; NaN and infinity are null.

    For a terminal, control and hidden characters are escaped.
    """

    def line(row: tuple[Value, ...]) -> bytes:
        made = dumps({name: _json_value(value) for name, value in zip(names, row, strict=True)})
        return printable_json(made.decode()).encode() if for_terminal else made

    names = [each.name for each in rows.columns]
    for part in _parts(rows):
        yield b"".join(line(row) + b"\n" for row in part)


def csv_pieces(rows: Table, *, for_terminal: bool = False) -> Iterator[bytes]:
    """Yield the rows as CSV, after a line of column names. NULL is an empty field, JSON stays JSON.

    For a terminal, control and hidden characters are escaped, line breaks too.
    """
    lines = _Lines(for_terminal=for_terminal)
    # csv quotes a field that contains a character of the line end. With \r\n it also quotes a lone \r.
    writer = csv.writer(lines, lineterminator=_END_OF_CSV)
    writer.writerow([each.name for each in rows.columns])
    writers = [_writer(each.type) for each in rows.columns]
    for part in _parts(rows):
        writer.writerows([write(value) for write, value in zip(writers, row, strict=True)] for row in part)
        yield lines.taken()
    yield lines.taken()


def table_pieces(rows: Table, width: int | None) -> Iterator[bytes]:
    """Yield the rows as a table of at most `width` terminal cells. With None, lines are as long as needed."""
    from poolcensus.cli.uncut import uncut_table

    names = [each.name for each in rows.columns]
    numbers = [each.type in _NUMBERS for each in rows.columns]
    writers = [_writer(each.type) for each in rows.columns]
    empty = True
    for part in _parts(rows):
        cells = [[write(value) for write, value in zip(writers, row, strict=True)] for row in part]
        yield uncut_table(names, numbers, cells, width).encode(errors="backslashreplace")
        empty = False
    if empty:
        yield uncut_table(names, numbers, [], width).encode()


def _parts(rows: Iterable[tuple[Value, ...]]) -> Iterator[list[tuple[Value, ...]]]:
    rest = iter(rows)
    while part := list(islice(rest, _ROWS_A_PIECE)):
        yield part


class _Lines:
    """A file for csv.writer. It collects lines, and ends each with a plain newline."""

    def __init__(self, *, for_terminal: bool) -> None:
        self._for_terminal = for_terminal
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        text = line.removesuffix(_END_OF_CSV)
        self._lines.append(f"{printable(text) if self._for_terminal else text}\n")

    def taken(self) -> bytes:
        data = "".join(self._lines).encode()
        self._lines.clear()
        return data


def _json_value(value: Value) -> object:
    match value:
        case datetime():
            return _text_of_time(value)
        case date():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def _writer(kind: ColumnType) -> Callable[[Value], str]:
    """Return the function that turns the values of a column into text."""

    def write(value: Value) -> str:
        match value:
            case None:
                return ""
            case datetime():
                return _text_of_time(value)
            case date():
                return value.isoformat()
            case bool():
                return "true" if value else "false"
            case str() if kind is not ColumnType.JSON:
                return value
            case _:
                return dumps(value).decode() if kind in _AS_IN_JSON else str(value)

    return write


def _text_of_time(value: datetime) -> str:
    # Times of snapshots have milliseconds. Other times may be more precise.
    return rfc3339(value) if value.microsecond % 1000 == 0 else f"{value.isoformat().removesuffix('+00:00')}Z"
