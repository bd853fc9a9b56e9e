"""How fast a run goes, and when it will have ended."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.cli.wording import duration

if TYPE_CHECKING:
    from poolcensus.model import Progress

# Long enough that a slow region or a burst of retries does not make the numbers jump.
_WINDOW_SECONDS: Final = 30.0
# A run begins with slow calls: those that connect, assume roles and list accounts.
_LEAST_SECONDS: Final = 5.0


class Pace(NamedTuple):
    """Calls in a second, and the seconds that are left; None where that can't be said."""

    calls: float | None = None
    left: float | None = None

    @property
    def rate_words(self) -> str:
        """The rate after a number of calls: ` (212/s)`, or nothing."""
        if self.calls is None:
            return ""
        return f" ({self.calls:,.0f}/s)" if self.calls >= 9.95 else f" ({self.calls:.1f}/s)"

    @property
    def left_words(self) -> str:
        """The time that is left: `about 2 min 05 s left`, or nothing."""
        if self.left is None:
            return ""
        # Tenths of a second would promise more than is known.
        whole = max(round(self.left), 1)
        return f"about {f'{whole} s' if whole < 60 else duration(whole)} left"


UNKNOWN: Final = Pace()
"""What is known before a run has been watched for some seconds."""


class Pacer:
    """Measures a run by what its progress says, over the last half minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()

    def pace(self, progress: Progress) -> Pace:
        """Return the pace, after another look at the progress."""
        now = (progress.elapsed, progress.totals.requests, progress.done)
        self._samples.append(now)
        # The oldest is the last one that is at least as old as the window.
        while len(self._samples) > 2 and self._samples[1][0] <= progress.elapsed - _WINDOW_SECONDS:
            self._samples.popleft()
        seconds, calls, done = (new - old for new, old in zip(now, self._samples[0], strict=True))
        if seconds < _LEAST_SECONDS:
            return Pace()
        missing = progress.totals.targets - progress.done
        known = not progress.listing and done > 0 and missing > 0
        return Pace(calls / seconds, missing * seconds / done if known else None)
