"""The bounds of the numbers that a configuration takes."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from dataclasses import Field

# More than any count, rate or number of seconds here ever comes to, and still a date as a clock's offset.
MANY = 10**9


class Bounds(NamedTuple):
    """The least and the largest value; `above`: the least one itself is not allowed."""

    least: float
    most: float
    above: bool = False

    def __str__(self) -> str:
        """Return what a value must be."""
        if self.above:
            return f"above {self.least:,} and at most {self.most:,}"
        return f"between {self.least:,} and {self.most:,}"

    def allow(self, value: float) -> bool:
        """Whether the value is within the bounds, as NaN never is."""
        return self.least <= value <= self.most and not (self.above and value == self.least)


class FieldError(ValueError):
    """A field of a configuration with a value that can't be. `requirement` says what it must be."""

    def __init__(self, field: str, requirement: str) -> None:
        super().__init__(f"{field} {requirement}")
        self.field = field
        self.requirement = requirement


class OutOfBoundsError(FieldError):
    """A number that is out of its bounds."""

    def __init__(self, field: str, value: float, bounds: Bounds) -> None:
        super().__init__(field, f"must be {bounds}, not {value}")


class _Config(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def check_bounds(config: _Config) -> None:
    """Check the numbers of the fields that have `bounds` in their metadata; None is always allowed.

    Raises OutOfBoundsError: one is out of its bounds.
    """
    for field in fields(config):
        bounds, value = field.metadata.get("bounds"), getattr(config, field.name)
        if bounds is not None and value is not None and not bounds.allow(value):
            raise OutOfBoundsError(field.name, value, bounds)
