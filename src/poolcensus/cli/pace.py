"""The speed of a run, and the time that it still needs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from poolcensus.cli.wording import duration

if TYPE_CHECKING:
    from poolcensus.model import Progress

# Long enough that a slow region or a burst of retries does not make the rate jump.
_WINDOW_SECONDS: Final = 30.0
# No rate before this. A run begins with slow calls, which connect, assume roles and list accounts.
_LEAST_SECONDS: Final = 5.0


class Pace(NamedTuple):
    """Calls per second, and the seconds left. None if unknown."""

    calls: float | None = None
    left: float | None = None

    @property
    def rate_words(self) -> str:
        """The rate, to be written after a number of calls: ` (212/s)`. Empty if unknown."""
        if self.calls is None:
            return ""
        return f" ({self.calls:,.0f}/s)" if self.calls >= 9.95 else f" ({self.calls:.1f}/s)"

    @property
    def left_words(self) -> str:
        """The time left: `about 2 min 05 s left`. Empty if unknown."""
        if self.left is None:
            return ""
        # The estimate is not precise enough for tenths of a second.
        whole = max(round(self.left), 1)
        return f"about {f'{whole} s' if whole < 60 else duration(whole)} left"


UNKNOWN: Final = Pace()
"""The pace of a run in its first seconds."""


class Pacer:
    """Measures the pace of a run over the last half minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int, int]] = deque()

    def pace(self, progress: Progress) -> Pace:
        """Take the progress as a new sample, and return the pace."""
        now = (progress.elapsed, progress.totals.requests, progress.done)
        self._samples.append(now)
        # Keep one sample that is at least as old as the window, and those after it.
        while len(self._samples) > 2 and self._samples[1][0] <= progress.elapsed - _WINDOW_SECONDS:
            self._samples.popleft()
        seconds, calls, done = (new - old for new, old in zip(now, self._samples[0], strict=True))
        if seconds < _LEAST_SECONDS:
            return Pace()
        missing = progress.totals.targets - progress.done
        known = not progress.listing and done > 0 and missing > 0
        return Pace(calls / seconds, missing * seconds / done if known else None)
