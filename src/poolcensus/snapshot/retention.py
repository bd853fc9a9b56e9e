"""Which snapshots to keep: rules and what follows from them, for any kind of destination."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, islice
from typing import TYPE_CHECKING, Final

from poolcensus.errors import SettingsError
from poolcensus.model import SnapshotStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DAY: Final = len("20261123")
_MONTH: Final = len("202611")


class Reason(StrEnum):
    """Why a snapshot is kept."""

    LAST = "keep-last"
    DAILY = "keep-daily"
    MONTHLY = "keep-monthly"
    NEWEST_COMPLETE = "newest-complete"
    LATEST = "latest"


@dataclass(frozen=True, slots=True)
class Keep:
    """Rules for keeping snapshots. A snapshot that any of them keeps is kept.

    `last` keeps the newest so many, `daily` the newest of each of the last so many days that have one,
    `monthly` alike for months, all by the UTC start that the snapshot id names. Raises `SettingsError`
    where there is no rule, or one of less than 1.
    """

    last: int | None = None
    daily: int | None = None
    monthly: int | None = None

    def __post_init__(self) -> None:
        rules = {"last": self.last, "daily": self.daily, "monthly": self.monthly}
        given = {name: number for name, number in rules.items() if number is not None}
        if not given:
            raise SettingsError("nothing says what to keep: give last, daily or monthly")
        for name, number in given.items():
            if number < 1:
                raise SettingsError(f"what to keep is a count from 1 on, but {name} is {number}")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a snapshot: it is kept for `reasons`, or removed where there are none."""

    snapshot_id: str
    reasons: tuple[Reason, ...]

    @property
    def keep(self) -> bool:
        """Whether the snapshot stays."""
        return bool(self.reasons)


def decide(
    snapshots: Mapping[str, SnapshotStatus], keep: Keep, latest: str | None = None
) -> tuple[Decision, ...]:
    """What becomes of each snapshot, given by its id with its status, the oldest first.

    The newest complete one is kept whatever the rules are, and so is `latest`, the one that the
    destination calls its newest.
    """
    newest_first = sorted(snapshots, reverse=True)
    kept: dict[str, list[Reason]] = {snapshot_id: [] for snapshot_id in newest_first}
    for reason, ids in (
        (Reason.LAST, islice(newest_first, keep.last or 0)),
        (Reason.DAILY, islice(_newest_of_each(newest_first, _DAY), keep.daily or 0)),
        (Reason.MONTHLY, islice(_newest_of_each(newest_first, _MONTH), keep.monthly or 0)),
        (
            Reason.NEWEST_COMPLETE,
            islice((each for each in newest_first if snapshots[each] is SnapshotStatus.COMPLETE), 1),
        ),
        (Reason.LATEST, (each for each in newest_first if each == latest)),
    ):
        for snapshot_id in ids:
            kept[snapshot_id].append(reason)
    return tuple(Decision(each, tuple(kept[each])) for each in reversed(newest_first))


def _newest_of_each(newest_first: list[str], length: int) -> Iterator[str]:
    """The first of each stretch of ids whose times begin alike."""
    return (next(ids) for _, ids in groupby(newest_first, key=lambda each: each[:length]))
