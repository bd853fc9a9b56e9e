"""Rate limits: hold back calls while a service throttles.

The rates are measured, except for one that AWS documents.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from poolcensus.flow.concurrency import CallKey


class ChainPace:
    """The pace of one account's calls to an endpoint, which are sent one after the other, page after page.

    After a page was throttled, the next calls keep a minimum gap. The gap is the time from the page before to
    the retry that got through, less half of the time by which that retry may have been later than necessary.
    It shrinks with each page that is not throttled.
    """

    # With a lower factor, every other page is throttled again. With a higher one, a chain that was throttled
    # by chance stays slow for long.
    _SHRINK = 0.75
    # The shortest wait before a retry after a throttle, in seconds. A retry that got through so soon after
    # the refusal was not late.
    _NOT_LATE = 0.2
    # The longest wait before a retry, in seconds. A longer gap has other reasons than throttling.
    _LONGEST_GAP = 20.0

    __slots__ = ("_gap", "_passed_at", "_throttled_at")

    def __init__(self, now: float) -> None:
        self._gap = 0.0
        self._passed_at = now
        self._throttled_at: float | None = now

    def delay(self, now: float) -> float:
        """Return how many seconds the next call has to wait."""
        return max(0.0, self._passed_at + self._gap - now)

    def throttled(self, now: float) -> None:
        """Record that a call was throttled."""
        self._throttled_at = now

    def passed(self, now: float) -> None:
        """Record that a call was not throttled."""
        if self._throttled_at is None:
            self._gap *= self._SHRINK
        else:
            late = max(now - self._throttled_at - self._NOT_LATE, 0.0) / 2
            self._gap = min(now - late - self._passed_at, self._LONGEST_GAP)
        self._passed_at, self._throttled_at = now, None


class SharedPace:
    """The pace of all calls to an endpoint.

    This is the client-side throttling of "Handling Overload" in Google's Site Reliability Engineering: at
    most `_RATIO` times as many calls are sent as have recently got through. If fewer than one in three calls
    is throttled, for whatever reason, no call is held back. If calls are held back, two get through for each
    one that is throttled.
    """

    # The part over 1 is how many calls are throttled, at most, for each that gets through. If a fifth or a
    # quarter of calls is throttled at random, 1.25 or 1.33 is needed to hold back none.
    _RATIO = 1.5
    # The time constant of the counts, in seconds. An endpoint gets dozens of calls in it, so that chance
    # evens out, and a rate that was measured longer ago may have changed.
    _WINDOW = 2.0
    # Calls that are allowed over the ratio. Without them, two throttles in a row would hold back the third
    # call.
    _SLACK = 4.0
    # Calls a second that are sent even if none gets through, to notice when one does. The wait before a retry
    # after a throttle is at least a fifth of a second, too.
    _LEAST = 5.0
    # If half of the calls are throttled at random, so many throttles in a row occur once in a thousand times.
    _NOT_BY_CHANCE = 10
    # What is left in the counts of a call that got through one time constant ago.
    _LONG_AGO = math.exp(-1)

    def __init__(self, now: float, concurrent_runs: int) -> None:
        self._refused = 0
        self._least = self._LEAST / concurrent_runs
        self._sent = 0.0
        self._passed = 0.0
        self._faded_at = now
        self._last = now
        # The next page of a target that has begun waits behind one other call, and not behind all targets
        # that wait to begin.
        self._beginners = anyio.Lock()
        self._turn = anyio.Lock()

    def delay(self, now: float) -> float:
        """Return how many seconds the next call has to wait."""
        self._fade(now)
        allowed = self._RATIO * self._passed
        if self._sent < allowed + self._SLACK:
            return 0.0
        return max(0.0, self._last + 1 / max(allowed / self._WINDOW, self._least) - now)

    def admits(self, now: float) -> bool:
        """Return whether a call can be sent now, and no other call waits for its turn."""
        return self.delay(now) <= 0 and not self._turn.locked()

    def sent(self, now: float) -> None:
        """Record that a call is about to be sent."""
        self._fade(now)
        self._sent += 1
        self._last = now

    def passed(self, now: float) -> None:
        """Record that a call was not throttled."""
        self._fade(now)
        self._passed += 1
        self._refused = 0

    def throttled(self) -> None:
        """Record that a call was throttled."""
        self._refused += 1

    async def wait(self, clock: Callable[[], float], *, begun: bool, queues: bool) -> bool:
        """Wait for the call's turn, and count the call as sent.

        Return False instead if the call does not queue and no calls get through.
        """
        if begun:
            await self._take_turn(clock)
            return True
        async with self._beginners:
            # Calls before this one that don't queue either return at once.
            if not queues and self._refuses_all(clock()):
                return False
            await self._take_turn(clock)
            return True

    def _refuses_all(self, now: float) -> bool:
        self._fade(now)
        return self._refused >= self._NOT_BY_CHANCE and self._passed < self._LONG_AGO

    async def _take_turn(self, clock: Callable[[], float]) -> None:
        async with self._turn:
            if (delay := self.delay(clock())) > 0:
                await anyio.sleep(delay)
            self.sent(clock())

    def _fade(self, now: float) -> None:
        share = math.exp((self._faded_at - now) / self._WINDOW)
        self._sent *= share
        self._passed *= share
        self._faded_at = now


class SteadyPace:
    """A fixed pace, for calls whose allowed rate is documented and low."""

    def __init__(self, calls_a_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap = 1 / calls_a_second
        self._clock = clock
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the caller's turn. Turns are in the order of the calls of this method."""
        now = self._clock()
        turn = max(self._next, now)
        self._next = turn + self._gap
        await anyio.sleep(turn - now)


