"""Targets whose outcome hides the pools that they may have, and of which an earlier snapshot has pools.

A service that is closed to an account looks like one that the account does not use, and a region that was
disabled like one that never was enabled. Both keep what they have.
"""

from __future__ import annotations

import logging
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from poolcensus.errors import FatalError, SnapshotError
from poolcensus.loops import in_thread
from poolcensus.model import HIDING, Outcome
from poolcensus.snapshot.series import newest_first
from poolcensus.snapshot.target_set import TargetSet

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

    from poolcensus.model import TargetResult
    from poolcensus.snapshot.reader import Snapshot
    from poolcensus.storage.base import Store

_log = logging.getLogger("poolcensus")

# A week of nights in which a target failed, and the one before, of snapshots that have one of the targets.
_MOST_SNAPSHOTS: Final = 8
# Of an account that is new no snapshot knows anything, however many are read. Ten shards a night are so many.
_MOST_READ: Final = 10 * _MOST_SNAPSHOTS
# Eight ledgers of 100,000 targets come from a bucket in less. A disk that hangs holds up no publication.
_LONGEST_SEARCH: Final = 120.0
_INCOMPLETE: Final = "Pools of earlier snapshots that can't be listed now may go unmentioned"
_NOT_FOUND: Final = "Could not look in earlier snapshots for pools that can't be listed now"

Hidden: TypeAlias = "Mapping[Outcome, tuple[TargetResult, ...]]"
"""Lines of earlier ledgers that count pools, by the outcome that hides these now."""

NOTHING_HIDDEN: Final[Hidden] = MappingProxyType({})


class HiddenTargets:
    """The targets of a run that may have pools which can't be listed, by their outcome."""

    def __init__(self) -> None:
        self._targets = {each: TargetSet() for each in Outcome if each in HIDING}

    def __bool__(self) -> bool:
        return any(map(len, self._targets.values()))

    def add(self, result: TargetResult) -> None:
        """Put a target in, if it is such a one."""
        targets = self._targets.get(result.outcome)
        if targets is not None:
            targets.add(result.account_id, result.region)

    def items(self) -> Iterator[tuple[Outcome, TargetSet]]:
        """Yield each outcome that a target has, and its targets."""
        return ((outcome, targets) for outcome, targets in self._targets.items() if len(targets))


async def find_hidden(store: Store, targets: HiddenTargets, but: Container[str] = ()) -> Hidden:
    """Return what `hidden_since` returns of a store's snapshots, but for some by their id, from a thread.

    Where that hangs, nothing, with a warning. The store has to be entered.
    """
    if not targets:
        return NOTHING_HIDDEN
    with anyio.move_on_after(_LONGEST_SEARCH):
        async with store.reading() as source:
            if source is None:
                return NOTHING_HIDDEN
            there = newest_first(source)
            earlier = (each for each in there if isinstance(each, SnapshotError) or each.id not in but)
            return await in_thread(hidden_since, earlier, targets)
    _log.warning("%s: nothing after %g s", _NOT_FOUND, _LONGEST_SEARCH)
    return NOTHING_HIDDEN


def hidden_since(earlier: Iterable[Snapshot | SnapshotError], targets: HiddenTargets) -> Hidden:
    """Return the ledger's lines of targets that had pools when they were last seen, by their outcome now.

    `earlier` are snapshots, the newest first, of which no more are read than are needed. One that can't be
    read, as an error among them says, is told in the log and passed over. Blocks.
    """
    searches = [_Search(*each) for each in targets.items()]
    try:
        for snapshot in islice(earlier, _MOST_READ):
            if isinstance(snapshot, SnapshotError):
                _log.warning("%s: %s", _INCOMPLETE, snapshot)
                continue
            _look(snapshot, [each for each in searches if not each.has_ended])
            if all(each.has_ended for each in searches):
                break
    except FatalError as error:
        # No bucket, or no credentials for it: what the run has seen is published all the same.
        _log.warning("%s: %s", _NOT_FOUND, error)
    place = attrgetter("account_id", "region")
    return {each.outcome: tuple(sorted(each.found, key=place)) for each in searches if each.found}


class _Search:
    """The search for what the targets of one outcome had before."""

    def __init__(self, outcome: Outcome, targets: TargetSet) -> None:
        self.outcome = outcome
        self.found: list[TargetResult] = []
        self._targets = targets
        self._seen = TargetSet()
        self._knowing = 0
        self._knows = False
        # Those that say whether there were pools then, and the same outcome: somebody was told then. Behind
        # another outcome that hides pools there may have been some.
        self._telling = {Outcome.OK, Outcome.EMPTY, outcome}

    @property
    def has_ended(self) -> bool:
        """Whether all targets were seen, or as many snapshots as may be read."""
        return self._knowing == _MOST_SNAPSHOTS or len(self._seen) == len(self._targets)

    def wants(self, account_id: str, region: str) -> bool:
        """Whether the line of a target is needed. Notes that the snapshot has one of the targets."""
        if not self._targets.has(account_id, region):
            return False
        self._knows = True
        return not self._seen.has(account_id, region)

    def take(self, result: TargetResult, *, in_part: bool) -> None:
        """Note whether a target had pools. `in_part` says that its snapshot was asked for some alone."""
        if result.outcome not in self._telling or (in_part and result.outcome is Outcome.EMPTY):
            return
        self._seen.add(result.account_id, result.region)
        if result.pools:
            self.found.append(result)

    def end_snapshot(self) -> None:
        """Count the snapshot if it has one of the targets."""
        self._knowing += self._knows
        self._knows = False


def _look(snapshot: Snapshot, searches: Sequence[_Search]) -> None:
    """Give each search the lines of a snapshot that it wants."""
    # What was asked for some pools alone does not say that there were no others.
    request = snapshot.manifest.request
    in_part = bool(request.get("pool_ids") or request.get("filters"))

    def wanted(account_id: str, region: str) -> bool:
        # Of every line: a generator would take half as long again.
        for each in searches:  # noqa: SIM110
            if each.wants(account_id, region):
                return True
        return False

    try:
        for result in snapshot.targets_where(wanted):
            for each in searches:
                if each.wants(result.account_id, result.region):
                    each.take(result, in_part=in_part)
    except SnapshotError as error:
        _log.warning("%s: %s", _INCOMPLETE, error)
    for each in searches:
        each.end_snapshot()
