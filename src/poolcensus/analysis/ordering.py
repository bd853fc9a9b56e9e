"""Puts lines in an order without holding them in memory: SQLite sorts them in a temporary file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final, TypeAlias

from poolcensus.storage.advice import temporary_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from poolcensus.errors import DestinationError

SortValue: TypeAlias = bytes | int | float | None

# What is kept in memory before anything is written: some 50,000 records of a pool.
_MEMORY_KIB: Final = 32 * 1024
_LARGEST_INTEGER: Final = 2**63 - 1


def in_order(lines: Iterable[tuple[Sequence[object], bytes]], descending: Sequence[bool]) -> Iterator[bytes]:
    """Yield the lines, each given with its key, in the order of the keys.

    Each value of a key ascends unless it is `descending`. Numbers come before text, which is compared by code
    points; what is neither comes last either way. Raises what `lines` raises, and `DestinationError` where
    there is no room for a temporary file.
    """
    names = [f"k{number}" for number in range(len(descending))]
    order = ", ".join(
        f"{name} IS NULL, {name} {'DESC' if down else 'ASC'}"
        for name, down in zip(names, descending, strict=True)
    )
    # Without a name it is in the folder that TMPDIR names, or the system's own, and gone when it is closed.
    with closing(sqlite3.connect("")) as database:
        try:
            # It need not survive a crash.
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
    """Return a value that SQLite can compare; None for what has no order, such as an object."""
    if isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        try:
            return float(value)
        except OverflowError:
            return None
    # JSON may hold half of a surrogate pair, which SQLite takes for no text. UTF-8 sorts as code points do.
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    return value if isinstance(value, int | float) else None


def _failure(error: sqlite3.Error) -> DestinationError:
    return temporary_error("sort in a temporary file", OSError(str(error)))
