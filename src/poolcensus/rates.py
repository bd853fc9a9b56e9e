"""How fast calls may follow each other where a service throttles: the rate is found, not configured."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import anyio
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.limits import CallKey


class CubicRate(msgspec.Struct):
    """The rate after a throttle: down at once, back to where it was, then probing beyond it.

    The function is CUBIC's (RFC 9438, section 4) with the constants of the AWS SDKs' adaptive retry
    mode: a throttle cuts the rate to 0.7 of what it was, and the way back has a scale of 0.4.
    """

    w_max: float
    throttled_at: float

    BETA = 0.7
    SCALE = 0.4

    def rate(self, now: float) -> float:
        """The rate in calls per second at `now`, in seconds on the clock of `throttled_at`."""
        inflection = float((self.w_max * (1 - self.BETA) / self.SCALE) ** (1 / 3))
        return float(self.SCALE * (now - self.throttled_at - inflection) ** 3 + self.w_max)


class RateLimiter:
    """The rate of one key that has been throttled: its calls are spaced, and it finds its way back up.

    Between two throttles a token bucket is empty at both ends, so the calls that succeeded meanwhile, over
    the time, are the rate that the service allows. From there the rate follows CUBIC's curve, on a clock
    that runs in calls rather than seconds: a key with two calls a second can't probe as often as one with
    two hundred. Until there is a second throttle, the rate grows with every success: fast where the key looks
    for the limit on behalf of others too, slowly where others look.

    A throttle while the pace is well below what is allowed has another reason than the pace, so the rate
    goes up. Where it was the pace after all, throttles in a row bring it down again.
    """

    SLOW_START = 1.5
    _GROWTH = 1.5
    _GROWTH_BESIDE = 1.05
    _FLOOR = 0.2
    _A_ROW = 3
    _WELL_BELOW = 0.85
    _CALLS_A_CURVE_SECOND = 10.0
    _MEMORY = 30.0
    _SHORTEST_EVIDENCE = 1.0
    # Calls that were in flight together are refused together: that is one reason to slow down, not many.
    _ONE_EVENT = 0.2

    def __init__(self, now: float, *, expected: float | None = None, looks: bool = True) -> None:
        self._allowed = expected
        self.looks = looks
        self._rate = self.SLOW_START if expected is None else max(expected * self._WELL_BELOW, self._FLOOR)
        self._throttled_at = now
        self._row = 1
        self._evidence_since = now
        self._successes = 0
        self._next = now + 1 / self._rate
        self.queue = anyio.Lock()

    @property
    def rate(self) -> float:
        """Calls a second that are let through."""
        return self._rate

    @property
    def allowed(self) -> float | None:
        """What the service was found to allow, in calls a second; None before there is evidence."""
        return self._allowed

    @property
    def well_below(self) -> bool:
        """Whether the pace is so far below what is allowed that it can't be the reason for a throttle."""
        return self._allowed is not None and self._rate < self._allowed * self._WELL_BELOW

    def reserve(self, now: float) -> float:
        """Take the next call's turn, and say how many seconds away it is."""
        turn = max(now, self._next)
        self._next = turn + 1 / self._rate
        return turn - now

    def expect(self, allowed: float, now: float) -> None:
        """Take over what another key of the service has found out, where nothing is known here."""
        if self._allowed is None:
            self._allowed = allowed
            self._throttled_at = now
            self._rate = max(allowed * self._WELL_BELOW, self._FLOOR)

    def throttled(self, now: float) -> None:
        """The service refused a call: slow down, once for calls that were refused together."""
        if now - self._throttled_at < self._ONE_EVENT:
            return
        self._row += 1
        elapsed = now - self._evidence_since
        if self._row == self._A_ROW:
            self._allowed = max(self._rate / 2, self._FLOOR)
            self._evidence_since, self._successes = now, 0
        elif self._row > 1:
            # The backoff of the retry is the answer to a second throttle.
            pass
        elif self._allowed is not None and self.well_below:
            self._allowed *= self._GROWTH
            self._evidence_since, self._successes = now, 0
        elif self._successes and elapsed >= self._SHORTEST_EVIDENCE:
            self._allowed = self._successes / elapsed
        else:
            self._allowed = self._rate
        if elapsed > self._MEMORY:
            self._evidence_since, self._successes = now, 0
        self._throttled_at = now
        if self._allowed is not None:
            self._rate = max(self._allowed * CubicRate.BETA, self._FLOOR)
        self._next = max(self._next, now + 1 / self._rate)

    def succeeded(self, now: float) -> None:
        """The service took a call."""
        self._successes += 1
        self._row = 0
        if self._allowed is not None:
            curve_time = (now - self._throttled_at) * self._allowed / self._CALLS_A_CURVE_SECOND
            self._rate = max(CubicRate(self._allowed, 0.0).rate(curve_time), self._FLOOR)
        else:
            self._rate *= self._GROWTH if self.looks else self._GROWTH_BESIDE


