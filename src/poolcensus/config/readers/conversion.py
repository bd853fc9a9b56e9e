"""What all readers are made of: texts, lists and numbers, and how a message shows them.

A reader takes a setting from text as from the value itself; msgspec checks against its constraints. It raises
`ValueError` with a message that says what is allowed, or `EntryError` where the message is all that may be
shown: the layers above add what the value was, which key it was, and where it stood. What a reader returns it
also takes, unchanged: settings are made from settings, by `replace` for one.
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

# Room for a path or an ARN in a line that says more.
_LONGEST_SHOWN = 80

_WHOLE = r"(?a)\s*\+?[0-9]+(?:_[0-9]+)*(?:\.0+)?\s*"

SomeText = Annotated[str, Meta(min_length=1, description="text that is not empty")]

_FLAGS: Mapping[str | int | float, bool] = {
    **dict.fromkeys((1, "1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys((0, "0", "false", "f", "no", "n", "off"), False),
}


class EntryError(ValueError):
    """A value is wrong that must not be shown, or need not: the message names the part that is wrong."""


def suggestion(key: str, known: Collection[str]) -> str:
    """Return a question after the known key that is close to `key`; nothing where none is."""
    return did_you_mean(nearest(key.lower().replace("-", "_"), known))


def check_keys(table: Mapping[str, object], known: Collection[str]) -> None:
    """Raise EntryError for a key of a table that is not known."""
    for key in map(str, table):
        if key not in known:
            hint = suggestion(key, known) or f" A table of it has {', '.join(known)}."
            raise EntryError(f"unknown key {shown(key)}.{hint}")


def written(pattern: str, words: str) -> Meta:
    """Return the constraint of a text. The words are the message's: msgspec's own would show the pattern."""
    return Meta(pattern=rf"(?a)^(?:{pattern})\Z", description=words)


def shown(value: object) -> str:
    """Return a value as it appears in a message: short, with nothing that a terminal would obey.

    It is written as TOML has it, where most of them stand.
    """
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
            # A datetime, too, is a date.
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
    """Return the elements of a list that may also be written as text, with commas between them."""
    if isinstance(value, str):
        return tuple(part for part in (each.strip() for each in value.split(",")) if part)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError("must be a list, or text with commas")  # noqa: TRY004 - what a parser raises
    return tuple(value)


def plain(kind: Any, value: object) -> Any:  # noqa: ANN401 - a type that is known only at run time
    """Convert a value to a number, a text or an enum's member, whose case does not matter.

    The type's own constraints hold. Raises ValueError, in the words of the type's description.
    """
    base, constraints = getattr(kind, "__origin__", kind), getattr(kind, "__metadata__", ())
    prepare = partial(_in_its_case, base) if issubclass(base, StrEnum) else _PREPARED.get(base)
    try:
        # Not strict, for a float that is whole.
        return msgspec.convert(prepare(value) if prepare else value, kind, strict=False)
    except msgspec.ValidationError:
        described = [each.description for each in constraints if isinstance(each, Meta)]
        words = described[0] if described else f"one of {', '.join(base)}"
        raise ValueError(f"must be {words}") from None


def each_of(kind: Any) -> Callable[[object], tuple[str, ...]]:  # noqa: ANN401 - a type that is known only at run time
    """Return a reader of a list whose every element is of a type. Elements that come twice count once."""
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
    """Return any text, as a plain string."""
    if not isinstance(value, str):
        raise ValueError("must be text, in quotes")  # noqa: TRY004 - what a parser raises
    # The text of an enum's member, for one, and not the member.
    return str.__str__(value)


def flag(value: object) -> bool:
    """Return a truth, from a word for it too."""
    word = value.lower() if isinstance(value, str) else value
    found = _FLAGS.get(word) if isinstance(word, str | int | float) else None
    if found is None:
        raise ValueError("must be true or false")
    return found


def _in_its_case(kind: type[StrEnum], value: object) -> object:
    word = value.casefold() if isinstance(value, str) else value
    return next((each for each in kind if each.casefold() == word), value)


def _whole(value: object) -> float:
    # Text that counts things is a plain number, and not 1e3.
    return _number(value) if not isinstance(value, str) or re.fullmatch(_WHOLE, value) else math.nan


def _number(value: object) -> float:
    """Return the number that a value is or says, and NaN for none: no bounds allow it."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - what a parser raises
    if isinstance(value, SupportsFloat) or (isinstance(value, str) and value.isascii()):
        with suppress(ValueError, TypeError, OverflowError):
            return float(value)
    return math.nan


# What a value is made into before it is converted.
_PREPARED: Mapping[Any, Callable[[object], object]] = {int: _whole, float: _number, str: text}
