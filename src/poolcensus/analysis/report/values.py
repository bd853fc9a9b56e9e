"""Reads values of items as a service returned them. Any value may be missing or have another type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.analysis.report.facts import Use
from poolcensus.format.codec import dumps
from poolcensus.operations import value_at

if TYPE_CHECKING:
    from poolcensus.model import JsonObject
    from poolcensus.operations import Facets


def count_or_none(value: object) -> int | None:
    """Return the value if it is a count, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def as_text(value: object) -> str:
    """Return a value as text. None becomes an empty text, and other types become JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value).decode()


def error_codes(item: JsonObject, facets: Facets) -> frozenset[str]:
    """Return the error codes of an item."""
    found = value_at(item, facets.errors)
    if not isinstance(found, list):
        return frozenset()
    return frozenset(
        as_text(each.get(facets.error_code)) or "(no code)" if isinstance(each, dict) else "(no code)"
        for each in found
    )


class Sum:
    """Adds up the use of items. A sum stays None as long as no item has the number."""

    __slots__ = ("capacity", "compared", "in_use", "items")

    def __init__(self) -> None:
        self.items = 0
        self.in_use: int | None = None
        self.capacity: int | None = None
        self.compared: tuple[int, int] | None = None

    def add(self, in_use: int | None, capacity: int | None) -> None:
        """Add an item with its sessions in use and its capacity, each None if not known."""
        self.items += 1
        if in_use is not None:
            self.in_use = (self.in_use or 0) + in_use
        if capacity is not None:
            self.capacity = (self.capacity or 0) + capacity
        if in_use is not None and capacity is not None:
            used, whole = self.compared or (0, 0)
            self.compared = used + in_use, whole + capacity

    def use(self) -> Use:
        """Return the sums."""
        return Use(self.items, self.in_use, self.capacity, self.compared)
