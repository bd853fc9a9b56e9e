"""The concurrency limiter: bounds the calls in flight of a run, of an account and of an endpoint."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple


class CallKey(NamedTuple):
    """The limits that a call counts against. AWS's limits are those of the account of the credentials."""

    account_id: str
    region: str
    service: str


class _Waiter(NamedTuple):
    number: int
    key: CallKey
    place: asyncio.Future[None]
    doubtful: bool


class _Waiters:
    """The calls that wait for a place, by endpoint, in the order in which they came."""

    def __init__(self) -> None:
        self.by_endpoint: dict[tuple[str, str], deque[_Waiter]] = {}
        self._came = 0

    def add(self, key: CallKey, *, doubtful: bool) -> _Waiter:
        self._came += 1
        waiter = _Waiter(self._came, key, asyncio.get_running_loop().create_future(), doubtful)
        self.by_endpoint.setdefault((key.region, key.service), deque()).append(waiter)
        return waiter

    def remove(self, waiter: _Waiter) -> None:
        endpoint = (waiter.key.region, waiter.key.service)
        waiters = self.by_endpoint[endpoint]
        waiters.remove(waiter)
        if not waiters:
            del self.by_endpoint[endpoint]


class ConcurrencyLimiter:
    """Places for calls in flight, limited for the run, for each account, and for each endpoint.

    A call takes its place in all three at once or not at all, so a call that waits for its account holds
    nothing that another account could use.

    No more than a quarter of the run's places are for `doubtful` calls: their endpoint may be down, and each
    may take its whole timeout to find out. With fewer than four places, one doubtful call at a time has a
    place. After it, doubtful calls pause for so long that they use a quarter of the time of all places. The
    pause ends early if no other call is in flight for a while.
    """

    # With half of the places, two regions that hang halve the rate of all others. With an eighth, and few
    # places, it takes long to notice that one of several silent regions is back.
    _PLACES_FOR_ONE_DOUBTFUL = 4
    # How long no other call must be in flight to end the pause after a doubtful call, as a part of the time
    # that it took. At the end of a run there are no other calls to leave the places to.
    _NOBODY_ELSE_FOR = 1 / 4

    def __init__(self, *, total: int, per_account: int, per_region: int) -> None:
        self.total = total
        self._per_account = per_account
        self._per_region = per_region
        self._own_bounds: dict[str, int] = {}
        self._in_flight = 0
        self._most_doubtful = max(total // self._PLACES_FOR_ONE_DOUBTFUL, 1)
        self._doubtful = 0
        self._rest_for_each_second = max(self._PLACES_FOR_ONE_DOUBTFUL / total - 1, 0.0)
        self._doubtful_since = 0.0
        # Timers that end the pause of doubtful calls. The second one runs while no call is in flight.
        self._rest: asyncio.TimerHandle | None = None
        self._quiet: asyncio.TimerHandle | None = None
        self._longest_quiet = 0.0
        self._accounts: dict[str, int] = {}
        self._endpoints: dict[tuple[str, str], int] = {}
        self._ahead = _Waiters()
        self._behind = _Waiters()

    def bound(self, account_id: str, places: int) -> None:
        """Set a lower limit for one account."""
        self._own_bounds[account_id] = places

    async def acquire(self, key: CallKey, *, ahead: bool = False, doubtful: bool = False) -> None:
        """Wait for a place and take it. A call that is `ahead` gets one before those that are not."""
        if self._take(key, doubtful=doubtful):
            return
        waiters = self._ahead if ahead else self._behind
        waiter = waiters.add(key, doubtful=doubtful)
        try:
            await waiter.place
        except asyncio.CancelledError:
            if waiter.place.cancelled():
                waiters.remove(waiter)
            else:
                self.release(key, doubtful=doubtful)
            raise

    def release(self, key: CallKey, *, doubtful: bool = False) -> None:
        """Give back a place that was taken with the same arguments, and hand it to a waiting call."""
        account_id, region, service = key
        self._in_flight -= 1
        self._doubtful -= doubtful
        if left := self._accounts[account_id] - 1:
            self._accounts[account_id] = left
        else:
            del self._accounts[account_id]
        self._endpoints[region, service] -= 1
        if doubtful and self._rest_for_each_second:
            self._begin_rest()
        self._hand_on()

    def _hand_on(self) -> None:
        """Give the free places to waiting calls."""
        for waiters in (self._ahead, self._behind):
            # Usually nothing waits, or there is no free place.
            while (
                waiters.by_endpoint
                and self._in_flight < self.total
                and (waiter := self._first(waiters)) is not None
            ):
                self._take(waiter.key, doubtful=waiter.doubtful)
                waiters.remove(waiter)
                waiter.place.set_result(None)
        if self._rest is not None and not self._in_flight:
            self._quiet = asyncio.get_running_loop().call_later(self._longest_quiet, self._end_rest)

    def _begin_rest(self) -> None:
        """Give no place to doubtful calls for a while, depending on how long the last one took."""
        loop = asyncio.get_running_loop()
        took = loop.time() - self._doubtful_since
        self._rest = loop.call_later(took * self._rest_for_each_second, self._end_rest)
        self._longest_quiet = took * self._NOBODY_ELSE_FOR

    def _end_rest(self) -> None:
        for timer in (self._rest, self._quiet):
            if timer is not None:
                timer.cancel()
        self._rest = self._quiet = None
        self._hand_on()

    def _takes_doubtful(self) -> bool:
        """Return whether another doubtful call may have a place."""
        return self._doubtful < self._most_doubtful and self._rest is None

    def _take(self, key: CallKey, *, doubtful: bool) -> bool:
        """Take a place if one is free. Return whether it was taken."""
        account_id, region, service = key
        endpoint = (region, service)
        in_account = self._accounts.get(account_id, 0)
        at_endpoint = self._endpoints.get(endpoint, 0)
        if (
            self._in_flight >= self.total
            or at_endpoint >= self._per_region
            or in_account >= self._own_bounds.get(account_id, self._per_account)
            or (doubtful and not self._takes_doubtful())
        ):
            return False
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        if doubtful and self._rest_for_each_second:
            self._doubtful_since = asyncio.get_running_loop().time()
        self._in_flight += 1
        self._doubtful += doubtful
        self._accounts[account_id] = in_account + 1
        self._endpoints[endpoint] = at_endpoint + 1
        return True

    def _first(self, waiters: _Waiters) -> _Waiter | None:
        """Return the call that has waited longest, of those whose account and endpoint have a free place."""
        first: _Waiter | None = None
        for endpoint, queue in waiters.by_endpoint.items():
            # Hundreds may wait for STS in a region. None of them is looked at while it has no free place.
            if self._endpoints.get(endpoint, 0) >= self._per_region:
                continue
            for waiter in queue:
                if first is not None and first.number < waiter.number:
                    break
                account_id = waiter.key.account_id
                bound = self._own_bounds.get(account_id, self._per_account)
                if waiter.doubtful and not self._takes_doubtful():
                    continue
                # A future that is done belongs to a call that was cancelled.
                if not waiter.place.done() and self._accounts.get(account_id, 0) < bound:
                    first = waiter
                    break
        return first
