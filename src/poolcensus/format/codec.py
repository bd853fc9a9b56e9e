"""JSON, read and written without losing what a strict codec would refuse.

msgspec reads, since it keeps an integer of any length, and orjson writes, since it is the faster of the two
with dictionaries. Both refuse lone surrogates, which a service may send as an escape, and orjson integers
past 64 bits: the standard library's codec stands in, which also says in which line something is wrong.
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

# Deeper than either codec writes can be read; what has been read must be writable.
_DEEPEST = 200
# What begins the reason where a text is none at all; others name what JSON has no room for.
_NOT_JSON = "not JSON: "

# What is decoded as a value of few levels is known not to be deep, where counting brackets takes a third of
# the time of decoding. Five are those of an error of a pool in a page. Each level doubles the time in which
# the decoder is made: half a millisecond for five.
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

    Raises ValueError where it is not one (NaN is not one), or one of more than 200 levels.
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
        # Of a line of a file, whoever reads that says which it is.
        line = f"line {error.lineno} " if b"\n" in data.rstrip() else ""
        raise ValueError(f"{_NOT_JSON}{what} at {line}column {error.colno}") from None
    return value


def why_not_json(error: ValueError) -> str:
    """Return why `loads` refused a text, for a sentence that says itself that it is not JSON."""
    return str(error).removeprefix(_NOT_JSON)


def json_type_of(value: object) -> str:
    """Return what JSON calls a value that was read, such as `null` or `an object`."""
    return _KINDS.get(type(value), "a number")


def names(data: bytes) -> list[str]:
    """Return the names in a JSON text of an object, in their order, each as often as it is there."""
    found: list[str] = []

    def take(pairs: list[tuple[str, object]]) -> None:
        # What is outermost ends last.
        found[:] = [name for name, _ in pairs]

    json.loads(data.decode("utf-8"), object_pairs_hook=take)
    return found


def dumps(value: object) -> bytes:
    """Return one line of JSON in UTF-8, without the line's end. A Decimal is a number with all its digits."""
    try:
        return orjson.dumps(value, default=_fragment)
    except TypeError:
        return _encoded(value)


def _fragment(value: object) -> orjson.Fragment:
    return orjson.Fragment(_digits(value))


def _digits(value: object) -> str:
    from decimal import Decimal  # noqa: PLC0415 - a snapshot has none, and is written without it

    if isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} is no value of JSON")


def _encoded(value: object) -> bytes:
    """Return JSON of what orjson refuses: an integer of any length, or a lone surrogate.

    As orjson has it, what is no number is null. Raises TypeError for what is no value of JSON.
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
    """Whether a value has more than 200 levels."""
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
    """Return the whole number of a text in JSON. Raises ValueError where it has too many digits."""
    try:
        return int(text)
    except ValueError:
        # Python's own words advise to change a setting of Python.
        raise ValueError("a number has too many digits") from None


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
