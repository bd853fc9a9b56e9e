"""The data of a report: frozen classes."""

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
    """The number of items, and the sums of their sessions. A sum is None if no item has the number.

    `compared` is the sessions in use and the capacity of only those items that have both numbers. A share can
    be computed from these alone.
    """

    items: int = 0
    in_use: int | None = None
    capacity: int | None = None
    compared: tuple[int, int] | None = None

    @property
    def whole(self) -> int | None:
        """The capacity that `in_use` is a part of, or None if some sessions in use have no known capacity."""
        return self.compared[1] if self.compared and self.compared[0] == self.in_use else None


@dataclass(frozen=True, slots=True)
class Group:
    """The items of one region, account, OU, state or error. `name` is the name of an account."""

    id: str
    name: str | None
    use: Use


@dataclass(frozen=True, slots=True)
class Contents:
    """The items of a snapshot, in groups. The largest groups come first.

    `units` are the OUs. It is empty if no record has the OU of its account.
    """

    use: Use
    regions: tuple[Group, ...]
    accounts: tuple[Group, ...]
    units: tuple[Group, ...]
    states: tuple[Group, ...]
    errors: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """One snapshot of the trend, and the use of its items."""

    info: SnapshotInfo
    use: Use


@dataclass(frozen=True, slots=True)
class UnreadSnapshot:
    """A snapshot that could not be read to its end, and the reason. The report has nothing from it."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class History:
    """The snapshots of the report's scope, the oldest first. The last is the snapshot of the report.

    `other_scopes` is the number of earlier snapshots of other scopes.
    """

    points: tuple[TrendPoint, ...]
    unread: tuple[UnreadSnapshot, ...]
    other_scopes: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences from the snapshot `before`.

    `changes` are the first differences, without known gaps of both snapshots. `statistics` counts all of
    them. `problem` says why the snapshots could not be compared, if so.
    """

    before: str
    changes: tuple[Change, ...] = ()
    statistics: Statistics | None = None
    warnings: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class WorkItem:
    """An item that someone has to deal with, and when it was last seen and used.

    `seen` is the number of snapshots that list it. The first and the last of them started at `first_seen` and
    `last_seen`. `told` is how many of them say how many sessions the item had. `last_used` is the start of
    the newest one in which it had sessions, or None. `details` are the values of the operation's further
    columns. `missing` says why the newest snapshot can't list the item, such as the outcome of its target. It
    is None if the snapshot has it.
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
    """The items that are left: how many there are, and the first rows, sorted by account, region and ID.

    `total` is the number of all items. Of these, `in_use` were in use in the newest snapshot, `used_before`
    only in an earlier one, and `never_used` in none. For `use_unknown` items, no snapshot says whether they
    were in use. `in_use`, `used_before` and `never_used` are None if this is so for all items.

    `missing` is how many of the items the newest snapshot can't list. Of these, `hidden` are in targets that
    it covers.
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
    """All the data of a report on the snapshot `info`.

    `caller` is the ARN of the caller in its manifest. `outcomes` has each outcome with whether it is covered,
    and its number of targets. `failures` are without the targets that failed as a known gap expects.
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
        """The number of targets that failed as a known gap of the run expects."""
        return self.info.targets - self.info.covered - self.info.failed

    @property
    def end_of_support(self) -> EndOfSupport | None:
        """When AWS ends support for the items, or None if no date is known."""
        return self.facets.end_of_support

    @property
    def days_left(self) -> int | None:
        """Days from the day of the report to the last day of support. Negative after that day."""
        if self.end_of_support is None:
            return None
        today: date = self.made_at.date()
        return (self.end_of_support.day - today).days
