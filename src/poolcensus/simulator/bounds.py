"""Bounds of the numbers in a configuration."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from dataclasses import Field

# Larger than any useful count, rate or number of seconds. As the offset of a clock it still gives a date.
MANY = 10**9


class Bounds(NamedTuple):
    """The smallest and the largest value. If `above` is set, the smallest value itself is not allowed."""

    least: float
    most: float
    above: bool = False

    def __str__(self) -> str:
        """Return the requirement, to follow "must be"."""
        if self.above:
            return f"above {self.least:,} and at most {self.most:,}"
        return f"between {self.least:,} and {self.most:,}"

    def allow(self, value: float) -> bool:
        """Return whether the value is within the bounds. NaN never is."""
        return self.least <= value <= self.most and not (self.above and value == self.least)


class FieldError(ValueError):
    """A field of a configuration has an invalid value. `requirement` says what the value must be."""

    def __init__(self, field: str, requirement: str) -> None:
        super().__init__(f"{field} {requirement}")
        self.field = field
        self.requirement = requirement


class _Config(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def check_bounds(config: _Config) -> None:
    """Check all fields that have `bounds` in their metadata. None is always allowed.

    Raises FieldError if a number is out of bounds.
    """
    for field in fields(config):
        bounds, value = field.metadata.get("bounds"), getattr(config, field.name)
        if bounds is not None and value is not None and not bounds.allow(value):
            raise FieldError(field.name, f"must be {bounds}, not {value}")
