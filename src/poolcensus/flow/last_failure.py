"""A failure that counts for a while."""

from __future__ import annotations

import time
from typing import Final, Generic, TypeVar

from poolcensus.errors import copy_of_error

E = TypeVar("E", bound=Exception)

COUNTS_SECONDS: Final = 10.0
"""How long a failure counts. What failed is given a moment, and is asked once for all who wait for it."""


class LastFailure(Generic[E]):
    """The failure of the last attempt: for `COUNTS_SECONDS` it is raised in place of another attempt."""

    def __init__(self) -> None:
        self._error: E | None = None
        self._until = 0.0

    def check(self) -> None:
        """Raise a copy of the failure while it counts."""
        if self._error is not None and time.monotonic() < self._until:
            raise copy_of_error(self._error)

    def keep(self, error: E, *, for_good: bool = False) -> None:
        """Let a failure count, until `clear` with `for_good`."""
        self._error = error
        self._until = float("inf") if for_good else time.monotonic() + COUNTS_SECONDS

    def clear(self) -> None:
        """Let no failure count."""
        self._error = None
