"""What bounds the calls: places for calls in flight, rates where a service throttles, retry quotas."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


class CallKey(NamedTuple):
    """Whose limit a call counts against: limits belong to the account that owns the credentials."""

    account_id: str
    region: str
    service: str


class _Waiter:
    __slots__ = ("event", "granted", "key")

    def __init__(self, key: CallKey) -> None:
        self.key = key
        self.granted = False
        self.event = anyio.Event()


class Gate:
    """Places for calls in flight: so many in the whole run, in each account, in each region.

    A place in all three is taken at once or not at all, so a call that waits for its account holds
    nothing that another account could use.
    """

    def __init__(self, *, total: int, per_account: int, per_region: int) -> None:
        self._total = total
        self._per_account = per_account
        self._per_region = per_region
        self._in_flight = 0
        self._accounts: Counter[str] = Counter()
        self._regions: Counter[str] = Counter()
        self._waiters: deque[_Waiter] = deque()

    @property
    def in_flight(self) -> int:
        """How many places are taken."""
        return self._in_flight

    @asynccontextmanager
    async def place(self, key: CallKey, *, ahead: bool = False) -> AsyncIterator[None]:
        """Hold a place for one call. `ahead` waits before all others: for a call that had one already."""
        await self.acquire(key, ahead=ahead)
        try:
            yield
        finally:
            self.release(key)

    async def acquire(self, key: CallKey, *, ahead: bool = False) -> None:
        """Take a place, waiting for one where there is none."""
        if self._admits(key):
            self._take(key)
            return
        waiter = _Waiter(key)
        if ahead:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        try:
            await waiter.event.wait()
        except BaseException:
            if waiter.granted:
                self.release(key)
            else:
                self._waiters.remove(waiter)
            raise

    def release(self, key: CallKey) -> None:
        """Give a place back and hand it to whoever waits for it."""
        self._in_flight -= 1
        for counts, name in ((self._accounts, key.account_id), (self._regions, key.region)):
            counts[name] -= 1
            if not counts[name]:
                del counts[name]
        self._grant()

    def _admits(self, key: CallKey) -> bool:
        return (
            self._in_flight < self._total
            and self._accounts[key.account_id] < self._per_account
            and self._regions[key.region] < self._per_region
        )

    def _take(self, key: CallKey) -> None:
        self._in_flight += 1
        self._accounts[key.account_id] += 1
        self._regions[key.region] += 1

    def _grant(self) -> None:
        passed: list[_Waiter] = []
        while self._waiters and self._in_flight < self._total:
            waiter = self._waiters.popleft()
            if self._admits(waiter.key):
                self._take(waiter.key)
                waiter.granted = True
                waiter.event.set()
            else:
                passed.append(waiter)
        self._waiters.extendleft(reversed(passed))


@dataclass(slots=True)
class CubicRate:
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
    """The rate of one key that has been throttled: calls are spaced, and the rate finds its way back up."""

    _FLOOR = 0.5
    _SMOOTHING = 0.8
    # Calls that were in flight together are refused together: that is one reason to slow down, not many.
    _ONE_EVENT = 0.2

    def __init__(self, now: float, measured: float) -> None:
        self._measured = max(measured, self._FLOOR)
        self._last_call = now
        self._next = now
        self._cubic = CubicRate(self._measured, now)
        self._rate = max(self._measured * CubicRate.BETA, self._FLOOR)
        self.queue = anyio.Lock()

    @property
    def rate(self) -> float:
        """Calls per second that are let through."""
        return self._rate

    def reserve(self, now: float) -> float:
        """Take the next call's turn, and say how many seconds away it is."""
        turn = max(now, self._next)
        self._next = turn + 1 / self._rate
        interval = max(turn - self._last_call, 1e-3)
        self._measured = (1 - self._SMOOTHING) * self._measured + self._SMOOTHING / interval
        self._last_call = turn
        return turn - now

    def throttled(self, now: float) -> None:
        """The service refused a call: slow down, once for calls that were refused together."""
        if now - self._cubic.throttled_at < self._ONE_EVENT:
            return
        self._cubic = CubicRate(max(min(self._measured, self._rate), self._FLOOR), now)
        self._rate = max(self._cubic.w_max * CubicRate.BETA, self._FLOOR)
        self._next = max(self._next, now + 1 / self._rate)

    def succeeded(self, now: float) -> None:
        """The service took a call: let the rate follow the curve, not more than twice what is in use."""
        self._rate = max(min(self._cubic.rate(now), 2 * self._measured), self._FLOOR)


class RateLimits:
    """A limiter for each key that has ever been throttled, and none for the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limiters: dict[CallKey, RateLimiter] = {}

    def __len__(self) -> int:
        return len(self._limiters)

    def __contains__(self, key: CallKey) -> bool:
        """Whether the key has been throttled."""
        return key in self._limiters

    async def wait(self, key: CallKey) -> None:
        """Wait for the key's next turn; at once for a key that has not been throttled."""
        limiter = self._limiters.get(key)
        if limiter is None:
            return
        # One call at a time takes a turn. Were all that wait to take theirs at once, those behind a burst
        # of throttles would keep the slow pace of that moment, however fast the rate has become since.
        async with limiter.queue:
            if (delay := limiter.reserve(self._clock())) > 0:
                await anyio.sleep(delay)

    def throttled(self, key: CallKey, recent_rate: float) -> None:
        """A call of the key was throttled. `recent_rate` (calls a second) is where a new limiter starts."""
        limiter = self._limiters.get(key)
        if limiter is None:
            self._limiters[key] = RateLimiter(self._clock(), recent_rate)
        else:
            limiter.throttled(self._clock())

    def succeeded(self, key: CallKey) -> None:
        """A call of the key went through."""
        limiter = self._limiters.get(key)
        if limiter is not None:
            limiter.succeeded(self._clock())


class Pauses:
    """How many targets wait for something other than a place: a retry, a turn, their account's role.

    Such a target can make no call, so another may be opened beside it. `on_pause` is called when one begins
    to wait.
    """

    def __init__(self) -> None:
        self.count = 0
        self.on_pause: Callable[[], None] | None = None

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Count a target as waiting for as long as the block lasts."""
        self.count += 1
        try:
            if self.on_pause is not None:
                self.on_pause()
            yield
        finally:
            self.count -= 1

    async def sleep(self, seconds: float) -> None:
        """Wait before a retry."""
        with self.pause():
            await anyio.sleep(seconds)


class RetryQuota:
    """How much retrying a service is worth: the quota of the AWS SDKs' standard retry mode.

    A retry costs 5, one after a timeout 10. A call that succeeds gives back what its last retry cost,
    or 1 where it needed none. With nothing left no call is tried again: a service that is down is not
    helped by more calls.
    """

    RETRY = 5
    TIMEOUT = 10
    NO_RETRY = 1

    def __init__(self, capacity: int = 500) -> None:
        self._capacity = capacity
        self._left = capacity

    @property
    def left(self) -> int:
        """What is left of the quota."""
        return self._left

    def spend(self, cost: int) -> bool:
        """Pay for a retry, and say whether there was enough."""
        if cost > self._left:
            return False
        self._left -= cost
        return True

    def succeeded(self, last_cost: int) -> None:
        """Give back what the last retry of a call cost; 0 for a call that was not tried again."""
        self._left = min(self._capacity, self._left + (last_cost or self.NO_RETRY))
