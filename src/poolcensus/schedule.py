"""In which order targets are opened: spread over accounts and regions, never more than can make progress."""

from __future__ import annotations

from bisect import insort
from collections import Counter, deque
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING

from poolcensus.model import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from poolcensus.discovery import RegionChoice
    from poolcensus.model import Account


class _Work:
    """One account of the window: how many of its targets are open, unopened, and not done."""

    __slots__ = ("account", "left", "open", "unopened")

    def __init__(self, account: Account, targets: int) -> None:
        self.account = account
        self.open = 0
        self.unopened = targets
        self.left = targets


class Schedule:
    """The targets that are still to be opened.

    Regions take turns, so that they are used evenly, and each goes through the accounts in an order that is
    shifted against the others', so that no account is asked everywhere at once. A window of accounts is
    worked on at a time; beyond it only the accounts are kept in memory. `paused_in` says how many of a
    region's open targets can make no call at the moment: they don't count against `per_region`.

    `long` has the targets that are known to have many pages, by account id and region, with how many: a
    chain of calls that can't overlap. They come before the others, and their accounts into the window.
    """

    # How far to look past accounts that have as much open as they may: those end soon and are asked then.
    _LOOK_AHEAD = 64

    def __init__(
        self,
        regions: RegionChoice,
        *,
        window: int,
        per_account: int,
        per_region: int,
        paused_in: Mapping[str, int] = MappingProxyType({}),
        long: Mapping[tuple[str, str], int] = MappingProxyType({}),
    ) -> None:
        self._regions = regions.regions
        self._window = window
        self._per_account = per_account
        self._per_region = per_region
        self._paused_in = paused_in
        self._pages_of = long
        self._accounts_of_long = {account_id for account_id, _ in long}
        self._long: list[tuple[int, _Work, str]] = []
        self._waiting: deque[Account] = deque()
        self._queues: dict[str, deque[_Work]] = {region: deque() for region in self._regions}
        self._turns = deque(self._regions)
        self._by_account: dict[str, _Work] = {}
        self._in_window = 0
        self._open_in: Counter[str] = Counter()

    @property
    def targets_per_account(self) -> int:
        """How many targets an account has."""
        return len(self._regions)

    def add(self, accounts: Iterable[Account]) -> None:
        """More accounts have become known."""
        for account in accounts:
            if account.id in self._accounts_of_long:
                self._open_window(account)
            else:
                self._waiting.append(account)

    def pop(self) -> Target | None:
        """The next target to open, or None where nothing can be opened now."""
        self._fill_window()
        if self._long and (found := self._take_long()) is not None:
            return self._opened(*found)
        for _ in range(len(self._turns)):
            region = self._turns[0]
            self._turns.rotate(-1)
            queue = self._queues[region]
            if not queue or not self._has_room(region):
                continue
            work = self._take(queue)
            if work is not None:
                return self._opened(work, region)
        return None

    def _opened(self, work: _Work, region: str) -> Target:
        work.open += 1
        self._take_out(work)
        self._open_in[region] += 1
        return Target(work.account, region)

    def _take_out(self, work: _Work) -> None:
        work.unopened -= 1
        self._in_window -= not work.unopened

    def _has_room(self, region: str) -> bool:
        return self._open_in[region] - self._paused_in.get(region, 0) < self._per_region

    def close(self, target: Target) -> bool:
        """A target has ended. Says whether it was the last of its account."""
        self._open_in[target.region] -= 1
        work = self._by_account[target.account.id]
        work.open -= 1
        work.left -= 1
        if work.left:
            return False
        del self._by_account[target.account.id]
        return True

    def rest(self) -> Iterator[Target]:
        """Every target that was never opened, and forgets it."""
        while True:
            self._fill_window()
            if not self._in_window:
                return
            while self._long:
                *_, work, region = self._long.pop()
                self._take_out(work)
                yield Target(work.account, region)
            for region, queue in self._queues.items():
                while queue:
                    work = queue.popleft()
                    self._take_out(work)
                    yield Target(work.account, region)

    def _fill_window(self) -> None:
        while self._waiting and self._in_window < self._window:
            size = min(len(self._waiting), len(self._regions), self._window - self._in_window)
            batch = deque(_Work(self._waiting.popleft(), len(self._regions)) for _ in range(size))
            for work in batch:
                self._by_account[work.account.id] = work
            self._in_window += size
            for region in self._regions:
                self._queues[region].extend(batch)
                batch.rotate(-1)

    def _open_window(self, account: Account) -> None:
        work = _Work(account, len(self._regions))
        self._by_account[account.id] = work
        self._in_window += 1
        for region in self._regions:
            pages = self._pages_of.get((account.id, region))
            if pages is None:
                self._queues[region].append(work)
            else:
                insort(self._long, (-pages, work, region), key=itemgetter(0))

    def _take_long(self) -> tuple[_Work, str] | None:
        for position, (*_, work, region) in enumerate(self._long[: self._LOOK_AHEAD]):
            if work.open < self._per_account and self._has_room(region):
                del self._long[position]
                return work, region
        return None

    def _take(self, queue: deque[_Work]) -> _Work | None:
        for position in range(min(len(queue), self._LOOK_AHEAD)):
            work = queue[position]
            if work.open < self._per_account:
                del queue[position]
                return work
        return None
