"""When calls are held back because a service throttles. Paces are measured, but for a documented one."""

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
    """The pace of one account's calls in a region, which are sent one after the other, page after page.

    Once a page has been throttled, the next is sent no sooner than a gap after it. The gap is the time from
    the page before to the middle between the first retry that could have got through and the one that
    did, which may have been late. It shrinks with each page that is not throttled.
    """

    # With less, every other page is throttled again; with more, a chain that was throttled by chance takes
    # long to forget it.
    _SHRINK = 0.75
    # The shortest wait before a retry under throttling: that much later than the refusal is not late.
    _NOT_LATE = 0.2
    # As long as the longest wait before a retry: one that was held up for other reasons has no more to wait.
    _LONGEST_GAP = 20.0

    __slots__ = ("_gap", "_passed_at", "_throttled_at")

    def __init__(self, now: float) -> None:
        self._gap = 0.0
        self._passed_at = now
        self._throttled_at: float | None = now

    def delay(self, now: float) -> float:
        """Return how many seconds away the next call is."""
        return max(0.0, self._passed_at + self._gap - now)

    def throttled(self, now: float) -> None:
        """Note that a call was refused."""
        self._throttled_at = now

    def passed(self, now: float) -> None:
        """Note that a call was not refused."""
        if self._throttled_at is None:
            self._gap *= self._SHRINK
        else:
            late = max(now - self._throttled_at - self._NOT_LATE, 0.0) / 2
            self._gap = min(now - late - self._passed_at, self._LONGEST_GAP)
        self._passed_at, self._throttled_at = now, None


class SharedPace:
    """The pace of all calls to a service in a region.

    The client-side throttling of "Handling Overload" in Google's Site Reliability Engineering: no more than
    `_RATIO` times as many calls are sent as have lately got through. Where fewer than one in three is
    throttled, whatever the reason, that holds back none; and where it does, two calls get through for each
    that is throttled.
    """

    # What is over 1 is how many calls are throttled, at most, for each that gets through. Calls of which a
    # fifth or a quarter is throttled at random need 1.25 and 1.33.
    _RATIO = 1.5
    # The memory of the counts, in seconds. A service is asked dozens of times in it, so that chance evens
    # out, and a rate that was right before it is wrong by now.
    _WINDOW = 2.0
    # Calls over the ratio: without any, the first two in a row that are throttled would hold back the third.
    _SLACK = 4.0
    # Calls a second that are sent though none gets through, so that it is noticed when one does. A retry's
    # wait under throttling is at least a fifth of a second too.
    _LEAST = 5.0
    # Where half of the calls are throttled at random, so many in a row are one time in a thousand.
    _NOT_BY_CHANCE = 10
    # What is left in the counts of a call that got through the length of the memory ago.
    _LONG_AGO = math.exp(-1)

    def __init__(self, now: float, concurrent_runs: int) -> None:
        self._refused = 0
        self._least = self._LEAST / concurrent_runs
        self._sent = 0.0
        self._passed = 0.0
        self._faded_at = now
        self._last = now
        # A page of a target that has been read in part waits behind one other call, not behind all the
        # targets that wait to begin.
        self._beginners = anyio.Lock()
        self._turn = anyio.Lock()

    def delay(self, now: float) -> float:
        """Return how many seconds away the next call is."""
        self._fade(now)
        allowed = self._RATIO * self._passed
        if self._sent < allowed + self._SLACK:
            return 0.0
        return max(0.0, self._last + 1 / max(allowed / self._WINDOW, self._least) - now)

    def admits(self, now: float) -> bool:
        """Say whether a call can be sent now, before those that wait."""
        return self.delay(now) <= 0 and not self._turn.locked()

    def sent(self, now: float) -> None:
        """Note that a call is about to be sent."""
        self._fade(now)
        self._sent += 1
        self._last = now

    def passed(self, now: float) -> None:
        """Note that a call was not refused."""
        self._fade(now)
        self._passed += 1
        self._refused = 0

    def throttled(self) -> None:
        """Note that a call was refused."""
        self._refused += 1

    async def wait(self, clock: Callable[[], float], *, begun: bool, queues: bool) -> bool:
        """Wait for the next call's turn and take it.

        Return False for a call that does not queue, where none gets through.
        """
        if begun:
            await self._take_turn(clock)
            return True
        async with self._beginners:
            # Those before it that do not queue either are gone at once.
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
    """The pace of calls whose rate is documented and low, each of them a fixed time after the one before."""

    def __init__(self, calls_a_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap = 1 / calls_a_second
        self._clock = clock
        self._next = 0.0

    async def wait(self) -> None:
        """Wait for the turn of the next call, in the order of asking."""
        now = self._clock()
        turn = max(self._next, now)
        self._next = turn + self._gap
        await anyio.sleep(turn - now)


class RateLimits:
    """Holds back calls where a service throttles: in a region, or in one account there.

    A call that is throttled while its target is being read shows the limit of its account in the region,
    whose calls it follows. One that is throttled at the first call to its target can't: it shows a limit that
    accounts share, or throttling at random. Once a service has done that, in whatever region, its other
    throttles are not taken for limits of accounts either. `concurrent_runs` is how many share the limits that
    accounts share.
    """

    def __init__(self, concurrent_runs: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._concurrent_runs = concurrent_runs
        self._shared: dict[tuple[str, str], SharedPace] = {}
        self._shared_services: set[str] = set()
        self._chains: defaultdict[str, dict[CallKey, ChainPace]] = defaultdict(dict)

    def admits(self, key: CallKey, *, begun: bool) -> bool:
        """Say whether a call can be sent now, and count it if so.

        `begun` says that the call's target has been read in part.
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
        """Wait until a call can be sent that is not admitted, and count it.

        Return False for a call that does not queue, where none gets through its service.
        """
        if (chain := self._chain(key, begun=begun)) is not None:
            await anyio.sleep(chain.delay(self._clock()))
        if (shared := self._shared.get((key.region, key.service))) is not None:
            return await shared.wait(self._clock, begun=begun, queues=queues)
        return True

    def throttled(self, key: CallKey, *, begun: bool) -> None:
        """Note that a call was refused for its rate."""
        if not begun:
            self._shared_services.add(key.service)
            service = (key.region, key.service)
            shared = self._shared.get(service)
            if shared is None:
                shared = self._shared[service] = SharedPace(self._clock(), self._concurrent_runs)
            shared.throttled()
        elif key.service in self._shared_services:
            return
        elif (chain := self._chain(key, begun=begun)) is not None:
            chain.throttled(self._clock())
        else:
            self._chains[key.account_id][key] = ChainPace(self._clock())

    def passed(self, key: CallKey, *, begun: bool) -> None:
        """Note that a call was not refused for its rate, whatever else became of it."""
        if not self._shared and not self._chains:
            return
        now = self._clock()
        if (shared := self._shared.get((key.region, key.service))) is not None:
            shared.passed(now)
        if (chain := self._chain(key, begun=begun)) is not None:
            chain.passed(now)

    def forget(self, account_id: str) -> None:
        """Drop the paces of an account that makes no calls any more."""
        self._chains.pop(account_id, None)

    def _chain(self, key: CallKey, *, begun: bool) -> ChainPace | None:
        return self._chains[key.account_id].get(key) if begun and key.account_id in self._chains else None
