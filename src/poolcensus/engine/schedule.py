"""In which order targets are opened: spread over accounts and regions, never more than can make progress."""

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
    """One account that has been given out: how many of its targets are open, and how many are not done.

    `unready` are the regions whose targets may not be opened yet.
    """

    __slots__ = ("account", "left", "open", "unready")

    def __init__(self, account: Account, regions: frozenset[str]) -> None:
        self.account = account
        self.open = 0
        self.left = len(regions)
        self.unready = regions


class Schedule:
    """The accounts that are still to be prepared, and the targets that are still to be opened.

    An account waits until `next_account` gives it out to be prepared (its role, its regions), and its targets
    wait from when it is `ready` until `pop` opens them. So many accounts `ahead` are given out, and more only
    while a region that may take more has fewer than that waiting: one that is slow holds up nobody. Nor does
    one in `resting`, whose role is asked for again after a while; no more than `most_resting` are left out of
    the count.

    An account has a target in each of its own regions, if it has some, and else in each of the run's. The
    run's are all there are.

    Regions take turns, so that they are used evenly, and each goes through the accounts in an order that is
    shifted against the others', so that no account is asked everywhere at once. `windows` say how many
    targets may be open in a region. Those that can make no call now, in `paused_in`, don't count; nor do
    those of an account in `silent_of`, which wait for a region that does not answer.

    `long` has the targets that are known to have many pages, by account id and region, with how many: a
    chain of calls that can't overlap. They come before the others, and so do their accounts.
    """

    # How far to look past accounts that have as much open as they may: those end soon and are asked then.
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
        # By region, so that one without room holds up none of the others.
        self._long: dict[str, list[tuple[int, _AccountWork]]] = {}
        self._queues: dict[str, deque[_AccountWork]] = {region: deque() for region in self._regions}
        # The regions whose queue has no account.
        self._idle = set(self._regions)
        self._turns = deque(self._regions)
        self._by_account: dict[str, _AccountWork] = {}
        self._undealt: Counter[frozenset[str]] = Counter()
        # In a region that no account which is to come is asked in, nothing waits and nothing will.
        self._expected: Counter[str] = Counter()
        self._open_in: Counter[str] = Counter()
        # Accounts of which a region still waits, whose other targets may be opened.
        self._partly_ready: set[str] = set()
        self._unready_in: Counter[str] = Counter()

    def add(self, accounts: Iterable[Account]) -> None:
        """Take accounts that have become known."""
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
        """Note that an account has been prepared: its targets may be opened.

        Those in the regions of `later` wait until this is called once more for the account.
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
        """Return the next target to open, or None where nothing can be opened now."""
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
        """Open a target of the next region that can have one.

        Where there is none, say whether a region has room for it, and only accounts that may have no more.
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
        """Note that a target has ended. Return whether it was the last of its account."""
        self._open_in[target.region] -= 1
        work = self._by_account[target.account.id]
        work.open -= 1
        work.left -= 1
        if work.left:
            return False
        del self._by_account[target.account.id]
        return True

    def rest(self) -> Iterator[Target]:
        """Yield every target that was never opened, and forget it."""
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
        # Whoever stops in between finds the others when asking again, and none of these twice.
        for account_id, work in list(self._preparing.items()):
            for region in [each for each in self._regions if each in work.unready]:
                work.unready -= {region}
                yield Target(work.account, region)
            del self._preparing[account_id]

    def _count_resting(self) -> int:
        # Where STS fails for all, not all accounts are taken in: each would be tried again and again.
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
        """Count one account more, or one less, whose targets in these regions are still to be dealt out."""
        before = self._undealt[regions]
        self._undealt[regions] += step
        # A region counts once for all accounts that have the same regions: there are few kinds of them.
        if 0 in {before, before + step}:
            for region in regions:
                self._expected[region] += step

    def _has_idle_region(self) -> bool:
        """Whether a region that has room has no account that waits for it, and one that is ready."""
        return any(
            region not in self._long
            and self._has_room(region)
            and any(region in regions for _, regions in self._ready)
            for region in self._idle
        )

    def _is_short(self, least: int) -> bool:
        """Whether fewer accounts than `least` wait for a region that could take more."""
        # Most often as many as may be have been given out: then no region needs to be looked at.
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
        """Take the longest of the long targets that may be opened."""
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
