"""Reads values of a decoded JSON object, and checks their types.

All functions raise `ValueError` for a wrong type. The message names the key and does not quote the value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.format.times import parse_rfc3339

if TYPE_CHECKING:
    from datetime import datetime

    from poolcensus.model import JsonObject, JsonValue


def value_of(holder: JsonObject, key: str) -> JsonValue:
    """Return the value of a key. Raises `ValueError` if the key is missing."""
    try:
        return holder[key]
    except KeyError:
        raise ValueError(f"{key} is missing") from None


def object_of(value: JsonValue, name: str) -> JsonObject:
    """Return a value that has to be an object. `name` is its name in the error message."""
    if isinstance(value, dict):
        return value
    raise ValueError(f"{name} is not an object")


def list_of(holder: JsonObject, key: str, *, missing: bool = False) -> list[JsonValue]:
    """Return the list of a key. If the key may be `missing`, return an empty list for it."""
    value = holder.get(key, []) if missing else value_of(holder, key)
    if isinstance(value, list):
        return value
    raise ValueError(f"{key} is not a list")


def texts_of(holder: JsonObject, key: str) -> tuple[str, ...]:
    """Return the list of strings of a key."""
    values = list_of(holder, key)
    texts = tuple(each for each in values if isinstance(each, str))
    if len(texts) < len(values):
        raise ValueError(f"{key} is not a list of texts")
    return texts


def text_of(holder: JsonObject, key: str) -> str:
    """Return the string of a key."""
    value = value_of(holder, key)
    if isinstance(value, str):
        return value
    raise ValueError(f"{key} is not text")


def text_or_none(holder: JsonObject, key: str, *, missing: bool = False) -> str | None:
    """Return the string of a key, or None for null. If the key may be `missing`, return None for it."""
    value = holder.get(key) if missing else value_of(holder, key)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"{key} is neither text nor null")


def time_of(holder: JsonObject, key: str) -> datetime:
    """Return the time of a key."""
    try:
        return parse_rfc3339(text_of(holder, key))
    except ValueError as error:
        raise ValueError(f"{key} is not a time: {error}") from None


def count_of(holder: JsonObject, key: str) -> int:
    """Return the non-negative integer of a key."""
    value = value_of(holder, key)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"{key} is not a count")


def seconds_of(holder: JsonObject) -> float:
    """Return the duration of the key `seconds`."""
    value = value_of(holder, "seconds")
    # The bound prevents float() from overflowing on a damaged line.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e12:
        return float(value)
    raise ValueError("seconds is not a number of seconds")
