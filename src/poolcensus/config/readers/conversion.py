"""The parts that all readers are built from: texts, lists and numbers, and how messages show values.

A reader takes a setting as text or as a value, and msgspec checks the constraints. It raises `ValueError`
with a message that says what is allowed; its callers add the value, the key and the place. It raises
`EntryError` if the value must not be added. A reader accepts what it has returned, and returns it unchanged,
since settings are also made from settings, such as by `replace`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date, time
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, SupportsFloat, TypeAlias

import msgspec
from msgspec import Meta

from poolcensus.format.text import did_you_mean, nearest, printable

Reader: TypeAlias = Callable[[object], object]

# Characters of a value in a message. Enough for a path or an ARN, with room for the rest of the line.
_LONGEST_SHOWN = 80

_WHOLE = r"(?a)\s*\+?[0-9]+(?:_[0-9]+)*(?:\.0+)?\s*"

SomeText = Annotated[str, Meta(min_length=1, description="text that is not empty")]

_FLAGS: Mapping[str | int | float, bool] = {
    **dict.fromkeys((1, "1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys((0, "0", "false", "f", "no", "n", "off"), False),
}


class EntryError(ValueError):
    """A value is wrong. Messages must not show it: it may be secret, or the message names the wrong part."""


def suggestion(key: str, known: Collection[str]) -> str:
    """Return a "Did you mean" question with the known key closest to `key`. Empty if none is close."""
    return did_you_mean(nearest(key.lower().replace("-", "_"), known))


def check_keys(table: Mapping[str, object], known: Collection[str]) -> None:
    """Raise EntryError if a table has an unknown key."""
    for key in map(str, table):
        if key not in known:
            hint = suggestion(key, known) or f" A table of it has {', '.join(known)}."
            raise EntryError(f"unknown key {shown(key)}.{hint}")


def written(pattern: str, words: str) -> Meta:
    """Return the constraint for a text. Messages use `words`: those of msgspec would show the pattern."""
    return Meta(pattern=rf"(?a)^(?:{pattern})\Z", description=words)


def shown(value: object) -> str:
    """Return a value as messages show it: in TOML, shortened, and with control characters escaped."""
    if not isinstance(value, str):
        return _shortened(_as_toml(value))
    return f'"{_shortened(_escaped(value))}"'


def _as_toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{_escaped(value)}"'
        case date() | time():
            # A datetime is a date, too.
            return value.isoformat()
        case list() | tuple():
            return f"[{', '.join(map(_as_toml, value))}]"
        case Mapping():
            return (
                f"{{{', '.join(f'{_escaped(str(key))} = {_as_toml(each)}' for key, each in value.items())}}}"
            )
        case _:
            return ascii(value)


def _escaped(text: str) -> str:
    return printable(text.replace("\\", "\\\\"))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def elements_of(value: object) -> tuple[object, ...]:
    """Return the elements of a list, or of a text with commas between them."""
    if isinstance(value, str):
        return tuple(part for part in (each.strip() for each in value.split(",")) if part)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError("must be a list, or text with commas")  # noqa: TRY004 - what a parser raises
    return tuple(value)


def plain(kind: Any, value: object) -> Any:  # noqa: ANN401 - a type that is known only at run time
    """Convert a value to a number, a text or a member of an enum, ignoring its case.

    Checks the constraints of the type. Raises ValueError with the description of the type.
    """
    base, constraints = getattr(kind, "__origin__", kind), getattr(kind, "__metadata__", ())
    prepare = partial(_in_its_case, base) if issubclass(base, StrEnum) else _PREPARED.get(base)
    try:
        # Not strict, so that a float without a fraction is accepted as an integer.
        return msgspec.convert(prepare(value) if prepare else value, kind, strict=False)
    except msgspec.ValidationError:
        described = [each.description for each in constraints if isinstance(each, Meta)]
        words = described[0] if described else f"one of {', '.join(base)}"
        raise ValueError(f"must be {words}") from None


def each_of(kind: Any) -> Callable[[object], tuple[str, ...]]:  # noqa: ANN401 - a type that is known only at run time
    """Return a reader for a list of elements of a type. Duplicates are dropped."""
    return partial(_texts, kind)


def _texts(kind: Any, value: object) -> tuple[str, ...]:  # noqa: ANN401 - a type that is known only at run time
    seen: dict[str, None] = {}
    for entry in elements_of(value):
        for part in elements_of(entry) if isinstance(entry, str) else (entry,):
            if not isinstance(part, str):
                raise EntryError(f"{shown(part)} must be text, in quotes")
            try:
                seen[msgspec.convert(part, kind)] = None
            except msgspec.ValidationError:
                raise EntryError(f"{shown(part)} is not {kind.__metadata__[0].description}") from None
    return tuple(seen)


def text(value: object) -> str:
    """Read any text, as a plain string."""
    if not isinstance(value, str):
        raise ValueError("must be text, in quotes")  # noqa: TRY004 - what a parser raises
    # Turns a member of an enum into its plain text.
    return str.__str__(value)


def flag(value: object) -> bool:
    """Read a boolean, also from a word such as `yes`."""
    word = value.lower() if isinstance(value, str) else value
    found = _FLAGS.get(word) if isinstance(word, str | int | float) else None
    if found is None:
        raise ValueError("must be true or false")
    return found


def _in_its_case(kind: type[StrEnum], value: object) -> object:
    word = value.casefold() if isinstance(value, str) else value
    return next((each for each in kind if each.casefold() == word), value)


def _whole(value: object) -> float:
    # As text, a whole number has only digits: 1e3 is refused.
    return _number(value) if not isinstance(value, str) or re.fullmatch(_WHOLE, value) else math.nan


def _number(value: object) -> float:
    """Return a value as a number, or NaN, which no bounds allow."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - what a parser raises
    if isinstance(value, SupportsFloat) or (isinstance(value, str) and value.isascii()):
        with suppress(ValueError, TypeError, OverflowError):
            return float(value)
    return math.nan


# Prepares a value before msgspec converts it, by type.
_PREPARED: Mapping[Any, Callable[[object], object]] = {int: _whole, float: _number, str: text}
