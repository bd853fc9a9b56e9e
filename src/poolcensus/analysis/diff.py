"""Compares two snapshots: pools that were added, removed or changed, and targets that can't be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from poolcensus.analysis.changes import Change, ChangeKind, Statistics
from poolcensus.analysis.comparable import check_comparable, warnings_of
from poolcensus.analysis.hidden import hidden_in_b, hidden_target
from poolcensus.analysis.ledger import Ledger, is_compared, known_pools, reason_unknown
from poolcensus.analysis.records import open_records
from poolcensus.operations import facets_of
from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from poolcensus.analysis.records import Records
    from poolcensus.model import JsonObject, JsonValue, Outcome, TargetResult


def diff(a: Snapshot, b: Snapshot, *, ignore: Iterable[str] | None = None) -> Diff:
    """Return the differences between the snapshots `a` and `b`, as an iterable. Nothing is read yet.

    Pools are identified by account, region and pool ID. Fields in `ignore` are not compared. By default,
    these are the fields that change whenever a user starts or ends a session.

    Raises `IncomparableSnapshotsError` if the snapshots are of different operations or partitions, or were
    asked for different pools by ID or filter.
    """
    check_comparable(a, b)
    ignored = facets_of(b.manifest.operation).volatile if ignore is None else ignore
    return Diff(a, b, frozenset(ignored))


class Diff:
    """The differences between two snapshots, as an iterable of `Change`.

    They are sorted by account ID, region and pool ID. Each iteration reads both snapshots again, and blocks:
    in an event loop, use a worker thread. Memory holds both ledgers and the pools of one target. The records
    of a snapshot that is compressed or in S3 are kept in an unnamed temporary file, in the folder that
    `TMPDIR` names or in the system's default.

    Iterating raises `SnapshotError` if a snapshot can't be read, `DamagedSnapshotError` if it contradicts its
    manifest or its ledger, and `DestinationError` if a bucket can't be read or the temporary file can't be
    written. Only an iteration that ends without an error has yielded all differences.
    """

    def __init__(self, a: Snapshot, b: Snapshot, ignored: frozenset[str]) -> None:
        self._a = a
        self._b = b
        self._ignored = ignored
        self._statistics: Statistics | None = None
        self._warnings: tuple[str, ...] = ()

    @property
    def statistics(self) -> Statistics:
        """The numbers of the last iteration. Raises `RuntimeError` if none has ended."""
        if self._statistics is None:
            raise RuntimeError("the statistics are known once an iteration has ended")
        return self._statistics

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on why differences may mislead. They are complete once an iteration has ended."""
        return (*warnings_of(self._a, self._b), *self._warnings)

    def __iter__(self) -> Iterator[Change]:
        self._statistics = None
        counts = dict.fromkeys(ChangeKind, 0)
        with self._a as a, self._b as b:
            ledgers = Ledger.read("A", a), Ledger.read("B", b)
            compared = partial(is_compared, *ledgers)
            with (
                open_records(a, ledgers[0], compared) as old,
                open_records(b, ledgers[1], compared) as new,
            ):
                walk = _Walk(ledgers, (old, new), self._ignored)
                for change in walk.changes():
                    counts[change.kind] += 1
                    yield change
        self._warnings = tuple(hidden_in_b(walk.hidden, self._b.manifest.operation))
        self._statistics = Statistics(
            a=self._a.id,
            b=self._b.id,
            added=counts[ChangeKind.ADDED],
            removed=counts[ChangeKind.REMOVED],
            changed=counts[ChangeKind.CHANGED],
            unknown=counts[ChangeKind.UNKNOWN],
            unchanged=walk.unchanged,
            expected=walk.expected,
        )


class _Walk:
    """One pass over two snapshots, A and B, target by target.

    `unchanged` is a number of pools. `expected` is the number of unknown targets that are known gaps of both.
    `hidden` has the targets in which A has pools and B can't list any, by their outcome in B.
    """

    def __init__(
        self, ledgers: tuple[Ledger, Ledger], records: tuple[Records, Records], ignored: frozenset[str]
    ) -> None:
        self._ledgers = ledgers
        self._records = records
        self._ignored = ignored
        self.unchanged = 0
        self.expected = 0
        self.hidden: dict[Outcome, list[TargetResult]] = {}

    def changes(self) -> Iterator[Change]:
        a, b = self._ledgers
        for account_id in sorted(a.accounts() | b.accounts()):
            name = b.name_of(account_id) or a.name_of(account_id)
            for region in sorted(a.regions(account_id) | b.regions(account_id)):
                reason = reason_unknown(a, b, account_id, region)
                if reason is not None:
                    yield self._unknown(account_id, name, region, reason)
                elif a.has_pools(account_id, region) or b.has_pools(account_id, region):
                    yield from self._changes_of(account_id, name, region)

    def _unknown(self, account_id: str, name: str | None, region: str, reason: str) -> Change:
        old, new = (each.entry(account_id, region) for each in self._ledgers)
        change = Change(
            ChangeKind.UNKNOWN,
            account_id,
            name,
            region,
            reason=reason,
            pools=(known_pools(old), known_pools(new)),
            is_expected=old is not None and old.is_expected and new is not None and new.is_expected,
        )
        if (hidden := hidden_target(change, new)) is not None:
            self.hidden.setdefault(hidden.outcome, []).append(hidden)
        self.expected += change.is_expected
        return change

    def _changes_of(self, account_id: str, name: str | None, region: str) -> Iterator[Change]:
        records_a, records_b = self._records
        old, new = (each.texts(account_id, region) for each in self._records)
        if old == new:
            self.unchanged += len(old)
            return
        for pool_id in sorted(old.keys() | new.keys()):
            was, now = old.get(pool_id), new.get(pool_id)
            if was == now:
                self.unchanged += 1
                continue
            before = None if was is None else records_a.item(account_id, region, was)
            after = None if now is None else records_b.item(account_id, region, now)
            if before is None or after is None:
                kind = ChangeKind.ADDED if before is None else ChangeKind.REMOVED
                yield Change(kind, account_id, name, region, pool_id, pool=before or after)
            elif fields := changed_fields(before, after, self._ignored):
                yield Change(ChangeKind.CHANGED, account_id, name, region, pool_id, fields, pool=after)
            else:
                self.unchanged += 1


def changed_fields(
    before: JsonObject, after: JsonObject, ignored: frozenset[str]
) -> Mapping[str, tuple[JsonValue, JsonValue]]:
    """Return the fields that differ, sorted by name, each with its values before and after.

    A missing value is None.
    """
    found = {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if name not in ignored and not same(before.get(name), after.get(name))
    }
    return dict(sorted(found.items()))


def same(one: JsonValue, other: JsonValue) -> bool:
    """Return whether two values are equal in JSON. Unlike Python's `==`, it distinguishes true from 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
