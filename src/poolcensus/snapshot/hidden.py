"""Finds targets that can't list their pools now, but had pools in an earlier snapshot.

When AWS closes the service to an account, this looks like an account that never used it, and a region that
was disabled looks like one that was never enabled. In both cases the pools still exist.
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

# Snapshots with one of the targets that are read. Enough for a target that has failed every night for a week.
_MOST_SNAPSHOTS: Final = 8
# Snapshots read in all. None knows anything about a new account. Enough if each night has ten shards.
_MOST_READ: Final = 10 * _MOST_SNAPSHOTS
# Seconds. Eight ledgers of 100,000 targets take less, even from a bucket. A disk that hangs must not prevent
# publishing.
_LONGEST_SEARCH: Final = 120.0
_INCOMPLETE: Final = "Pools of earlier snapshots that can't be listed now may go unmentioned"
_NOT_FOUND: Final = "Could not look in earlier snapshots for pools that can't be listed now"

Hidden: TypeAlias = "Mapping[Outcome, tuple[TargetResult, ...]]"
"""Lines of earlier ledgers with pools, by the outcome that hides these pools now."""

NOTHING_HIDDEN: Final[Hidden] = MappingProxyType({})


class HiddenTargets:
    """The targets of a run that may have pools which can't be listed, by outcome."""

    def __init__(self) -> None:
        self._targets = {each: TargetSet() for each in Outcome if each in HIDING}

    def __bool__(self) -> bool:
        return any(map(len, self._targets.values()))

    def add(self, result: TargetResult) -> None:
        """Add a target if its outcome may hide pools."""
        targets = self._targets.get(result.outcome)
        if targets is not None:
            targets.add(result.account_id, result.region)

    def items(self) -> Iterator[tuple[Outcome, TargetSet]]:
        """Yield each outcome that occurs, with its targets."""
        return ((outcome, targets) for outcome, targets in self._targets.items() if len(targets))


async def find_hidden(store: Store, targets: HiddenTargets, but: Container[str] = ()) -> Hidden:
    """Call `hidden_since` in a thread, for the snapshots of a store except those whose ID is in `but`.

    If that takes too long, log a warning and return nothing. The store has to be entered.
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
    """Return the ledger lines of targets that had pools when they were last seen, by their current outcome.

    `earlier` yields snapshots, the newest first, or errors for snapshots that can't be read, which are
    logged. No more snapshots are read than needed. Blocks.
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
        # Without the bucket or credentials for it, the snapshot is published all the same.
        _log.warning("%s: %s", _NOT_FOUND, error)
    place = attrgetter("account_id", "region")
    return {each.outcome: tuple(sorted(each.found, key=place)) for each in searches if each.found}


class _Search:
    """The search for earlier pools of the targets that have one outcome."""

    def __init__(self, outcome: Outcome, targets: TargetSet) -> None:
        self.outcome = outcome
        self.found: list[TargetResult] = []
        self._targets = targets
        self._seen = TargetSet()
        self._knowing = 0
        self._knows = False
        # Outcomes that end the search for a target. `ok` and `empty` say whether it had pools. After the same
        # outcome, an earlier run has told about its pools. Other outcomes tell nothing.
        self._telling = {Outcome.OK, Outcome.EMPTY, outcome}

    @property
    def has_ended(self) -> bool:
        """Whether all targets have been decided, or enough snapshots have been read."""
        return self._knowing == _MOST_SNAPSHOTS or len(self._seen) == len(self._targets)

    def wants(self, account_id: str, region: str) -> bool:
        """Return whether the line of a target is needed. Record that the snapshot has one of the targets."""
        if not self._targets.has(account_id, region):
            return False
        self._knows = True
        return not self._seen.has(account_id, region)

    def take(self, result: TargetResult, *, in_part: bool) -> None:
        """Record whether a target had pools. `in_part` says that its snapshot was limited to some pools."""
        if result.outcome not in self._telling or (in_part and result.outcome is Outcome.EMPTY):
            return
        self._seen.add(result.account_id, result.region)
        if result.pools:
            self.found.append(result)

    def end_snapshot(self) -> None:
        """Count the snapshot if it had one of the targets."""
        self._knowing += self._knows
        self._knows = False


def _look(snapshot: Snapshot, searches: Sequence[_Search]) -> None:
    """Give each search the ledger lines of a snapshot that it wants."""
    # A census of some pools does not say that there were no others.
    request = snapshot.manifest.request
    in_part = bool(request.get("pool_ids") or request.get("filters"))

    def wanted(account_id: str, region: str) -> bool:
        # Called for every line: with any() and a generator, it would take half as long again.
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
