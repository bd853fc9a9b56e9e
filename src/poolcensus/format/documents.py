"""Reads TOML and JSON that people write.

Texts that exceed a limit of Python are refused with a message about the text.
"""

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
    """Return the table of a TOML text.

    Raises TOMLDecodeError, a ValueError, if the text is not TOML. Raises ValueError if it has more than 200
    levels, or a number with more digits than Python converts.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except ValueError:
        # This is the only other ValueError. Its message recommends changing a setting of Python.
        raise ValueError(_TOO_LONG) from None
    _check(table)
    return table


def load_json(text: str, pairs: Callable[[list[tuple[str, object]]], object]) -> object:
    """Return the value of a JSON text. `pairs` makes the value of each object from its members.

    Raises JSONDecodeError, a ValueError, if the text is not JSON. Raises ValueError in the same cases as
    `load_toml`, and whatever `pairs` raises.
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
    """Return whether Python can write each integer. TOML's hexadecimal ones may have any number of digits."""
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
