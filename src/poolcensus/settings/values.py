"""The small types of single settings, and the parsers that read them from text.

A parser raises `ValueError` with a message that says what is allowed, or `EntryError` where the message
also names the value: the layer above adds which key it was, and where it stood.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from poolcensus.model import Shard

if TYPE_CHECKING:
    from collections.abc import Callable


class EntryError(ValueError):
    """Something inside a value is wrong. The message says what, so that the whole value need not appear."""


class ProgressMode(StrEnum):
    """When the progress of a run is shown."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LogFormat(StrEnum):
    """How a log line is written."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The least serious log line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class S3Encryption(StrEnum):
    """Who encrypts the objects of a destination on S3, and how."""

    NONE = "none"
    AES256 = "AES256"
    KMS = "aws:kms"


class FilterOperator(StrEnum):
    """How DescribeWorkspacesPools compares a filter's values."""

    EQUALS = "EQUALS"
    NOTEQUALS = "NOTEQUALS"
    CONTAINS = "CONTAINS"
    NOTCONTAINS = "NOTCONTAINS"


@dataclass(frozen=True, slots=True)
class PoolFilter:
    """One filter of DescribeWorkspacesPools."""

    name: str
    operator: FilterOperator
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}:{self.operator}:{','.join(self.values)}"


@dataclass(frozen=True, slots=True)
class FailureBudget:
    """How many targets may stay uncovered in a snapshot that is published: a number, or a percentage."""

    limit: Decimal
    percent: bool = False

    def allows(self, uncovered: int, targets: int) -> bool:
        """Whether a run with so many of its targets not covered is within the budget."""
        if self.percent:
            return uncovered * 100 <= self.limit * targets
        return uncovered <= self.limit

    def __str__(self) -> str:
        return f"{self.limit}%" if self.percent else str(self.limit)


FILTER_NAMES = ("PoolName",)
MAX_FILTERS = 25
MAX_FILTER_VALUES = 25
MAX_FILTER_VALUE_LENGTH = 128

_ACCOUNT_ID = re.compile(r"[0-9]{12}", re.ASCII)
_UNIT_ID = re.compile(r"ou-[0-9a-z]{4,32}-[0-9a-z]{8,32}|r-[0-9a-z]{4,32}")
_POOL_ID = re.compile(r"wspool-[0-9a-z]{9}")
_REGION = re.compile(r"[a-z]{2,8}(?:-[a-z]+){1,3}-[0-9]{1,2}")
_REGION_PATTERN = re.compile(r"[a-z0-9*?\[\]!-]{1,64}")
_ROLE_NAME = re.compile(r"[\w+=,.@/-]{1,512}", re.ASCII)
_EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_S3_PLACE = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[^/]+)*)/?")
_LONGEST_PREFIX = 900
_KMS_KEY = re.compile(r"[\w+=,.@:/-]{1,2048}", re.ASCII)
_OCTAL = re.compile(r"(?:0o)?([0-7]{3,4})")
_BUDGET = re.compile(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


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
        raise ValueError(message)  # noqa: TRY004 - pydantic collects ValueError
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


def _matching(pattern: re.Pattern[str], allowed: str, text: str) -> str:
    if not pattern.fullmatch(text):
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


def _text(pattern: re.Pattern[str], allowed: str, value: object) -> object:
    if isinstance(value, str) and not pattern.fullmatch(value):
        message = f"must be {allowed}"
        raise ValueError(message)
    return value


role_name = partial(
    _text, _ROLE_NAME, "a role's name, with its path if it has one: 1 to 512 letters, digits and +=,.@_/-"
)
external_id = partial(_text, _EXTERNAL_ID, "2 to 1224 letters, digits and +=,.@_:/-")
session_name = partial(_text, _SESSION_NAME, "2 to 64 letters, digits and +=,.@_-")
kms_key = partial(_text, _KMS_KEY, "the id, the ARN or the alias of a KMS key")
account = partial(_text, _ACCOUNT_ID, "an account id: 12 digits, in quotes")


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


def destination(value: object) -> object:
    """A destination: a directory, `s3://bucket/prefix`, or `-`."""
    allowed = "must be a directory, s3://BUCKET/PREFIX, or - for standard output"
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError(allowed)
    if value.startswith("s3://"):
        return _s3_place(value)
    if _SCHEME.match(value):
        raise ValueError(allowed)
    return _expanded(value)


def _s3_place(value: str) -> str:
    found = _S3_PLACE.fullmatch(value)
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


def path(value: object) -> object:
    """A path whose leading `~` stands for the home folder."""
    if isinstance(value, str):
        if not value or "\0" in value:
            message = "must be a path"
            raise ValueError(message)
        return _expanded(value)
    return value


def _expanded(value: str) -> str:
    if not value.startswith("~"):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        message = "names a home folder that doesn't exist"
        raise ValueError(message) from None


def accounts_from(value: object) -> object:
    """`organization`, `self`, or the path of a file."""
    return path(str(value) if isinstance(value, Path) else value)


def endpoint_url(value: object) -> object:
    """An http or https URL without a user name in it."""
    if not isinstance(value, str):
        return value
    allowed = "must be a URL such as https://workspaces.example.com or http://127.0.0.1:4566"
    try:
        parts = urlsplit(value)
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
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError(allowed)
    return value


def mode(owner: int, example: str, value: object) -> object:
    """The bits of a file mode, from octal text. The owner has to keep the bits in `owner`."""
    found = _OCTAL.fullmatch(value) if isinstance(value, str) else None
    bits = int(found[1], 8) if found else -1
    if bits & owner != owner or not 0 <= bits <= 0o777:
        message = (
            f'must be octal text that lets the owner in, from "{owner:04o}" to "0777", such as "{example}"'
        )
        raise ValueError(message)
    return bits


file_mode = partial(mode, 0o600, "0640")
folder_mode = partial(mode, 0o700, "0750")


def failure_budget(value: object) -> object:
    """A budget from `N` or `N%`."""
    if isinstance(value, FailureBudget):
        return value
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = _BUDGET.fullmatch(text) if isinstance(text, str) else None
    if found and found[1]:
        return FailureBudget(Decimal(found[1]))
    if found and Decimal(found[2]) <= 100:
        return FailureBudget(Decimal(found[2]), percent=True)
    message = "must be a number of targets or a percentage of them, such as 25 or 2%"
    raise ValueError(message)


def shard(value: object) -> object:
    """A shard from `I/N`."""
    if isinstance(value, Shard):
        found = (value.index, value.count)
    else:
        split = _SHARD.fullmatch(value) if isinstance(value, str) else None
        found = (int(split[1]), int(split[2])) if split else (0, 0)
    if not 1 <= found[0] <= found[1]:
        message = "must be I/N with I from 1 to N, such as 1/4"
        raise ValueError(message)
    return Shard(*found)


def not_a_boolean(value: object) -> object:
    """Refuses true and false where a number is wanted: they would pass as 1 and 0."""
    if isinstance(value, bool):
        message = "must be a number"
        raise ValueError(message)  # noqa: TRY004
    return value


def lower(value: object) -> object:
    """Text in small letters, for words whose case does not matter."""
    return value.lower() if isinstance(value, str) else value
