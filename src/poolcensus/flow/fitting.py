"""Fits the number of calls in flight to what the event loop keeps up with."""

from __future__ import annotations

# Enough calls to keep one core busy while replies come at once, and few enough that the data of their tasks
# stays in its caches: a census is fastest with 16 to 32 in flight (benches/throughput.py --concurrency).
_LEAST = 32
# The replies that wait for the loop, as a part of the calls in flight. If the loop is the bottleneck, that is
# about a half, since a reply waits for half a turn of the loop. If the services are, it is close to zero.
# With twice the calls that keep the loop busy it is a quarter, and with three times as many a third. So a
# limit that was doubled below an eighth is not halved again right away.
_MANY, _FEW = 1 / 3, 1 / 8
# How many measurements in a row have to agree: in a single one, the process may have had no CPU or no work.
_LOOKS = 2


class FittedConcurrency:
    """The present limit of calls in flight, `size`, which is at most `most`.

    More calls than the loop keeps up with make a run no faster: their replies wait for each other, each needs
    a connection, and their data has left the core's caches when they continue. So a run begins with few
    calls. The limit doubles while the run waits for services, and halves while replies wait for the run.
    """

    def __init__(self, most: int) -> None:
        self._least = min(_LEAST, most)
        self._most = most
        self._looks = 0
        self.size = self._least

    def look(self, *, late: float, seconds: float, calls: int, in_flight: int, more: bool) -> bool:
        """Take a measurement of the event loop, and return whether `size` has changed.

        `seconds` is the time since the last measurement, and `late` by how many seconds the loop was late for
        this one. `calls` is the number of calls sent since then. `more` is whether there are more targets.
        """
        # Little's law: the replies that wait are those that arrive in the time that one waits.
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
