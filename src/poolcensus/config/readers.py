"""What reads each setting: from text as from the value itself. msgspec checks against its constraints.

A parser raises `ValueError` with a message that says what is allowed, or `EntryError` where the message
is all that may be shown: the layers above add what the value was, which key it was, and where it stood.
What a parser returns it also takes, unchanged: settings are made from settings, by `replace` for one.
"""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, SupportsFloat, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from poolcensus.config.values import FailureBudget, FilterOperator, LogLevel, Mode, PoolFilter, Secret
from poolcensus.model import Shard

Reader: TypeAlias = Callable[[object], object]


class EntryError(ValueError):
    """A value is wrong that must not be shown, or need not: the message names the part that is wrong."""


# https://docs.aws.amazon.com/workspaces/latest/api/API_DescribeWorkspacesPools.html
_MAX_FILTERS = 25
_MAX_FILTER_VALUES = 25
_MAX_FILTER_VALUE_LENGTH = 128
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html and, for the characters,
# https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html: [\p{L}\p{Z}\p{N}_.:/=+\-@]
_MAX_SESSION_TAGS = 50
# What is left of a key's 1,024 bytes to a snapshot's id and its longest file name.
_LONGEST_PREFIX = 900

_ROLE_ARN = r"arn:[^:]*:iam::[^:]*:role/(.+)"
_S3_PLACE = r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/]+)*)/?"
_OCTAL = r"(?:0o)?([0-7]{3,4})"
_BUDGET = r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%"
_SHARD = r"([0-9]{1,9})/([0-9]{1,9})"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*://"
_NEARLY_A_URL = r"(?i)s3[an]?:|s3\W*//|arn:|https?:|file:|gs:|[a-z0-9.-]+\.amazonaws\.com|.*://"
# What a shell would have taken away, and an env file or a form keeps; typewritten or typeset.
_AROUND = " \t\r\n\"'`<>\u201c\u201d\u2018\u2019\u00ab\u00bb"
_CONTROL = r"[\x00-\x1f\x7f]"
_AMOUNT = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
# As Go and systemd write durations, the largest unit first.
_DURATION = rf"\s*(?:{_AMOUNT}d)?(?:{_AMOUNT}h)?(?:{_AMOUNT}m)?(?:{_AMOUNT}s)?\s*"
_UNITS = (86_400, 3_600, 60, 1)
_WHOLE = r"(?a)\s*\+?[0-9]+(?:_[0-9]+)*(?:\.0+)?\s*"


def _not_in_tags(character: str) -> bool:
    return character not in "_.:/=+-@" and unicodedata.category(character)[0] not in "LZN"


def _written(pattern: str, words: str) -> Meta:
    return Meta(pattern=rf"(?a)^(?:{pattern})\Z", description=words)


# What the library checks. The words are the message's: its own would show the pattern.
AccountId = Annotated[str, _written(r"[0-9]{12}", "an account ID of 12 digits")]
UnitId = Annotated[
    str,
    _written(
        r"ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32}",
        "an OU ID (such as ou-ab12-34cd56ef) or a root ID (r-ab12)",
    ),
]
PoolId = Annotated[str, _written(r"wspool-[0-9a-z]{9}", "a pool ID (such as wspool-a1b2c3d4e)")]
Region = Annotated[str, _written(r"[a-z]{2,8}(?:-[a-z]+){1,3}-[0-9]{1,2}", "a region, such as eu-west-1")]
RegionPattern = Annotated[
    str,
    _written(r"[a-z0-9*?\[\]!-]{1,64}", "a region or a pattern, such as eu-west-1 or eu-*"),
]
AccountNamePattern = Annotated[
    str, _written(r"[^\x00-\x1f\x7f]{1,128}", "a name or a pattern of names, such as prod-*")
]
# https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
RoleName = Annotated[
    str,
    _written(
        r"(?:[\w+=,.@/-]{0,511}/)?[\w+=,.@-]{1,64}",
        "a role name of 1 to 64 letters, digits and +=,.@_-, after its path if it has one",
    ),
]
SessionName = Annotated[str, _written(r"[\w+=,.@-]{2,64}", "2 to 64 letters, digits and +=,.@_-")]
ExternalId = Annotated[str, _written(r"[\w+=,.@:/-]{2,1224}", "2 to 1224 letters, digits and +=,.@_:/-")]
KmsKey = Annotated[str, _written(r"[\w+=,.@:/-]{1,2048}", "the ID, the ARN or the alias of a KMS key")]
Owner = Annotated[str, _written(r"[0-9]{12}", "an account ID of 12 digits, in quotes")]
SomeText = Annotated[str, Meta(min_length=1, description="text that is not empty")]
Seconds = Annotated[
    float,
    Meta(
        gt=0,
        le=604_800,
        description=(
            "a number of seconds, more than 0 and at most 604800, or a duration such as 90s or 1h30m"
        ),
    ),
]
Age = Annotated[
    float,
    Meta(
        ge=0, le=604_800, description="a number of seconds from 0 to 604800, or a duration such as 90s or 12h"
    ),
]
SessionSeconds = Annotated[
    int,
    Meta(
        ge=900,
        le=43_200,
        description="a whole number of seconds from 900 to 43200, or a duration such as 30m or 1h",
    ),
]


