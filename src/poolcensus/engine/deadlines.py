"""What the ledger says of targets that the run's deadline ended, and not they themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from poolcensus.model import Outcome

if TYPE_CHECKING:
    from poolcensus.model import TargetResult

# In place of a service's error code.
CODE: Final = "Deadline"
_WHEN: Final = {
    Outcome.TIMED_OUT: "while it was being read",
    Outcome.CANCELLED: "before it was begun",
}


def message(seconds: float, outcome: Outcome) -> str:
    """Return the message of a target that a deadline of so many seconds ended with this outcome."""
    return f"the run's deadline of {seconds:g} s passed {_WHEN[outcome]}"


def of_whole_run(result: TargetResult, seconds: float | None) -> TargetResult:
    """Return the result of a target of a part with the deadline of the whole run, where one ended it."""
    if result.error_code != CODE or seconds is None:
        return result
    return replace(result, error_message=message(seconds, result.outcome))