class _RecentCalls:
    """How many calls a key has made in the last second or two."""

    __slots__ = ("_before", "_now", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._now = 0
        self._before = 0

    def count(self, second: int) -> None:
        if second != self._second:
            self._before = self._now if second == self._second + 1 else 0
            self._second, self._now = second, 0
        self._now += 1

    def rate(self) -> float:
        return float(max(self._now, self._before, 1))


class _Weather:
    """Whether a service throttles for the callers' pace, or whatever they do.

    Calls that are paced well below what is allowed should get through. Where several of them are throttled,
    spacing calls only costs time, and the backoff before each retry has to do. That is over once most
    calls are throttled: then it is the pace again.
    """

    _ENOUGH = 3
    _SHARE = 0.12
    _MOST = 0.6
    _WEIGHT = 1 / 16
    _REMEMBERED = 64

    def __init__(self) -> None:
        self.pacing_helps = True
        self._below_calls = 0
        self._below_throttles = 0
        self._share = 0.0

    def count(self, *, throttled: bool, well_below: bool) -> None:
        self._share += (float(throttled) - self._share) * self._WEIGHT
        if not self.pacing_helps:
            if self._share > self._MOST:
                self.pacing_helps = True
                self._below_calls = self._below_throttles = 0
        elif well_below:
            self._below_calls += 1
            self._below_throttles += throttled
            if (
                self._below_throttles >= self._ENOUGH
                and self._below_throttles >= self._SHARE * self._below_calls
            ):
                self.pacing_helps = False
            elif self._below_calls > self._REMEMBERED:
                self._below_calls //= 2
                self._below_throttles //= 2


class RateLimits:
    """A limiter for each key that has ever been throttled, and none for the others.

    Accounts mostly have the same limit in a region's service. So only a few keys of one look for it at a
    time, and the others take over what those find.
    """

    _LOOKING_AT_ONCE = 3

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limiters: dict[CallKey, RateLimiter] = {}
        self._throttled_keys: defaultdict[str, list[CallKey]] = defaultdict(list)
        self._busy: dict[CallKey, _RecentCalls] = {}
        self._looking: Counter[tuple[str, str]] = Counter()
        self._found: dict[tuple[str, str], float] = {}
        self._weather: defaultdict[tuple[str, str], _Weather] = defaultdict(_Weather)

    def __len__(self) -> int:
        return len(self._limiters)

    def turns(self, key: CallKey) -> RateLimiter | None:
        """The limiter whose turns the key's calls have to wait for, if any."""
        limiter = self._limiters.get(key)
        if limiter is None or not self._weather[key.region, key.service].pacing_helps:
            return None
        return limiter

    async def wait(self, key: CallKey) -> None:
        """Wait for the key's next turn; at once for a key that has none to wait for."""
        limiter = self.turns(key)
        if limiter is None:
            return
        # One call at a time takes a turn. Were all that wait to take theirs at once, those behind a burst
        # of throttles would keep the slow pace of that moment, however fast the rate has become since.
        async with limiter.queue:
            if (delay := limiter.reserve(self._clock())) > 0:
                await anyio.sleep(delay)

    def sent(self, key: CallKey) -> None:
        """A call was sent by a key that many accounts share: its rate is known when it is first throttled."""
        recent = self._busy.get(key)
        if recent is None:
            recent = self._busy[key] = _RecentCalls()
        recent.count(int(self._clock()))

    def throttled(self, key: CallKey) -> None:
        """A call of the key was refused for its rate."""
        now = self._clock()
        service = (key.region, key.service)
        limiter = self._limiters.get(key)
        self._weather[service].count(throttled=True, well_below=limiter is not None and limiter.well_below)
        if limiter is not None:
            limiter.throttled(now)
            if limiter.allowed is not None and limiter.looks and key not in self._busy:
                self._found[service] = limiter.allowed
        else:
            self._limiters[key] = self._first_limiter(key, service, now)
            self._throttled_keys[key.account_id].append(key)

    def _first_limiter(self, key: CallKey, service: tuple[str, str], now: float) -> RateLimiter:
        if (recent := self._busy.get(key)) is not None:
            return RateLimiter(now, expected=recent.rate())
        if (found := self._found.get(service)) is not None:
            return RateLimiter(now, expected=found)
        self._looking[service] += 1
        return RateLimiter(now, looks=self._looking[service] <= self._LOOKING_AT_ONCE)

    def forget(self, account_id: str) -> None:
        """Drop the limiters of an account that makes no calls any more. What they found out stays."""
        for key in self._throttled_keys.pop(account_id, ()):
            if key not in self._busy:
                self._limiters.pop(key, None)

    def succeeded(self, key: CallKey) -> None:
        """A call of the key went through."""
        limiter = self._limiters.get(key)
        if limiter is None:
            return
        now = self._clock()
        service = (key.region, key.service)
        self._weather[service].count(throttled=False, well_below=limiter.well_below)
        if limiter.allowed is None and (found := self._found.get(service)) is not None:
            limiter.expect(found, now)
        limiter.succeeded(now)
