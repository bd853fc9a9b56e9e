"""The order in which targets are opened: spread over accounts and regions, no more than can proceed."""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from poolcensus.model import Target

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from poolcensus.flow.windows import Window
    from poolcensus.model import Account
    from poolcensus.scope.regions import RegionChoice


class _AccountWork:
    """An account that has been handed out to be prepared.

    `open` counts its open targets, and `left` those that have not ended. `unready` are the regions whose
    targets may not be opened yet.
    """

    __slots__ = ("account", "left", "open", "unready")

    def __init__(self, account: Account, regions: frozenset[str]) -> None:
        self.account = account
        self.open = 0
        self.left = len(regions)
        self.unready = regions


class Schedule:
    """The accounts that are still to be prepared, and the targets that are still to be opened.

    `next_account` hands out an account to be prepared, that is, to have its role assumed and its region
    status looked up. After `ready`, its targets wait until `pop` opens them. An account has a target in each
    of its own regions, or in each region of the run if it has none of its own. Its own regions are among the
    run's.

    Accounts are prepared `ahead` of their targets: another one is handed out only if some region with room
    has fewer than `ahead` accounts waiting, counting those in preparation. So a slow region does not hold up
    the others. Accounts in `resting`, whose AssumeRole call waits for a retry, are left out of the count, up
    to `most_resting` of them.

    Regions take turns, so that they are used evenly. Each region goes through the accounts in an order that
    is shifted against the others', so that no account is called in all regions at once. `windows` limit how
    many targets may be open in a region. Targets that can't make a call now, counted in `paused_in`, don't
    count against the window; targets that wait for a silent region, counted by account in `silent_of`, don't
    count against `per_account`.

    `long` has the number of pages of targets that are known to have many, by account ID and region. The calls
    of a target can't overlap, so these targets and their accounts come first.
    """

    # How many accounts to skip in a queue because they have as many open targets as they may. Their targets
    # end soon, and then they are next.
    _LOOK_AHEAD = 64

    def __init__(
        self,
        regions: RegionChoice,
        *,
        ahead: int,
        per_account: int,
        windows: Mapping[str, Window],
        paused_in: Mapping[str, int] = MappingProxyType({}),
        silent_of: Mapping[str, int] = MappingProxyType({}),
        resting: Collection[str] = frozenset(),
        most_resting: int = 0,
        long: Mapping[tuple[str, str], int] = MappingProxyType({}),
    ) -> None:
        self._regions = regions.regions
        self._every = frozenset(regions.regions)
        self.ahead = ahead
        self._per_account = per_account
        self._windows = windows
        self._paused_in = paused_in
        self._silent_of = silent_of
        self._resting = resting
        self._most_resting = most_resting
        self._pages_of = long
        self._longest_of: dict[str, int] = {}
        for (account_id, _), pages in long.items():
            self._longest_of[account_id] = max(pages, self._longest_of.get(account_id, 0))
        self._first: list[tuple[int, Account]] = []
        self._waiting: deque[Account] = deque()
        self._preparing: dict[str, _AccountWork] = {}
        self._ready: list[tuple[_AccountWork, frozenset[str]]] = []
        # By region, so that a region without room does not hold up the others.
        self._long: dict[str, list[tuple[int, _AccountWork]]] = {}
        self._queues: dict[str, deque[_AccountWork]] = {region: deque() for region in self._regions}
        # The regions whose queue is empty.
        self._idle = set(self._regions)
        self._turns = deque(self._regions)
        self._by_account: dict[str, _AccountWork] = {}
        self._undealt: Counter[frozenset[str]] = Counter()
        # For each region, how many kinds of accounts (by their sets of regions) still have targets to be
        # dealt out there. With none, no target will come to wait in the region.
        self._expected: Counter[str] = Counter()
        self._open_in: Counter[str] = Counter()
        # Accounts with unready regions whose other targets may be opened.
        self._partly_ready: set[str] = set()
        self._unready_in: Counter[str] = Counter()

    def add(self, accounts: Iterable[Account]) -> None:
        """Add accounts."""
        for account in accounts:
            self._expect(self._regions_of(account), 1)
            longest = self._longest_of.get(account.id)
            if longest is None:
                self._waiting.append(account)
            else:
                insort(self._first, (longest, account), key=itemgetter(0))

    @property
    def has_more(self) -> bool:
        """Whether an account waits to be prepared, or a target to be opened."""
        return bool(self._first or self._waiting or self._ready or self._long) or len(self._idle) < len(
            self._queues
        )

    def next_account(self) -> Account | None:
        """Return an account to prepare now, or None."""
        if not (self._first or self._waiting):
            return None
        in_preparation = len(self._preparing) - len(self._partly_ready)
        if self._resting:
            in_preparation -= self._count_resting()
        if not self._is_short(self.ahead - in_preparation - len(self._ready)):
            return None
        account = self._first.pop()[1] if self._first else self._waiting.popleft()
        self._preparing[account.id] = self._begin(account)
        return account

    def ready(self, account: Account, *, later: frozenset[str] = frozenset()) -> None:
        """Mark an account as prepared: its targets may be opened.

        Targets in the regions of `later` wait until this method is called again for the account.
        """
        work = self._preparing[account.id]
        regions, work.unready = work.unready - later, work.unready & later
        if account.id in self._partly_ready:
            self._partly_ready.remove(account.id)
            self._unready_in.subtract(regions | work.unready)
        if work.unready:
            self._partly_ready.add(account.id)
            self._unready_in.update(work.unready)
            self._expect(regions | work.unready, -1)
            self._expect(work.unready, 1)
            self._expect(regions, 1)
        else:
            del self._preparing[account.id]
        if regions:
            self._ready.append((work, regions))
        if len(self._ready) >= len(self._regions):
            self._deal()

    def pop(self) -> Target | None:
        """Open the next target and return it, or return None if no target can be opened now."""
        if self._ready and self._has_idle_region():
            self._deal()
        if self._long and (found := self._take_long()) is not None:
            return self._opened(*found)
        target, is_held_up = self._pop_in_turn()
        if is_held_up and self._ready:
            self._deal()
            target, _ = self._pop_in_turn()
        return target

    def _pop_in_turn(self) -> tuple[Target | None, bool]:
        """Open a target in the next region that has room, and return it, or None.

        The second value is true if a region has room, but only accounts that may not open another target.
        """
        is_held_up = False
        for _ in range(len(self._turns)):
            region = self._turns[0]
            self._turns.rotate(-1)
            queue = self._queues[region]
            if not queue or not self._has_room(region):
                continue
            work = self._take(queue, region)
            if work is not None:
                return self._opened(work, region), False
            is_held_up = True
        return None, is_held_up

    def close(self, target: Target) -> bool:
        """Mark a target as ended. Return whether it was the last one of its account."""
        self._open_in[target.region] -= 1
        work = self._by_account[target.account.id]
        work.open -= 1
        work.left -= 1
        if work.left:
            return False
        del self._by_account[target.account.id]
        return True

    def rest(self) -> Iterator[Target]:
        """Yield the targets that were never opened, and remove them from the schedule."""
        self._deal()
        for region, waiting in self._long.items():
            while waiting:
                yield Target(waiting.pop()[1].account, region)
        self._long.clear()
        for region, queue in self._queues.items():
            self._idle.add(region)
            while queue:
                yield Target(queue.popleft().account, region)
        for account in [*(account for _, account in self._first), *self._waiting]:
            self._preparing[account.id] = self._begin(account)
        self._first.clear()
        self._waiting.clear()
        # A caller that stops in between gets the others from the next call, and none of these twice.
        for account_id, work in list(self._preparing.items()):
            for region in [each for each in self._regions if each in work.unready]:
                work.unready -= {region}
                yield Target(work.account, region)
            del self._preparing[account_id]

    def _count_resting(self) -> int:
        # With the limit, a failing STS does not cause all accounts to be handed out and retried.
        resting = sum(
            account_id in self._preparing and account_id not in self._partly_ready
            for account_id in self._resting
        )
        return min(resting, self._most_resting)

    def _regions_of(self, account: Account) -> frozenset[str]:
        return frozenset(account.regions) if account.regions else self._every

    def _begin(self, account: Account) -> _AccountWork:
        work = self._by_account[account.id] = _AccountWork(account, self._regions_of(account))
        return work

    def _expect(self, regions: frozenset[str], step: int) -> None:
        """Add `step` (1 or -1) to the accounts whose targets in these regions are still to be dealt out."""
        before = self._undealt[regions]
        self._undealt[regions] += step
        # All accounts with the same set of regions count once: there are few different sets.
        if 0 in {before, before + step}:
            for region in regions:
                self._expected[region] += step

    def _has_idle_region(self) -> bool:
        """Return whether a region has room and an empty queue, and an account is ready for it."""
        return any(
            region not in self._long
            and self._has_room(region)
            and any(region in regions for _, regions in self._ready)
            for region in self._idle
        )

    def _is_short(self, least: int) -> bool:
        """Return whether a region with room, and targets to come, has fewer than `least` accounts waiting."""
        # Usually enough accounts have been handed out, and no region needs to be checked.
        if least <= 0:
            return False
        for region, queue in self._queues.items():
            if (
                len(queue) + len(self._long.get(region, ())) + self._unready_in[region] < least
                and self._expected[region]
                and self._has_room(region)
            ):
                return True
        return False

    def _deal(self) -> None:
        batch = deque(self._ready)
        self._ready.clear()
        for _, regions in batch:
            self._expect(regions, -1)
        for region in self._regions:
            for work, regions in batch:
                if region not in regions:
                    continue
                pages = self._pages_of.get((work.account.id, region))
                if pages is None:
                    self._queues[region].append(work)
                    self._idle.discard(region)
                else:
                    insort(self._long.setdefault(region, []), (-pages, work), key=itemgetter(0))
            batch.rotate(-1)

    def _opened(self, work: _AccountWork, region: str) -> Target:
        work.open += 1
        self._open_in[region] += 1
        return Target(work.account, region)

    def _has_room(self, region: str) -> bool:
        return self._open_in[region] - self._paused_in.get(region, 0) < self._windows[region].size

    def _may_open(self, work: _AccountWork) -> bool:
        return work.open < self._per_account + self._silent_of.get(work.account.id, 0)

    def _take_long(self) -> tuple[_AccountWork, str] | None:
        """Remove the longest target that may be opened from `_long`, and return it, or None."""
        found: tuple[int, str, int] | None = None
        for region, waiting in self._long.items():
            if not self._has_room(region):
                continue
            for position, (least, work) in enumerate(waiting[: self._LOOK_AHEAD]):
                if found is not None and least >= found[0]:
                    break
                if self._may_open(work):
                    found = (least, region, position)
                    break
        if found is None:
            return None
        _, region, position = found
        waiting = self._long[region]
        _, work = waiting.pop(position)
        if not waiting:
            del self._long[region]
        return work, region

    def _take(self, queue: deque[_AccountWork], region: str) -> _AccountWork | None:
        for position in range(min(len(queue), self._LOOK_AHEAD)):
            work = queue[position]
            if self._may_open(work):
                del queue[position]
                if not queue:
                    self._idle.add(region)
                return work
        return None
