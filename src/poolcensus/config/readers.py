"""What reads each setting: from text as from the value itself.

A parser raises `ValueError` with a message that says what is allowed, or `EntryError` where the message
is all that may be shown: the layers above add what the value was, which key it was, and where it stood.
What a parser returns it also takes, unchanged: settings are made from settings, by `replace` for one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat, TypeAlias
from urllib.parse import urlsplit

from poolcensus.config.values import (
    FailureBudget,
    FilterOperator,
    LogLevel,
    Mode,
    PoolFilter,
    Secret,
)
from poolcensus.model import Shard

if TYPE_CHECKING:
    from enum import Enum

Reader: TypeAlias = Callable[[object], object]


class EntryError(ValueError):
    """A value is wrong that must not be shown, or need not: the message names the part that is wrong."""


FILTER_NAMES = ("PoolName",)
MAX_FILTERS = 25
MAX_FILTER_VALUES = 25
MAX_FILTER_VALUE_LENGTH = 128

# Text, and not compiled: a run reads few of the settings and starts sooner without the other patterns.
_ACCOUNT_ID = r"[0-9]{12}"
_UNIT_ID = r"ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32}"
_POOL_ID = r"wspool-[0-9a-z]{9}"
_REGION = r"[a-z]{2,8}(?:-[a-z]+){1,3}-[0-9]{1,2}"
_REGION_PATTERN = r"[a-z0-9*?\[\]!-]{1,64}"
_ROLE_NAME = r"(?a)[\w+=,.@/-]{1,512}"
_EXTERNAL_ID = r"(?a)[\w+=,.@:/-]{2,1224}"
_SESSION_NAME = r"(?a)[\w+=,.@-]{2,64}"
_S3_PLACE = r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/]+)*)/?"
_KMS_KEY = r"(?a)[\w+=,.@:/-]{1,2048}"
_OCTAL = r"(?:0o)?([0-7]{3,4})"
_BUDGET = r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%"
_SHARD = r"([0-9]{1,9})/([0-9]{1,9})"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_NEARLY_A_URL = r"(?i)s3[an]?:|s3\W*//|arn:|https?:|file:|gs:|[a-z0-9.-]+\.amazonaws\.com|.*://"
# What a shell would have taken away, and an env file or a form keeps; typewritten or typeset.
_AROUND = " \t\r\n\"'`<>\u201c\u201d\u2018\u2019\u00ab\u00bb"
_CONTROL = r"[\x00-\x1f\x7f]"
_WHOLE = r"(?a)\s*\+?[0-9]+(?:_[0-9]+)*(?:\.0+)?\s*"

_LONGEST_PREFIX = 900
_LONGEST_SECONDS = 604_800

_FLAGS: Mapping[str | int | float, bool] = {
    **dict.fromkeys((1, "1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys((0, "0", "false", "f", "no", "n", "off"), False),
}


def shown(value: object) -> str:
    """A value as it appears in a message: short, and with nothing that a terminal would obey."""
    text = ascii(value)
    if not isinstance(value, str):
        return text if len(text) <= 80 else f"{text[:77]}..."
    body = text[1:-1]
    return f'"{body}"' if len(body) <= 80 else f'"{body[:77]}..."'


def listed(value: object) -> tuple[object, ...]:
    """The elements of a list that may also be written as text, with commas between them."""
    if isinstance(value, str):
        return tuple(part for part in (each.strip() for each in value.split(",")) if part)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        message = "must be a list, or text with commas"
        raise ValueError(message)  # noqa: TRY004 - what a parser raises
    return tuple(value)


def _texts(parse: Callable[[str], str], value: object) -> tuple[str, ...]:
    seen: dict[str, None] = {}
    for entry in listed(value):
        for part in listed(entry) if isinstance(entry, str) else (entry,):
            if not isinstance(part, str):
                message = f"{shown(part)} must be text, in quotes"
                raise EntryError(message)
            seen[parse(part)] = None
    return tuple(seen)


def _matching(pattern: str, allowed: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        message = f"{shown(text)} is not {allowed}"
        raise EntryError(message)
    return text


accounts = partial(_texts, partial(_matching, _ACCOUNT_ID, "an account id: 12 digits"))
units = partial(
    _texts,
    partial(_matching, _UNIT_ID, "the id of an organizational unit (ou-ab12-34cd56ef) or of a root (r-ab12)"),
)
pool_ids = partial(_texts, partial(_matching, _POOL_ID, "a pool id: wspool- and 9 digits or small letters"))
regions = partial(_texts, partial(_matching, _REGION, "the name of a region, such as eu-west-1"))
region_patterns = partial(
    _texts,
    partial(_matching, _REGION_PATTERN, "the name of a region or a pattern, such as eu-west-1 or eu-*"),
)


def text(value: object) -> str:
    """Any text, as a plain string."""
    if not isinstance(value, str):
        message = "must be text, in quotes"
        raise ValueError(message)  # noqa: TRY004 - what a parser raises
    # The text of an enum's member, for one, and not the member.
    return str.__str__(value)


def some_text(value: object) -> str:
    """Text of a character or more."""
    found = text(value)
    if not found:
        message = "must be text that is not empty"
        raise ValueError(message)
    return found


def _text(pattern: str, allowed: str, value: object) -> str:
    found = text(value)
    if not re.fullmatch(pattern, found):
        message = f"must be {allowed}"
        raise ValueError(message)
    return found


role_name = partial(
    _text, _ROLE_NAME, "a role's name, with its path if it has one: 1 to 512 letters, digits and +=,.@_/-"
)
session_name = partial(_text, _SESSION_NAME, "2 to 64 letters, digits and +=,.@_-")
kms_key = partial(_text, _KMS_KEY, "the id, the ARN or the alias of a KMS key")
account = partial(_text, _ACCOUNT_ID, "an account id: 12 digits, in quotes")


def external_id(value: object) -> Secret:
    """An external id, which is a secret: no message names it."""
    found = value.get_secret_value() if isinstance(value, Secret) else value
    try:
        return Secret(_text(_EXTERNAL_ID, "2 to 1224 letters, digits and +=,.@_:/-", found))
    except ValueError as error:
        raise EntryError(str(error)) from None


def account_tags(value: object) -> tuple[tuple[str, str], ...]:
    """Tags from `KEY=VALUE` texts, or from a table."""
    pairs = tuple(value.items()) if isinstance(value, Mapping) else listed(value)
    found: dict[tuple[str, str], None] = {}
    for pair in pairs:
        match pair:
            case str() if "=" in pair:
                key, _, wanted = pair.partition("=")
            case (str(key), str(wanted)):
                pass
            case _:
                message = f"{shown(pair)} is not a tag: KEY=VALUE"
                raise EntryError(message)
        key = key.strip()
        if not 1 <= len(key) <= 128 or len(wanted) > 256:
            message = f"{shown(pair)} is not a tag: a key has 1 to 128 characters, a value at most 256"
            raise EntryError(message)
        found[(key, wanted.strip())] = None
    return tuple(found)


def filters(value: object) -> tuple[PoolFilter, ...]:
    """Filters from `NAME:OPERATOR:VALUE,VALUE` texts, or from tables of name, operator and values."""
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    elif isinstance(value, Mapping):
        value = [value]
    found = tuple(dict.fromkeys(_filter(entry) for entry in listed(value)))
    if len(found) > MAX_FILTERS:
        message = f"has {len(found)} filters: the service takes at most {MAX_FILTERS}"
        raise EntryError(message)
    return found


def _filter(entry: object) -> PoolFilter:
    given: tuple[object, ...]
    match entry:
        case PoolFilter():
            name, operator, given = entry.name, str(entry.operator), tuple(entry.values)
        case str() if entry.count(":") >= 2:
            name, operator, joined = (part.strip() for part in entry.split(":", 2))
            given = tuple(part.strip() for part in joined.split(","))
        case Mapping() if entry.keys() == {"name", "operator", "values"}:
            name, operator = entry["name"], entry["operator"]
            raw = entry["values"]
            given = tuple(raw) if isinstance(raw, list | tuple) else (raw,)
        case _:
            message = (
                f"{shown(entry)} is not a filter: PoolName:OPERATOR:VALUE,VALUE, or a table of name, operator"
                " and values"
            )
            raise EntryError(message)
    if name not in FILTER_NAMES:
        message = f"{shown(name)} can't be filtered by: the service knows only {', '.join(FILTER_NAMES)}"
        raise EntryError(message)
    if operator not in list(FilterOperator):
        message = f"{shown(operator)} is not an operator: {', '.join(FilterOperator)}"
        raise EntryError(message)
    wanted: dict[str, None] = {}
    for each in given:
        if not isinstance(each, str) or not 1 <= len(each) <= MAX_FILTER_VALUE_LENGTH:
            message = f"{shown(each)} is no filter value: text of 1 to {MAX_FILTER_VALUE_LENGTH} characters"
            raise EntryError(message)
        wanted[each] = None
    if not 1 <= len(wanted) <= MAX_FILTER_VALUES:
        message = f"a filter has 1 to {MAX_FILTER_VALUES} values, not {len(wanted)}"
        raise EntryError(message)
    return PoolFilter(name=name, operator=FilterOperator(operator), values=tuple(wanted))


def destination(value: object) -> str:
    """A destination: a directory, `s3://bucket/prefix`, or `-`."""
    allowed = "must be a directory, s3://BUCKET/PREFIX, or - for standard output"
    place = text(str(value) if isinstance(value, Path) else value)
    if not place or "\0" in place:
        raise ValueError(allowed)
    nearly = f"{shown(place)} is neither the name of a directory nor a URL such as s3://BUCKET/PREFIX"
    # In a container, a folder that was meant to be a bucket is gone with everything in it.
    if place.strip(_AROUND) != place:
        raise EntryError(nearly)
    if place.startswith("s3://"):
        return _s3_place(place)
    if re.match(_SCHEME, place):
        raise ValueError(allowed)
    if re.search(_CONTROL, place) or re.match(_NEARLY_A_URL, place):
        raise EntryError(nearly)
    return _expanded(place)


def _s3_place(value: str) -> str:
    found = re.fullmatch(_S3_PLACE, value)
    if found is None:
        message = (
            "must be s3://BUCKET/PREFIX, with a bucket of 3 to 63 small letters, digits, dots and hyphens,"
            " and no empty step in the prefix"
        )
        raise ValueError(message)
    steps = found[2].split("/")
    if len(found[2].encode()) > _LONGEST_PREFIX or not value.isprintable() or {".", ".."} & {*steps}:
        message = (
            f"must have a prefix of at most {_LONGEST_PREFIX} bytes, without . and .. and what can't be seen"
        )
        raise ValueError(message)
    return value.rstrip("/")


def path(value: object) -> Path:
    """A path. A leading `~` of a text stands for the home folder."""
    return value if isinstance(value, Path) else Path(_path(value))


def _path(value: object) -> str:
    found = text(value)
    if not found or "\0" in found:
        message = "must be a path"
        raise ValueError(message)
    return _expanded(found)


def _expanded(value: str) -> str:
    if not value.startswith("~"):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        message = "names a home folder that doesn't exist"
        raise ValueError(message) from None


def accounts_from(value: object) -> str:
    """`organization`, `self`, or the path of a file."""
    return _path(str(value) if isinstance(value, Path) else value)


def endpoint_url(value: object) -> str:
    """An http or https URL without a user name in it."""
    try:
        return _endpoint_url(text(value))
    except ValueError as error:
        # What stands before an @ may be a password.
        if "@" in str(value):
            raise EntryError(str(error)) from None
        raise


def _endpoint_url(url: str) -> str:
    allowed = "must be a URL such as https://workspaces.example.com or http://127.0.0.1:4566"
    try:
        parts = urlsplit(url)
        port_known = parts.port is None or parts.port > 0
    except ValueError:
        raise ValueError(allowed) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_known:
        raise ValueError(allowed)
    if parts.query or parts.fragment:
        raise ValueError(allowed)
    if "@" in parts.netloc:
        message = "must hold no user name or password"
        raise ValueError(message)
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError(allowed)
    return url


def mode(owner: int, example: str, value: object) -> Mode:
    """The bits of a mode, from octal text. The owner has to keep the bits in `owner`."""
    found = re.fullmatch(_OCTAL, value) if isinstance(value, str) else None
    bits = value if isinstance(value, Mode) else int(found[1], 8) if found else -1
    if bits & owner != owner or not 0 <= bits <= 0o777:
        message = (
            f'must be octal text that lets the owner in, from "{owner:04o}" to "0777", such as "{example}"'
        )
        raise ValueError(message)
    return Mode(bits)


file_mode = partial(mode, 0o600, "0640")
folder_mode = partial(mode, 0o700, "0750")


def failure_budget(value: object) -> FailureBudget:
    """A budget from `N` or `N%`."""
    if isinstance(value, FailureBudget):
        return value
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = re.fullmatch(_BUDGET, written) if isinstance(written, str) else None
    if found and found[1]:
        return FailureBudget(Decimal(found[1]))
    if found and Decimal(found[2]) <= 100:
        return FailureBudget(Decimal(found[2]), percent=True)
    message = "must be a number of targets or a percentage of them, such as 25 or 2%"
    raise ValueError(message)


def shard(value: object) -> Shard:
    """A shard from `I/N`."""
    if isinstance(value, Shard):
        found = (value.index, value.count)
    else:
        split = re.fullmatch(_SHARD, value) if isinstance(value, str) else None
        found = (int(split[1]), int(split[2])) if split else (0, 0)
    if not 1 <= found[0] <= found[1]:
        message = "must be I/N with I from 1 to N, such as 1/4"
        raise ValueError(message)
    return Shard(*found)


def whole(least: int, most: int) -> Reader:
    """Reads a whole number within bounds."""
    return partial(_whole, least, most)


def _whole(least: int, most: int, value: object) -> int:
    # Text that counts things is a plain number, and not 1e3.
    counts = not isinstance(value, str) or re.fullmatch(_WHOLE, value)
    number = _number(value) if counts else math.nan
    if not least <= number <= most or not number.is_integer():
        message = f"must be a whole number from {least} to {most}"
        raise ValueError(message)
    return int(number)


def seconds(value: object) -> float:
    """A time in seconds: more than none, and at most a week."""
    number = _number(value)
    if not 0 < number <= _LONGEST_SECONDS:
        message = f"must be a number of seconds, more than 0 and at most {_LONGEST_SECONDS}"
        raise ValueError(message)
    return number


def _number(value: object) -> float:
    """The number that a value is or says, and NaN for none: no bounds allow it."""
    if isinstance(value, bool):
        message = "must be a number"
        raise ValueError(message)  # noqa: TRY004 - what a parser raises
    if isinstance(value, SupportsFloat) or (isinstance(value, str) and value.isascii()):
        with suppress(ValueError, TypeError, OverflowError):
            return float(value)
    return math.nan


def flag(value: object) -> bool:
    """A truth, from a word for it too."""
    word = value.lower() if isinstance(value, str) else value
    found = _FLAGS.get(word) if isinstance(word, str | int | float) else None
    if found is None:
        message = "must be true or false"
        raise ValueError(message)
    return found


def one_of(words: type[Enum]) -> Reader:
    """Reads one of the words."""
    return partial(_one_of, words)


def _one_of(words: type[Enum], value: object) -> Enum:
    try:
        return words(value)
    except ValueError:
        message = f"must be one of {', '.join(str(each) for each in words)}"
        raise ValueError(message) from None


def log_level(value: object) -> object:
    """A log level, whose case does not matter."""
    return _one_of(LogLevel, value.lower() if isinstance(value, str) else value)
