"""In which order targets are opened: spread over accounts and regions, never more than can make progress."""

from __future__ import annotations

from collections import Counter, deque
from types import MappingProxyType
from typing import TYPE_CHECKING

from poolcensus.model import Target

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from poolcensus.discovery import RegionChoice
    from poolcensus.model import Account


class _Work:
    """What is left to open of one account, and what is open."""

    __slots__ = ("account", "left", "open", "regions")

    def __init__(self, account: Account, regions: Iterable[str]) -> None:
        self.account = account
        self.regions = deque(regions)
        self.open = 0
        self.left = len(self.regions)


class Schedule:
    """The targets that are still to be opened.

    A window of accounts is worked on at a time, one region each in turn. Each account begins with another
    region, so that the regions are used evenly from the start, and ends with the opt-in regions, for
    which its region status has to be asked. Beyond the window only the accounts are kept in memory.
    `paused_in` says how many of a region's open targets can make no call at the moment: they don't count.
    """

    def __init__(
        self,
        regions: RegionChoice,
        *,
        window: int,
        per_account: int,
        per_region: int,
        paused_in: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._always_on: Sequence[str] = regions.always_on
        self._opt_in: Sequence[str] = regions.opt_in
        self._window = window
        self._per_account = per_account
        self._per_region = per_region
        self._paused_in = paused_in
        self._waiting: deque[Account] = deque()
        self._active: deque[_Work] = deque()
        self._by_account: dict[str, _Work] = {}
        self._open_in: Counter[str] = Counter()
        self._begun = 0

    @property
    def targets_per_account(self) -> int:
        """How many targets an account has."""
        return len(self._always_on) + len(self._opt_in)

    def add(self, accounts: Iterable[Account]) -> None:
        """More accounts have become known."""
        self._waiting.extend(accounts)

    def pop(self) -> Target | None:
        """The next target to open, or None where nothing can be opened now."""
        self._fill_window()
        for _ in range(len(self._active)):
            work = self._active[0]
            self._active.rotate(-1)
            region = self._free_region(work)
            if region is None:
                continue
            if not work.regions:
                self._active.pop()
            work.open += 1
            self._open_in[region] += 1
            return Target(work.account, region)
        return None

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
            if not self._active:
                return
            work = self._active.popleft()
            for region in work.regions:
                yield Target(work.account, region)

    def _fill_window(self) -> None:
        while self._waiting and len(self._active) < self._window:
            account = self._waiting.popleft()
            turn = self._begun % len(self._always_on) if self._always_on else 0
            self._begun += 1
            always_on = (*self._always_on[turn:], *self._always_on[:turn])
            work = _Work(account, (*always_on, *self._opt_in))
            self._by_account[account.id] = work
            self._active.append(work)

    def _free_region(self, work: _Work) -> str | None:
        if work.open >= self._per_account:
            return None
        for _ in range(len(work.regions)):
            region = work.regions.popleft()
            if self._open_in[region] - self._paused_in.get(region, 0) < self._per_region:
                return region
            work.regions.append(region)
        return None
