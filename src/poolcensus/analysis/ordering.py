"""Sorts lines without holding them in memory: SQLite sorts them in a temporary file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final, TypeAlias

from poolcensus.storage.advice import temporary_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcensus.errors import DestinationError

SortValue: TypeAlias = bytes | int | float | None

# SQLite's cache, in KiB: about 50,000 records of pools. Only what exceeds it is written to the file.
_MEMORY_KIB: Final = 32 * 1024
_LARGEST_INTEGER: Final = 2**63 - 1


def in_order(lines: Iterable[tuple[Sequence[object], bytes]], descending: Sequence[bool]) -> Iterator[bytes]:
    """Yield lines sorted by their keys. `lines` has pairs of a key and a line.

    A key is a sequence of values. `descending` says for each of them whether it sorts in descending order.
    Numbers come before text, and text is compared by code points. Other values come last, ascending or
    descending. Raises what `lines` raises, and `DestinationError` if there is no room for the temporary file.
    """
    names = [f"k{number}" for number in range(len(descending))]
    order = ", ".join(
        f"{name} IS NULL, {name} {'DESC' if down else 'ASC'}"
        for name, down in zip(names, descending, strict=True)
    )
    # A database without a name is a temporary file in the folder that TMPDIR names, or in the system's
    # default. It is removed when the database is closed.
    with closing(sqlite3.connect("")) as database:
        try:
            # The file need not survive a crash.
            for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_MEMORY_KIB}"):
                database.execute(f"PRAGMA {pragma}")
            database.execute(f"CREATE TABLE lines ({', '.join((*names, 'line'))})")
            database.executemany(
                f"INSERT INTO lines VALUES ({', '.join('?' * (len(names) + 1))})",
                ((*map(_value, key), line) for key, line in lines),
            )
            for (line,) in database.execute(f"SELECT line FROM lines ORDER BY {order}"):
                yield line
        except sqlite3.Error as error:
            raise _failure(error) from error


def _value(value: object) -> SortValue:
    """Return the value in a form that SQLite can compare. None if it has no order, such as an object."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        try:
            return float(value)
        except OverflowError:
            return None
    # JSON may contain half of a surrogate pair, which SQLite does not accept in text. Bytes of UTF-8 sort in
    # the order of code points.
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return value if isinstance(value, int | float) else None


def _failure(error: sqlite3.Error) -> DestinationError:
    return temporary_error("sort in a temporary file", OSError(str(error)))
