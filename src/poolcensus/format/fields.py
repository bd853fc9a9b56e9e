"""What stands under the keys of an object that was read, of the type that it has to have.

All raise `ValueError` for anything else, with the key and not the value in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.format.times import parse_rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from poolcensus.model import JsonObject, JsonValue


def value_of(holder: JsonObject, key: str) -> JsonValue:
    """Return what is under a key. Raises `ValueError` where there is none."""
    try:
        return holder[key]
    except KeyError:
        raise ValueError(f"{key} is missing") from None


def object_of(value: JsonValue, name: str) -> JsonObject:
    """Return a value that is an object; `name` is what a message calls it."""
    if isinstance(value, dict):
        return value
    raise ValueError(f"{name} is not an object")


def list_of(holder: JsonObject, key: str, *, missing: bool = False) -> list[JsonValue]:
    """Return the list under a key; an empty one for none, if it may be `missing`."""
    value = holder.get(key, []) if missing else value_of(holder, key)
    if isinstance(value, list):
        return value
    raise ValueError(f"{key} is not a list")


def texts_of(holder: JsonObject, key: str) -> tuple[str, ...]:
    """Return the texts that a list under a key has."""
    values = list_of(holder, key)
    texts = tuple(each for each in values if isinstance(each, str))
    if len(texts) < len(values):
        raise ValueError(f"{key} is not a list of texts")
    return texts


def text_of(holder: JsonObject, key: str) -> str:
    """Return the text under a key."""
    value = value_of(holder, key)
    if isinstance(value, str):
        return value
    raise ValueError(f"{key} is not text")


def text_or_none(holder: JsonObject, key: str, *, missing: bool = False) -> str | None:
    """Return the text under a key, None for null, and for no such key if it may be `missing`."""
    value = holder.get(key) if missing else value_of(holder, key)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{key} is neither text nor null")


def time_of(holder: JsonObject, key: str) -> datetime:
    """Return the time under a key."""
    try:
        return parse_rfc3339(text_of(holder, key))
    except ValueError as error:
        raise ValueError(f"{key} is not a time: {error}") from None


def count_of(holder: JsonObject, key: str) -> int:
    """Return the whole number under a key, which is not negative."""
    value = value_of(holder, key)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{key} is not a count")


def seconds_of(holder: JsonObject) -> float:
    """Return the duration under `seconds`."""
    value = value_of(holder, "seconds")
    # The bound keeps float() from overflowing on a damaged line.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12:
        return float(value)
    raise ValueError("seconds is not a number of seconds")
