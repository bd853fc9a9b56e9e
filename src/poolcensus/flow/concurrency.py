"""What bounds the calls: places for calls in flight, waits that make room for others, retry quotas."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class CallKey(NamedTuple):
    """Whose limit a call counts against: limits belong to the account that owns the credentials."""

    account_id: str
    region: str
    service: str


class _Waiter(NamedTuple):
    number: int
    key: CallKey
    place: asyncio.Future[None]


class _Waiters:
    """Those that wait for a place, by the endpoints that they wait for, in the order in which they came."""

    def __init__(self) -> None:
        self.by_endpoint: dict[tuple[str, str], deque[_Waiter]] = {}
        self._came = 0

    def __len__(self) -> int:
        return sum(map(len, self.by_endpoint.values()))

    def add(self, key: CallKey) -> _Waiter:
        self._came += 1
        waiter = _Waiter(self._came, key, asyncio.get_running_loop().create_future())
        self.by_endpoint.setdefault((key.region, key.service), deque()).append(waiter)
        return waiter

    def remove(self, waiter: _Waiter) -> None:
        endpoint = (waiter.key.region, waiter.key.service)
        waiters = self.by_endpoint[endpoint]
        waiters.remove(waiter)
        if not waiters:
            del self.by_endpoint[endpoint]


class ConcurrencyLimiter:
    """Places for calls in flight: so many in the whole run, in each account, in each service's region.

    A place in all three is taken at once or not at all, so a call that waits for its account holds
    nothing that another account could use.
    """

    def __init__(self, *, total: int, per_account: int, per_region: int) -> None:
        self._total = total
        self._per_account = per_account
        self._per_region = per_region
        self._own_bounds: dict[str, int] = {}
        self._in_flight = 0
        self._accounts: dict[str, int] = {}
        self._endpoints: dict[tuple[str, str], int] = {}
        self._ahead = _Waiters()
        self._behind = _Waiters()

    def bound(self, account_id: str, places: int) -> None:
        """Have no more than so many places in one account, which has fewer than the others."""
        self._own_bounds[account_id] = places

    @property
    def in_flight(self) -> int:
        """How many places are taken."""
        return self._in_flight

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return len(self._ahead) + len(self._behind)

    @asynccontextmanager
    async def place(self, key: CallKey, *, ahead: bool = False) -> AsyncIterator[None]:
        """Hold a place for one call. `ahead` waits before those that are not."""
        await self.acquire(key, ahead=ahead)
        try:
            yield
        finally:
            self.release(key)

    async def acquire(self, key: CallKey, *, ahead: bool = False) -> None:
        """Take a place, waiting for one where there is none."""
        if self._take(key):
            return
        waiters = self._ahead if ahead else self._behind
        waiter = waiters.add(key)
        try:
            await waiter.place
        except asyncio.CancelledError:
            if waiter.place.cancelled():
                waiters.remove(waiter)
            else:
                self.release(key)
            raise

    def release(self, key: CallKey) -> None:
        """Give a place back and hand it to whoever waits for it."""
        account_id, region, service = key
        self._in_flight -= 1
        if left := self._accounts[account_id] - 1:
            self._accounts[account_id] = left
        else:
            del self._accounts[account_id]
        self._endpoints[region, service] -= 1
        for waiters in (self._ahead, self._behind):
            # In most calls nobody waits, or there is no place left for whoever does.
            while (
                waiters.by_endpoint
                and self._in_flight < self._total
                and (waiter := self._first(waiters)) is not None
            ):
                self._take(waiter.key)
                waiters.remove(waiter)
                waiter.place.set_result(None)

    def _take(self, key: CallKey) -> bool:
        """Take a place if there is one now, and say whether there was."""
        account_id, region, service = key
        endpoint = (region, service)
        in_account = self._accounts.get(account_id, 0)
        at_endpoint = self._endpoints.get(endpoint, 0)
        if (
            self._in_flight >= self._total
            or at_endpoint >= self._per_region
            or in_account >= self._own_bounds.get(account_id, self._per_account)
        ):
            return False
        self._in_flight += 1
        self._accounts[account_id] = in_account + 1
        self._endpoints[endpoint] = at_endpoint + 1
        return True

    def _first(self, waiters: _Waiters) -> _Waiter | None:
        """Return who has waited longest of those that can have a place, of which the run has one."""
        first: _Waiter | None = None
        for endpoint, queue in waiters.by_endpoint.items():
            # Hundreds may wait for a region of STS, and none of them is looked at while it has no place.
            if self._endpoints.get(endpoint, 0) >= self._per_region:
                continue
            for waiter in queue:
                if first is not None and first.number < waiter.number:
                    break
                account_id = waiter.key.account_id
                bound = self._own_bounds.get(account_id, self._per_account)
                # One whose place is done was cancelled, and is about to say so itself.
                if not waiter.place.done() and self._accounts.get(account_id, 0) < bound:
                    first = waiter
                    break
        return first


class Window:
    """How many targets may be open in a region at a time: `size`.

    It begins with `least`. Every reply makes room for one more, up to `most`; a call without a reply halves
    the room. So a region that refuses, swallows or drips costs the others a few places, and not all of them.
    `room` is set when it has grown.
    """

    __slots__ = ("_least", "_most", "_room", "size")

    def __init__(self, least: int, most: int, room: asyncio.Event) -> None:
        self._least = min(least, most)
        self._most = most
        self._room = room
        self.size = self._least

    def replied(self) -> None:
        """Note that a call to the region got a reply."""
        if self.size < self._most:
            self.size += 1
            self._room.set()

    def silent(self) -> None:
        """Note that a call to the region got none."""
        self.size = max(self._least, self.size // 2)

    def widen(self) -> None:
        """Give it all the room that there can be: nobody else needs it."""
        self.size = self._most
        self._room.set()


class Pauses:
    """How many targets wait for something other than a place: a retry, their account's role, an answer.

    Such a target can make no call, so another may be opened beside it: `room` is set when one begins to wait.
    """

    def __init__(self) -> None:
        self.count = 0
        self.in_region: Counter[str] = Counter()
        self.silent = 0
        self.silent_of: Counter[str] = Counter()
        self.room = asyncio.Event()

    @contextmanager
    def pause(self, region: str | None = None) -> Iterator[None]:
        """Count a target as waiting while the block lasts; in its region too, unless that is None."""
        self.count += 1
        if region is not None:
            self.in_region[region] += 1
        self.room.set()
        try:
            yield
        finally:
            self.count -= 1
            if region is not None:
                self.in_region[region] -= 1

    @contextmanager
    def silence(self, account_id: str) -> Iterator[None]:
        """Count a target of an account as one that waits for what does not answer."""
        self.silent += 1
        self.silent_of[account_id] += 1
        try:
            with self.pause():
                yield
        finally:
            self.silent -= 1
            self.silent_of[account_id] -= 1
            if not self.silent_of[account_id]:
                del self.silent_of[account_id]


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