def whole(least: int, most: int) -> Meta:
    """Return the constraint of a whole number within bounds."""
    return Meta(ge=least, le=most, description=f"a whole number from {least} to {most}")


_FLAGS: Mapping[str | int | float, bool] = {
    **dict.fromkeys((1, "1", "true", "t", "yes", "y", "on"), True),
    **dict.fromkeys((0, "0", "false", "f", "no", "n", "off"), False),
}


def shown(value: object) -> str:
    """Return a value as it appears in a message: short, and with nothing that a terminal would obey."""
    text = ascii(value)
    if not isinstance(value, str):
        return text if len(text) <= 80 else f"{text[:77]}..."
    body = text[1:-1]
    return f'"{body}"' if len(body) <= 80 else f'"{body[:77]}..."'


def listed(value: object) -> tuple[object, ...]:
    """Return the elements of a list that may also be written as text, with commas between them."""
    if isinstance(value, str):
        return tuple(part for part in (each.strip() for each in value.split(",")) if part)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ValueError("must be a list, or text with commas")  # noqa: TRY004 - what a parser raises
    return tuple(value)


def plain(kind: Any, value: object) -> Any:  # noqa: ANN401 - a type that is known only at run time
    """Convert a value to a number, a text or an enum's member, by the type's own constraints.

    Raises ValueError, in the words of the type's description.
    """
    base, constraints = getattr(kind, "__origin__", kind), getattr(kind, "__metadata__", ())
    prepare = _PREPARED.get(base)
    try:
        # Not strict, for a float that is whole.
        return msgspec.convert(prepare(value) if prepare else value, kind, strict=False)
    except msgspec.ValidationError:
        described = [each.description for each in constraints if isinstance(each, Meta)]
        words = described[0] if described else f"one of {', '.join(base)}"
        raise ValueError(f"must be {words}") from None


def _duration(kind: Any, value: object) -> Any:  # noqa: ANN401 - a type that is known only at run time
    """Return a time in seconds, from a number, a timedelta, or text such as `90s` and `1h30m`."""
    if isinstance(value, timedelta):
        return plain(kind, value.total_seconds())
    found = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if found is None or not any(found.groups()):
        return plain(kind, value)
    # Decimal, so that 0.1m is 6 seconds and not a little more.
    exact = sum(Decimal(amount or 0) * unit for amount, unit in zip(found.groups(), _UNITS, strict=True))
    return plain(kind, float(exact))


seconds = partial(_duration, Seconds)
age = partial(_duration, Age)
session_seconds = partial(_duration, SessionSeconds)


def each_of(kind: Any) -> Reader:  # noqa: ANN401 - a type that is known only at run time
    """Return a reader of a list whose every element is of a type. Elements that come twice count once."""
    return partial(_texts, kind)


