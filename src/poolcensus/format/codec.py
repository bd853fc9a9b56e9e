"""Reads and writes JSON without losing what a strict codec refuses.

msgspec reads, because it keeps integers of any length. orjson writes, because it is faster with dictionaries.
Both refuse lone surrogates, which a service may send as an escape, and orjson refuses integers of more than
64 bits. The standard library's codec takes over then. It also tells the line and column of a mistake.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import msgspec
import orjson

if TYPE_CHECKING:
    from poolcensus.model import JsonValue

_KINDS = {type(None): "null", bool: "a boolean", str: "a string", list: "an array", dict: "an object"}

# The deepest nesting that is read, in levels. The codecs read more than they write, and everything that is
# read must be writable.
_DEEPEST = 200
# The beginning of the reason if a text is not JSON at all. Other reasons name what can't be kept.
_NOT_JSON = "not JSON: "

# Decoding as a type of five levels proves that a value is not deep. Counting its brackets would take a third
# of the time of decoding. The errors of a pool in a page have five levels. Each level more doubles the time
# to make the decoder, which takes half a millisecond for five.
_Scalar: TypeAlias = bool | int | float | str | None
_One: TypeAlias = _Scalar | list[_Scalar] | dict[str, _Scalar]
_Two: TypeAlias = _Scalar | list[_One] | dict[str, _One]
_Three: TypeAlias = _Scalar | list[_Two] | dict[str, _Two]
_Four: TypeAlias = _Scalar | list[_Three] | dict[str, _Three]
_Five: TypeAlias = _Scalar | list[_Four] | dict[str, _Four]
_FLAT: msgspec.json.Decoder[JsonValue] = msgspec.json.Decoder(_Five)
_ANY: msgspec.json.Decoder[JsonValue] = msgspec.json.Decoder()


def loads(data: bytes) -> JsonValue:
    """Return the value of a JSON text in UTF-8.

    Raises ValueError if the text is not JSON (NaN is not JSON), or has more than 200 levels.
    """
    try:
        return _FLAT.decode(data)
    except msgspec.ValidationError:
        value = _deeper(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _by_standard_library(data)
    if data.count(b"[") + data.count(b"{") > _DEEPEST and is_too_deep(value):
        raise ValueError("nested too deeply")
    return value


def _deeper(data: bytes) -> JsonValue:
    try:
        return _ANY.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _by_standard_library(data)


def _by_standard_library(data: bytes) -> JsonValue:
    try:
        value: JsonValue = json.loads(
            data.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, parse_int=whole
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        what = f"{error.msg[:1].lower()}{error.msg[1:]}".removesuffix(" at")
        # A reader of lines says itself which line it is.
        line = f"line {error.lineno} " if b"\n" in data.rstrip() else ""
        raise ValueError(f"{_NOT_JSON}{what} at {line}column {error.colno}") from None
    return value


def why_not_json(error: ValueError) -> str:
    """Return the reason why `loads` refused a text, without the words "not JSON"."""
    return str(error).removeprefix(_NOT_JSON)


def json_type_of(value: object) -> str:
    """Return the JSON type of a decoded value, with its article, such as `null` or `an object`."""
    return _KINDS.get(type(value), "a number")


def names(data: bytes) -> list[str]:
    """Return the names of a JSON object's members, in order and with duplicates."""
    found: list[str] = []

    def take(pairs: list[tuple[str, object]]) -> None:
        # The outermost object ends last.
        found[:] = [name for name, _ in pairs]

    json.loads(data.decode("utf-8"), object_pairs_hook=take)
    return found


def dumps(value: object) -> bytes:
    """Return a value as one line of JSON in UTF-8, without a newline. A Decimal keeps all its digits."""
    try:
        return orjson.dumps(value, default=_fragment)
    except TypeError:
        return _encoded(value)


def _fragment(value: object) -> orjson.Fragment:
    return orjson.Fragment(_digits(value))


def _digits(value: object) -> str:
    from decimal import Decimal  # noqa: PLC0415 - snapshots have none

    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _encoded(value: object) -> bytes:
    """Return the JSON of a value that orjson refuses, such as a long integer or a lone surrogate.

    NaN and infinity become null, as with orjson. Raises TypeError for a value that JSON does not have.
    """
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
    except (TypeError, ValueError):
        match value:
            case dict() if all(isinstance(name, str) for name in value):
                parts = (b"%b:%b" % (_encoded(name), _encoded(each)) for name, each in value.items())
                return b"{%b}" % b",".join(parts)
            case list():
                return b"[%b]" % b",".join(map(_encoded, value))
            case float():
                return b"null"
            case _:
                return _digits(value).encode("ascii")


def is_too_deep(value: object) -> bool:
    """Return whether a value has more than 200 levels."""
    level: list[object] = [value]
    for _ in range(_DEEPEST + 1):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


def whole(text: str) -> int:
    """Return the integer of a JSON number. Raises ValueError if it has more digits than Python converts."""
    try:
        return int(text)
    except ValueError:
        # Python's own message recommends changing a setting of Python.
        raise ValueError("a number has too many digits") from None


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
