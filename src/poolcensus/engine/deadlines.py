"""The deadline of a run, and the ledger's messages for the targets that it ends."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import anyio

from poolcensus.errors import DEADLINE, DeadlineError
from poolcensus.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.model import TargetResult

_WHEN: Final = {
    Outcome.TIMED_OUT: "while it was being read",
    Outcome.CANCELLED: "before it was begun",
}


class Deadline(NamedTuple):
    """When a run has to end: `seconds` after its start, which is `at` on the event loop's clock."""

    seconds: float
    at: float

    @classmethod
    def after(cls, seconds: float | None) -> Self:
        """Return the deadline of a run that starts now. For None it never passes."""
        return cls(inf, inf) if seconds is None else cls(seconds, anyio.current_time() + seconds)

    @contextmanager
    def bounding(self, what: str) -> Iterator[anyio.CancelScope]:
        """Limit the block to the deadline. Raises DeadlineError if it passes before the block has ended.

        `what` says in the message what the end of the block is.
        """
        with anyio.CancelScope(deadline=self.at) as scope:
            yield scope
        if scope.cancelled_caught:
            raise self.passed_before(what)

    def passed_before(self, what: str) -> DeadlineError:
        """Return the error of a run that has nothing to publish: the deadline passed before `what`."""
        return DeadlineError(f"The deadline of {self.seconds:g} s passed before {what}.")


NO_DEADLINE: Final = Deadline(inf, inf)


def message(seconds: float, outcome: Outcome) -> str:
    """Return the message of a target that a deadline ended with this outcome."""
    return f"the run's deadline of {seconds:g} s passed {_WHEN[outcome]}"


def of_whole_run(result: TargetResult, deadline: Deadline) -> TargetResult:
    """Return a result of a part of a run. If a deadline ended it, its message names the whole run's."""
    if result.error_code != DEADLINE:
        return result
    return replace(result, error_message=message(deadline.seconds, result.outcome))