class RateLimits:
    """Holds back calls while a service throttles: all calls to an endpoint, or those of one account there.

    If a later page of a target is throttled, the reason is taken to be the limit of its account, since the
    account has just made calls to the endpoint. If the first call of a target is throttled, that can't be the
    reason: either accounts share a limit, or calls are throttled at random. Once a service has throttled a
    first call, in any region, its throttles are never taken for limits of one account. `concurrent_runs` is
    the number of runs that use the shared limits at the same time.
    """

    def __init__(self, concurrent_runs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._concurrent_runs = concurrent_runs
        self._shared: dict[tuple[str, str], SharedPace] = {}
        self._shared_services: set[str] = set()
        self._chains: defaultdict[str, dict[CallKey, ChainPace]] = defaultdict(dict)

    def admits(self, key: CallKey, *, begun: bool) -> bool:
        """Return whether a call can be sent now. If it can, count it as sent.

        `begun` is whether a page of the call's target has been read before.
        """
        if not self._shared and not self._chains:
            return True
        now = self._clock()
        shared = self._shared.get((key.region, key.service))
        chain = self._chain(key, begun=begun)
        if (chain is not None and chain.delay(now) > 0) or (shared is not None and not shared.admits(now)):
            return False
        if shared is not None:
            shared.sent(now)
        return True

    async def wait(self, key: CallKey, *, begun: bool, queues: bool = True) -> bool:
        """Wait until a call can be sent that was not admitted, and count it as sent.

        Return False instead if the call does not queue and no calls to its endpoint get through.
        """
        if (chain := self._chain(key, begun=begun)) is not None:
            await anyio.sleep(chain.delay(self._clock()))
        if (shared := self._shared.get((key.region, key.service))) is not None:
            return await shared.wait(self._clock, begun=begun, queues=queues)
        return True

    def throttled(self, key: CallKey, *, begun: bool) -> None:
        """Record that a call was throttled."""
        if not begun:
            self._shared_services.add(key.service)
            endpoint = (key.region, key.service)
            shared = self._shared.get(endpoint)
            if shared is None:
                shared = self._shared[endpoint] = SharedPace(self._clock(), self._concurrent_runs)
            shared.throttled()
        elif key.service in self._shared_services:
            return
        elif (chain := self._chain(key, begun=begun)) is not None:
            chain.throttled(self._clock())
        else:
            self._chains[key.account_id][key] = ChainPace(self._clock())

    def passed(self, key: CallKey, *, begun: bool) -> None:
        """Record that a call was not throttled, whatever else its result is."""
        if not self._shared and not self._chains:
            return
        now = self._clock()
        if (shared := self._shared.get((key.region, key.service))) is not None:
            shared.passed(now)
        if (chain := self._chain(key, begun=begun)) is not None:
            chain.passed(now)

    def forget(self, account_id: str) -> None:
        """Drop the paces of an account that has no more calls to make."""
        self._chains.pop(account_id, None)

    def _chain(self, key: CallKey, *, begun: bool) -> ChainPace | None:
        return self._chains[key.account_id].get(key) if begun and key.account_id in self._chains else None
