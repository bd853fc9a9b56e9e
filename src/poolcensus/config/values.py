"""Types of single settings."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from decimal import Decimal

    from poolcensus.model import JsonObject


class Secret:
    """A text that must not appear in messages, logs or files. Only `get_secret_value` returns it.

    Not a struct or a dataclass, whose fields encoders would write.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Return the secret text."""
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
    """The permissions of a file or a folder, read from octal text.

    A separate type, since a plain number could be meant as octal or as decimal.
    """

    __slots__ = ()


class TransportKind(StrEnum):
    """The code that sends calls: the project's own connections, or aioboto3's clients."""

    FAST = "fast"
    SDK = "sdk"


class RegionStatusSource(StrEnum):
    """Whom to ask which opt-in regions an account has enabled."""

    MEMBER = "member"
    MANAGEMENT = "management"
    OFF = "off"


class ProgressMode(StrEnum):
    """When to show the progress of a run."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class LogFormat(StrEnum):
    """The format of log lines."""

    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    """The minimum level of log lines."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class S3Encryption(StrEnum):
    """The encryption of objects in a bucket. With `none`, the bucket's own default applies."""

    NONE = "none"
    AES256 = "AES256"
    KMS = "aws:kms"


class FilterOperator(StrEnum):
    """The operators of a filter of DescribeWorkspacesPools."""

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
        """The filter in the form of the service's API."""
        return {"Name": self.name, "Operator": str(self.operator), "Values": list(self.values)}

    def __str__(self) -> str:
        return f"{self.name}:{self.operator}:{','.join(self.values)}"


class FailureBudget(msgspec.Struct, frozen=True):
    """How many targets may fail in a snapshot that is published: a number, or a percentage of all targets."""

    limit: Decimal
    percent: bool = False

    def allows(self, uncovered: int, targets: int) -> bool:
        """Return whether a run with this many uncovered targets is within the budget."""
        if self.percent:
            return uncovered * 100 <= self.limit * targets
        return uncovered <= self.limit

    def __str__(self) -> str:
        return f"{self.limit}%" if self.percent else str(self.limit)
