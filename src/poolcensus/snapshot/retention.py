"""Which snapshots to keep: rules and what follows from them, for any kind of destination."""

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

# How many parts of a date two snapshots of one day have in common, and of one month.
_DAY: Final = 3
_MONTH: Final = 2


class Reason(StrEnum):
    """Why a snapshot is kept."""

    LAST = "keep-last"
    DAILY = "keep-daily"
    MONTHLY = "keep-monthly"
    NEWEST_COMPLETE = "newest-complete"
    LATEST = "latest"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class Keep:
    """Rules for keeping snapshots. A snapshot that any of them keeps is kept.

    Each rule holds for the snapshots of every scope, operation and partition by themselves. `last` keeps the
    newest so many, `daily` one of each of the last so many days that have one, `monthly` alike for
    months: the newest complete one, or the newest where none is complete. The day is that of the start, in
    UTC. Raises `SettingsError` where there is no rule, or one of less than 1.
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
    """What becomes of a snapshot: it is kept for `reasons`, or removed where there are none."""

    snapshot_id: str
    reasons: tuple[Reason, ...]
    scope: Scope

    @property
    def keep(self) -> bool:
        """Whether the snapshot stays."""
        return bool(self.reasons)


def decide(
    snapshots: Iterable[SnapshotInfo], keep: Keep, *, now: datetime, latest: str | None = None
) -> tuple[Decision, ...]:
    """Return what becomes of each snapshot, the oldest first.

    The newest complete one of each scope, operation and partition is kept whatever the rules are, and so are
    the newest of all and `latest`, the one that the destination calls that. One that is from the future
    at `now` is kept and counts for no rule: its place among the others is not known.
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
    """Yield which snapshots of one group are kept, and why."""
    complete = (each for each in newest_first if each.status is SnapshotStatus.COMPLETE)
    # None keeps more than there are, and `islice` takes no number of any size.
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
    """Yield one of each day or month, the last period first: the newest complete one, or else the newest."""
    best: dict[tuple[int, ...], SnapshotInfo] = {}
    for each in newest_first:
        # By the start and not by the end: a nightly run that ends after midnight is still that of its day.
        period = each.moment.started.timetuple()[:parts]
        found = best.setdefault(period, each)
        if found.status is not SnapshotStatus.COMPLETE and each.status is SnapshotStatus.COMPLETE:
            best[period] = each
    return (best[period] for period in sorted(best, reverse=True))