def _texts(kind: Any, value: object) -> tuple[str, ...]:  # noqa: ANN401 - a type that is known only at run time
    seen: dict[str, None] = {}
    for entry in listed(value):
        for part in listed(entry) if isinstance(entry, str) else (entry,):
            if not isinstance(part, str):
                raise EntryError(f"{shown(part)} must be text, in quotes")
            try:
                seen[msgspec.convert(part, kind)] = None
            except msgspec.ValidationError:
                raise EntryError(f"{shown(part)} is not {kind.__metadata__[0].description}") from None
    return tuple(seen)


def text(value: object) -> str:
    """Any text, as a plain string."""
    if not isinstance(value, str):
        raise ValueError("must be text, in quotes")  # noqa: TRY004 - what a parser raises
    # The text of an enum's member, for one, and not the member.
    return str.__str__(value)


def role_name(value: object) -> str:
    """Return the name of a role, with its path."""
    name = text(value)
    if (found := re.fullmatch(_ROLE_ARN, name)) is not None:
        raise EntryError(f"takes a role name, not an ARN: use {shown(found[1])}")
    read: str = plain(RoleName, name)
    return read


def command(value: object) -> str:
    """Return a command line that can be split into words. No message shows it: it may hold a password."""
    line = text(value)
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise EntryError(f"must be a command as a shell takes it: {str(error).lower()}") from None
    if not words or not words[0]:
        raise EntryError("must be a command: a program and its arguments")
    if "\0" in line:
        raise EntryError("must hold no NUL character")
    return line


def external_id(value: object) -> Secret:
    """Return an external id, which is a secret: no message names it."""
    found = value.get_secret_value() if isinstance(value, Secret) else value
    try:
        return Secret(plain(ExternalId, found))
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
                raise EntryError(f"{shown(pair)} is not a tag: KEY=VALUE")
        key = key.strip()
        if not 1 <= len(key) <= 128 or len(wanted) > 256:
            raise EntryError(
                f"{shown(pair)} is not a tag: a key has 1 to 128 characters, a value at most 256"
            )
        found[(key, wanted.strip())] = None
    return tuple(found)


def session_tags(value: object) -> tuple[tuple[str, str], ...]:
    """Return the tags of a session from `KEY=VALUE` texts, or from a table."""
    found = account_tags(value)
    if len(found) > _MAX_SESSION_TAGS:
        raise EntryError(f"has {len(found)} tags: a session has at most {_MAX_SESSION_TAGS}")
    seen: set[str] = set()
    for key, tag in found:
        if any(_not_in_tags(each) for each in key + tag) or key.lower().startswith("aws:"):
            raise EntryError(
                f"{shown(f'{key}={tag}')} is not a session tag: letters, digits, spaces and _.:/=+-@, and a"
                " key that does not begin with aws:"
            )
        if key.lower() in seen:
            raise EntryError(f"has two tags with the key {shown(key)}: the case of letters does not count")
        seen.add(key.lower())
    return found


def filters(value: object) -> tuple[PoolFilter, ...]:
    """Return filters from `NAME:OPERATOR:VALUE,VALUE` texts, or from tables of name, operator and values."""
    if isinstance(value, str):
        value = [part for part in value.split(";") if part.strip()]
    elif isinstance(value, Mapping):
        value = [value]
    found = tuple(dict.fromkeys(_filter(entry) for entry in listed(value)))
    if len(found) > _MAX_FILTERS:
        raise EntryError(f"has {len(found)} filters: the service takes at most {_MAX_FILTERS}")
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
            raise EntryError(
                f"{shown(entry)} is not a filter: PoolName:OPERATOR:VALUE,VALUE, or a table of name, operator"
                " and values"
            )
    if name != "PoolName":
        raise EntryError(f"{shown(name)} can't be filtered by: the service knows only PoolName")
    if operator not in list(FilterOperator):
        raise EntryError(f"{shown(operator)} is not an operator: {', '.join(FilterOperator)}")
    wanted: dict[str, None] = {}
    for each in given:
        if not isinstance(each, str) or not 1 <= len(each) <= _MAX_FILTER_VALUE_LENGTH:
            raise EntryError(
                f"{shown(each)} is no filter value: text of 1 to {_MAX_FILTER_VALUE_LENGTH} characters"
            )
        wanted[each] = None
    if not 1 <= len(wanted) <= _MAX_FILTER_VALUES:
        raise EntryError(f"a filter has 1 to {_MAX_FILTER_VALUES} values, not {len(wanted)}")
    return PoolFilter(name=name, operator=FilterOperator(operator), values=tuple(wanted))


