"""JSON, read and written without losing what a strict codec would refuse.

orjson is the codec. It refuses lone surrogates, which a service may send as an escape, and it reads an
integer past 64 bits as a float: the standard library's codec stands in for both.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn

import orjson

if TYPE_CHECKING:
    from poolcensus.model import JsonValue

_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * 19


def loads(data: bytes) -> JsonValue:
    """The value of a JSON text in UTF-8. Raises ValueError where it is not one (NaN is not one)."""
    if _LONG_INTEGER not in data.translate(_DIGITS_AS_ZERO):
        try:
            value: JsonValue = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            if b"\\u" not in data:
                raise ValueError(str(error)) from None
        else:
            return value
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def dumps(value: object) -> bytes:
    """One line of JSON in UTF-8, without the line's end."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
