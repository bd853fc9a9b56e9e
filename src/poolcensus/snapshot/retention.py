"""Decides which snapshots to keep, by rules. Independent of the kind of destination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from poolcensus.errors import SettingsError
from poolcensus.model import SnapshotStatus
from poolcensus.snapshot.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from poolcensus.snapshot.info import SnapshotInfo

# The number of leading parts of a date (year, month, day) that are the same within a day, and within a month.
_DAY: Final = 3
_MONTH: Final = 2


class Reason(StrEnum):
    """The reasons for keeping a snapshot."""

    LAST = "keep-last"
    DAILY = "keep-daily"
    MONTHLY = "keep-monthly"
    NEWEST_COMPLETE = "newest-complete"
    LATEST = "latest"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class Keep:
    """Rules for keeping snapshots. A snapshot is kept if any rule keeps it.

    Each rule applies separately to the snapshots of each scope, operation and partition. `last` keeps that
    many of the newest snapshots. `daily` keeps one snapshot for each of that many most recent days with a
    snapshot: the newest complete one, or the newest if none is complete. `monthly` does the same for months.
    The day is that of the run's start, in UTC. Raises `SettingsError` if there is no rule, or if one is less
    than 1.
    """

    last: int | None = None
    daily: int | None = None
    monthly: int | None = None

    def __post_init__(self) -> None:
        rules = {"last": self.last, "daily": self.daily, "monthly": self.monthly}
        given = {name: number for name, number in rules.items() if number is not None}
        if not given:
            raise SettingsError("Specify at least one of last, daily or monthly.")
        for name, number in given.items():
            if number < 1:
                raise SettingsError(f"what to keep is a count from 1 on, but {name} is {number}")


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about a snapshot: it is kept if there are `reasons`, else removed."""

    snapshot_id: str
    reasons: tuple[Reason, ...]
    scope: Scope

    @property
    def keep(self) -> bool:
        """Whether the snapshot is kept."""
        return bool(self.reasons)


def decide(
    snapshots: Iterable[SnapshotInfo], keep: Keep, *, now: datetime, latest: str | None = None
) -> tuple[Decision, ...]:
    """Return the decision about each snapshot, the oldest first.

    Whatever the rules, the newest complete snapshot of each scope, operation and partition is kept, and so
    are the newest of all and `latest`, the ID that the destination's `latest` names. A snapshot that is dated
    in the future, compared with `now`, is kept and counts for no rule, since its place in the order is not
    known.
    """
    newest_first = sorted(snapshots, key=attrgetter("moment"), reverse=True)
    past = [each for each in newest_first if not each.moment.is_ahead(now)]
    kept: dict[str, list[Reason]] = {each.id: [] for each in newest_first}
    groups: dict[object, list[SnapshotInfo]] = {}
    for each in past:
        groups.setdefault(each.group, []).append(each)
    for alike in groups.values():
        for reason, found in _kept_of(alike, keep):
            kept[found.id].append(reason)
    for number, each in enumerate(past):
        if number == 0 or each.id == latest:
            kept[each.id].append(Reason.LATEST)
    for each in newest_first:
        if each.moment.is_ahead(now):
            kept[each.id].append(Reason.FUTURE)
    return tuple(Decision(each.id, tuple(kept[each.id]), each.scope) for each in reversed(newest_first))


def _kept_of(newest_first: list[SnapshotInfo], keep: Keep) -> Iterator[tuple[Reason, SnapshotInfo]]:
    """Yield the snapshots of one group that the rules keep, with the reason."""
    complete = (each for each in newest_first if each.status is SnapshotStatus.COMPLETE)
    # Limited to the number of snapshots, since `islice` fails for very large numbers.
    last, daily, monthly = (
        min(number or 0, len(newest_first)) for number in (keep.last, keep.daily, keep.monthly)
    )
    for reason, found in (
        (Reason.LAST, islice(newest_first, last)),
        (Reason.DAILY, islice(_best_of_each(newest_first, _DAY), daily)),
        (Reason.MONTHLY, islice(_best_of_each(newest_first, _MONTH), monthly)),
        (Reason.NEWEST_COMPLETE, islice(complete, 1)),
    ):
        for each in found:
            yield reason, each


def _best_of_each(newest_first: list[SnapshotInfo], parts: int) -> Iterator[SnapshotInfo]:
    """Yield the newest complete snapshot of each day or month, or its newest. The last period comes first."""
    best: dict[tuple[int, ...], SnapshotInfo] = {}
    for each in newest_first:
        # By the start: a nightly run that ends after midnight belongs to the day before.
        period = each.moment.started.timetuple()[:parts]
        found = best.setdefault(period, each)
        if found.status is not SnapshotStatus.COMPLETE and each.status is SnapshotStatus.COMPLETE:
            best[period] = each
    return (best[period] for period in sorted(best, reverse=True))
