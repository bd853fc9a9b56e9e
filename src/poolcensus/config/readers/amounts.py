"""Readers of amounts: whole numbers, durations and failure budgets."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from msgspec import Meta

from poolcensus.config.readers.conversion import plain
from poolcensus.config.values import FailureBudget

_BUDGET = r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%"
_AMOUNT = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
# Durations as Go and systemd write them, the largest unit first.
_DURATION = rf"\s*(?:{_AMOUNT}d)?(?:{_AMOUNT}h)?(?:{_AMOUNT}m)?(?:{_AMOUNT}s)?\s*"
_UNITS = (86_400, 3_600, 60, 1)

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
    """Return the constraint for a whole number from `least` to `most`."""
    return Meta(ge=least, le=most, description=f"a whole number from {least} to {most}")


def _duration(kind: Any, value: object) -> Any:  # noqa: ANN401 - a type that is known only at run time
    """Read a time in seconds from a number, a timedelta, or text such as `90s` or `1h30m`."""
    if isinstance(value, timedelta):
        return plain(kind, value.total_seconds())
    found = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if found is None or not any(found.groups()):
        return plain(kind, value)
    # With Decimal, 0.1m is exactly 6 seconds.
    exact = sum(Decimal(amount or 0) * unit for amount, unit in zip(found.groups(), _UNITS, strict=True))
    return plain(kind, float(exact))


seconds = partial(_duration, Seconds)
age = partial(_duration, Age)
session_seconds = partial(_duration, SessionSeconds)


def failure_budget(value: object) -> FailureBudget:
    """Read a budget from `N` or `N%`."""
    if isinstance(value, FailureBudget):
        return value
    written = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    found = re.fullmatch(_BUDGET, written) if isinstance(written, str) else None
    if found and found[1]:
        return FailureBudget(Decimal(found[1]))
    if found and Decimal(found[2]) <= 100:
        return FailureBudget(Decimal(found[2]), percent=True)
    raise ValueError("must be a number of targets or a percentage of them, such as 25 or 2%")
