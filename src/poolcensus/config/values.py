"""The small types of single settings."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from decimal import Decimal

    from poolcensus.model import JsonObject


class Secret:
    """Text that no message, log or file may hold: only `get_secret_value` gives it away.

    It is no struct and no dataclass, whose fields encoders write out by themselves.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the text itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return self._value == other._value if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"Secret('{self}')"

    def __str__(self) -> str:
        return "**********"


class Mode(int):
    """The permissions of a file or a folder.

    A type of its own tells bits that were read from octal text from a bare number, which may be meant in
    octal or in decimal.
    """

    __slots__ = ()


class TransportKind(StrEnum):
    """How calls are sent."""

    FAST = "fast"
    SDK = "sdk"


class RegionStatusSource(StrEnum):
    """Who says which opt-in regions an account has enabled."""

    MEMBER = "member"
    MANAGEMENT = "management"
    OFF = "off"


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


class PoolFilter(msgspec.Struct, frozen=True):
    """One filter of DescribeWorkspacesPools."""

    name: str
    operator: FilterOperator
    values: tuple[str, ...]

    @property
    def parameter(self) -> JsonObject:
        """The filter as the service takes it."""
        return {"Name": self.name, "Operator": str(self.operator), "Values": list(self.values)}

    def __str__(self) -> str:
        return f"{self.name}:{self.operator}:{','.join(self.values)}"


class FailureBudget(msgspec.Struct, frozen=True):
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
