"""What a report says, gathered and not yet written: frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime

    from poolcensus.analysis.changes import Change, Statistics
    from poolcensus.model import FailureGroup, OperationInfo, SkippedAccount
    from poolcensus.operations import EndOfSupport, Facets
    from poolcensus.snapshot import SnapshotInfo


@dataclass(frozen=True, slots=True)
class Use:
    """How many items there are, and their sessions. None where no item says so.

    `compared` are the sessions in use and the capacity of the items that say both: of others, neither is a
    share of the other.
    """

    items: int = 0
    in_use: int | None = None
    capacity: int | None = None
    compared: tuple[int, int] | None = None

    @property
    def whole(self) -> int | None:
        """The capacity that `in_use` is a part of, None where that of some sessions in use is not known."""
        return self.compared[1] if self.compared and self.compared[0] == self.in_use else None


@dataclass(frozen=True, slots=True)
class Group:
    """The items of one region, account, OU, state or error. `name` is what people call it."""

    id: str
    name: str | None
    use: Use


@dataclass(frozen=True, slots=True)
class Contents:
    """What a snapshot found, in groups. The largest groups come first.

    `units` is empty where no record says in which OU its account is.
    """

    use: Use
    regions: tuple[Group, ...]
    accounts: tuple[Group, ...]
    units: tuple[Group, ...]
    states: tuple[Group, ...]
    errors: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One snapshot of the trend, and the sessions of its items."""

    info: SnapshotInfo
    use: Use


@dataclass(frozen=True, slots=True)
class UnreadSnapshot:
    """A snapshot that could not be read to its end, and why. Nothing of it is in the report."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class History:
    """The snapshots that can be compared with the one of the report, which is the last, in their order.

    `other_scopes` is how many earlier snapshots were asked to cover something else.
    """

    points: tuple[TrendPoint, ...]
    unread: tuple[UnreadSnapshot, ...]
    other_scopes: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences to the snapshot before.

    `changes` are the first of them, without the known gaps of both snapshots, and `statistics` counts all.
    `problem` says why there are none to be had.
    """

    before: str
    changes: tuple[Change, ...] = ()
    statistics: Statistics | None = None
    warnings: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An item that has to be dealt with, and when it was seen and seen in use.

    `seen` counts the snapshots that list it, from `first_seen` to `last_seen`, and `told` those of them that
    say how many sessions it had. `last_used` is when the newest of them in which it had sessions was taken,
    None where there is none. `details` are the values of the operation's columns. `missing` says why the item
    can't be listed in the newest snapshot: the outcome of its target; None for an item that is there.
    """

    account_id: str
    account_name: str | None
    region: str
    id: str
    name: str
    state: str
    details: tuple[str, ...]
    in_use: int | None
    seen: int
    told: int
    first_seen: datetime
    last_seen: datetime
    last_used: datetime | None
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Worklist:
    """The items that are left: their numbers, and the first rows by account, region and id.

    `total` counts all items, of which `in_use` were in use in the newest snapshot, `used_before` in an
    earlier one, and `never_used` in none; of the `use_unknown` no snapshot says whether they were. `missing`
    of them can't be listed in the newest snapshot, of which `hidden` are in targets that it covers. Those in
    use, used before and never used are None where no item says whether it is in use.
    """

    rows: tuple[WorkItem, ...]
    total: int
    missing: int
    hidden: int
    in_use: int | None
    used_before: int | None
    never_used: int | None
    use_unknown: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report says of the snapshot `info`, whose manifest names the `tool` and the `caller`.

    `failures` has no target that failed as the run expected.
    """

    info: SnapshotInfo
    location: str
    operation: OperationInfo
    facets: Facets
    organization_id: str | None
    caller: str
    made_at: datetime
    dest: str
    outcomes: tuple[tuple[str, bool, int], ...]
    accounts: int
    skipped: tuple[SkippedAccount, ...]
    failures: tuple[FailureGroup, ...]
    contents: Contents
    history: History
    comparison: Comparison | None
    worklist: Worklist

    @property
    def expected(self) -> int:
        """How many targets failed as a known gap of the run expects."""
        return self.info.targets - self.info.covered - self.info.failed

    @property
    def end_of_support(self) -> EndOfSupport | None:
        """When AWS ends support for the items."""
        return self.facets.end_of_support

    @property
    def days_left(self) -> int | None:
        """Whole days from when the report was made to the last day of support; negative after it."""
        if self.end_of_support is None:
            return None
        today: date = self.made_at.date()
        return (self.end_of_support.day - today).days
