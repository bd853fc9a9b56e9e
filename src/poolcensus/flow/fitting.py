"""How many calls in flight the event loop keeps up with."""

from __future__ import annotations

# Enough to keep one core busy while replies come at once, and few enough that what their tasks hold stays in
# its caches: with 16 to 32 in flight a census takes the least time (benches/throughput.py --concurrency).
_LEAST = 32
# The replies that wait for the loop, as a part of the calls in flight. Where the loop alone is the bound that
# is about a half, since a reply waits for half a turn of it; where the services are, it is next to none. With
# twice the calls that keep the loop busy it is a quarter, and with three times as many a third: what has been
# doubled for less than an eighth is not halved again.
_MANY, _FEW = 1 / 3, 1 / 8
# A single look may fall into a moment in which the process had no CPU, or nothing to do.
_LOOKS = 2


class FittedConcurrency:
    """How many calls to have in flight at the moment: `size`, of `most` that there may be.

    More calls than the loop keeps up with are no faster: their replies wait for each other, their connections
    have to be opened, and what they hold is out of the core's caches when they go on. So a run begins with
    few, has twice as many for as long as the services are what it waits for, and half as many where the
    replies wait for it.
    """

    def __init__(self, most: int) -> None:
        self._least = min(_LEAST, most)
        self._most = most
        self._looks = 0
        self.size = self._least

    def look(self, *, late: float, seconds: float, calls: int, in_flight: int, more: bool) -> bool:
        """Take in what the loop has done since the last look, and return whether `size` has changed.

        `late` is by how many seconds the loop was late for this look, `seconds` how long the last one is ago,
        `calls` how many calls were sent since then. `more` says whether there is more to call for.
        """
        # By Little's law: what arrives in the time that it waits.
        waiting = late * calls / seconds
        if waiting > in_flight * _MANY:
            direction = -1
        elif waiting < in_flight * _FEW and more:
            direction = 1
        else:
            direction = 0
        self._looks = self._looks + direction if self._looks * direction > 0 else direction
        if abs(self._looks) < _LOOKS:
            return False
        before, self._looks = self.size, 0
        self.size = min(self.size * 2, self._most) if direction > 0 else max(self.size // 2, self._least)
        return self.size != before