def destination(value: object) -> str:
    """Return a destination: a directory, `s3://bucket/prefix`, or `-`."""
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
        raise ValueError(
            "must be s3://BUCKET/PREFIX, with a bucket of 3 to 63 small letters, digits, dots and hyphens,"
            " and no empty step in the prefix"
        )
    steps = found[2].split("/")
    if len(found[2].encode()) > _LONGEST_PREFIX or not value.isprintable() or {".", ".."} & {*steps}:
        raise ValueError(
            f"must have a prefix of at most {_LONGEST_PREFIX} bytes, without . and .. and what can't be seen"
        )
    return value.rstrip("/")


def path(value: object) -> Path:
    """Return a path. A leading `~` of a text stands for the home folder."""
    return value if isinstance(value, Path) else Path(_path(value))


def _path(value: object) -> str:
    found = text(value)
    if not found or "\0" in found:
        raise ValueError("must be a path")
    return _expanded(found)


def _expanded(value: str) -> str:
    if not value.startswith("~"):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        raise ValueError("names a home folder that doesn't exist") from None


def accounts_from(value: object) -> tuple[str, ...]:
    """Return sources of accounts: `organization`, `self`, and paths of files. None given: `organization`."""
    sources: dict[str, None] = {}
    for entry in [value] if isinstance(value, str | Path) else listed(value):
        # A comma in the text of a path separates; in a Path it belongs to it.
        for part in [str(entry)] if isinstance(entry, Path) else listed(text(entry)):
            sources[_path(part)] = None
    return tuple(sources) or ("organization",)


def endpoint_url(value: object) -> str:
    """Return an http or https URL without a user name in it."""
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
    if "@" in parts.netloc:
        raise ValueError("must hold no user name or password")
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise ValueError(allowed)
    return url


def mode(owner: int, example: str, value: object) -> Mode:
    """Return the bits of a mode, from octal text. The owner has to keep the bits in `owner`."""
    found = re.fullmatch(_OCTAL, value) if isinstance(value, str) else None
    bits = value if isinstance(value, Mode) else int(found[1], 8) if found else -1
    if bits & owner != owner or not 0 <= bits <= 0o777:
        raise ValueError(
            f'must be octal text that lets the owner in, from "{owner:04o}" to "0777", such as "{example}"'
        )
    return Mode(bits)


file_mode = partial(mode, 0o600, "0640")
folder_mode = partial(mode, 0o700, "0750")


def failure_budget(value: object) -> FailureBudget:
    """Return a budget from `N` or `N%`."""
    if isinstance(value, FailureBudget):
        return value
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = re.fullmatch(_BUDGET, written) if isinstance(written, str) else None
    if found and found[1]:
        return FailureBudget(Decimal(found[1]))
    if found and Decimal(found[2]) <= 100:
        return FailureBudget(Decimal(found[2]), percent=True)
    raise ValueError("must be a number of targets or a percentage of them, such as 25 or 2%")


def shard(value: object) -> Shard:
    """Return a shard from `I/N`."""
    if isinstance(value, Shard):
        found = (value.index, value.count)
    else:
        split = re.fullmatch(_SHARD, value) if isinstance(value, str) else None
        found = (int(split[1]), int(split[2])) if split else (0, 0)
    if not 1 <= found[0] <= found[1]:
        raise ValueError("must be I/N with I from 1 to N, such as 1/4")
    return Shard(*found)


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


def flag(value: object) -> bool:
    """Return a truth, from a word for it too."""
    word = value.lower() if isinstance(value, str) else value
    found = _FLAGS.get(word) if isinstance(word, str | int | float) else None
    if found is None:
        raise ValueError("must be true or false")
    return found


def log_level(value: object) -> object:
    """Return a log level, whose case does not matter."""
    return plain(LogLevel, value.lower() if isinstance(value, str) else value)


# What a value is made into before it is converted.
_PREPARED: Mapping[Any, Callable[[object], object]] = {int: _whole, float: _number, str: text}
