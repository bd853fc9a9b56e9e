"""A failure that is remembered for a while, so that what failed is not tried again at once."""

from __future__ import annotations

import time
from typing import Final, Generic, TypeVar

from poolcensus.errors import copy_of_error

E = TypeVar("E", bound=Exception)

COUNTS_SECONDS: Final = 10.0
"""How many seconds a failure is raised again in place of another attempt."""


class LastFailure(Generic[E]):
    """The failure of the last attempt, which is raised again for `COUNTS_SECONDS` seconds."""

    def __init__(self) -> None:
        self._error: E | None = None
        self._until = 0.0

    def check(self) -> None:
        """Raise a copy of the failure if it still counts."""
        if self._error is not None and time.monotonic() < self._until:
            raise copy_of_error(self._error)

    def keep(self, error: E, *, for_good: bool = False) -> None:
        """Remember a failure: for `COUNTS_SECONDS`, or with `for_good` until `clear` is called."""
        self._error = error
        self._until = float("inf") if for_good else time.monotonic() + COUNTS_SECONDS

    def clear(self) -> None:
        """Forget the failure."""
        self._error = None
