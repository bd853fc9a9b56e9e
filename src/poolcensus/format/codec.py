"""JSON, read and written without losing what a strict codec would refuse.

orjson is the codec. It refuses lone surrogates, which a service may send as an escape, and it reads an
integer past 64 bits as a float: the standard library's codec stands in for both.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, NoReturn

import orjson

if TYPE_CHECKING:
    from poolcensus.model import JsonValue

_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * 19
# orjson reads deeper than either codec writes; what has been read must be writable.
_DEEPEST = 200


def loads(data: bytes) -> JsonValue:
    """Return the value of a JSON text in UTF-8.

    Raises ValueError where it is not one (NaN is not one), or one of more than 200 levels.
    """
    value = _value(data)
    if data.count(b"[") + data.count(b"{") > _DEEPEST and _is_too_deep(value):
        raise ValueError("nested too deeply")
    return value


def _value(data: bytes) -> JsonValue:
    if _LONG_INTEGER not in data.translate(_DIGITS_AS_ZERO):
        try:
            value: JsonValue = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            if b"\\u" not in data:
                raise ValueError(str(error)) from None
        else:
            return value
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def dumps(value: object) -> bytes:
    """One line of JSON in UTF-8, without the line's end."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _is_too_deep(value: JsonValue) -> bool:
    level = [value]
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


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
