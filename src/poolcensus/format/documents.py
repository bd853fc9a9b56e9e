"""TOML and JSON that people write. What Python has no room for is refused in words about the text."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

from poolcensus.format.codec import is_too_deep, whole

if TYPE_CHECKING:
    from collections.abc import Callable

_TOO_DEEP = "nested too deeply"
_TOO_LONG = "a number has too many digits"


def load_toml(text: str) -> dict[str, object]:
    """Return the table of a text in TOML.

    Raises TOMLDecodeError, a ValueError, for another text, and ValueError for one of more than 200 levels
    or with a number that has more digits than Python writes.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError:
        # There is no other one, and its words advise to change a setting of Python.
        raise ValueError(_TOO_LONG) from None
    _check(table)
    return table


def load_json(text: str, pairs: Callable[[list[tuple[str, object]]], object]) -> object:
    """Return the value of a text in JSON, with what `pairs` returns for each object.

    Raises JSONDecodeError, a ValueError, for another text, ValueError as `load_toml` does, and what `pairs`
    raises.
    """
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=whole)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check(value)
    return value


def _check(value: object) -> None:
    if is_too_deep(value):
        raise ValueError(_TOO_DEEP)
    if not _can_be_written(value):
        raise ValueError(_TOO_LONG)


def _can_be_written(value: object) -> bool:
    """Whether each number can be: one of TOML that is hexadecimal is read with any number of digits."""
    match value:
        case int():
            try:
                str(value)
            except ValueError:
                return False
            return True
        case dict():
            return all(map(_can_be_written, value.values()))
        case list():
            return all(map(_can_be_written, value))
    return True
