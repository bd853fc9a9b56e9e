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
    key: CallKey
    place: asyncio.Future[None]


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
        self._accounts: Counter[str] = Counter()
        self._endpoints: Counter[tuple[str, str]] = Counter()
        self._ahead: deque[_Waiter] = deque()
        self._behind: deque[_Waiter] = deque()

    def bound(self, account_id: str, places: int) -> None:
        """Have no more than so many places in one account, which has fewer than the others."""
        self._own_bounds[account_id] = places

    @property
    def in_flight(self) -> int:
        """How many places are taken."""
        return self._in_flight

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
        if self._admits(key):
            self._take(key)
            return
        waiter = _Waiter(key, asyncio.get_running_loop().create_future())
        queue = self._ahead if ahead else self._behind
        queue.append(waiter)
        try:
            await waiter.place
        except asyncio.CancelledError:
            if waiter.place.cancelled():
                queue.remove(waiter)
            else:
                self.release(key)
            raise

    def release(self, key: CallKey) -> None:
        """Give a place back and hand it to whoever waits for it."""
        self._in_flight -= 1
        self._accounts[key.account_id] -= 1
        if not self._accounts[key.account_id]:
            del self._accounts[key.account_id]
        self._endpoints[key.region, key.service] -= 1
        self._grant()

    def _admits(self, key: CallKey) -> bool:
        return (
            self._in_flight < self._total
            and self._accounts[key.account_id] < self._own_bounds.get(key.account_id, self._per_account)
            and self._endpoints[key.region, key.service] < self._per_region
        )

    def _take(self, key: CallKey) -> None:
        self._in_flight += 1
        self._accounts[key.account_id] += 1
        self._endpoints[key.region, key.service] += 1

    def _grant(self) -> None:
        for queue in (self._ahead, self._behind):
            self._grant_in(queue)

    def _grant_in(self, queue: deque[_Waiter]) -> None:
        passed: list[_Waiter] = []
        while queue and self._in_flight < self._total:
            waiter = queue.popleft()
            if waiter.place.done():
                # Cancelled, and about to say so itself.
                passed.append(waiter)
            elif self._admits(waiter.key):
                self._take(waiter.key)
                waiter.place.set_result(None)
            else:
                passed.append(waiter)
        queue.extendleft(reversed(passed))


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
        """All room that there can be: nobody else needs it."""
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
