"""The differences between two snapshots: pools added, removed and changed, and what nobody can say."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from poolcensus.analysis.changes import Change, ChangeKind, Statistics
from poolcensus.analysis.comparable import check_comparable, warnings_of
from poolcensus.analysis.hidden import HiddenTally
from poolcensus.analysis.ledger import Ledger, known_pools, reason_unknown
from poolcensus.analysis.records import Records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from poolcensus.model import JsonObject, JsonValue
    from poolcensus.snapshot import Snapshot

DEFAULT_IGNORED: Final = ("CapacityStatus",)
"""Fields of a pool that change whenever a user comes or goes."""


def diff(a: Snapshot, b: Snapshot, *, ignore: Iterable[str] = DEFAULT_IGNORED) -> Diff:
    """Return the differences between the snapshots `a` and `b`, to be iterated over. Nothing is read yet.

    Pools are told apart by account, region and their identity, the pool id. Fields in `ignore` are not
    compared. Raises `IncomparableSnapshotsError` for snapshots of different operations or partitions, and
    for those that were asked for different pools, by id or by filter.
    """
    check_comparable(a, b)
    return Diff(a, b, frozenset(ignore))


class Diff:
    """The differences between two snapshots, as an iterable of `Change`.

    They are ordered by account id, region and pool id. Each iteration reads both snapshots anew, and blocks:
    in an event loop, use a worker thread. It holds the ledgers and one target's pools in memory. Of a
    snapshot that is compressed or in S3 it keeps the records in a temporary file without a name, in the
    folder that `TMPDIR` names or the system's own.

    Iterating raises `SnapshotError` where a snapshot can't be read, `DamagedSnapshotError` where it is not
    what its manifest and its ledger say, and `DestinationError` where a bucket can't be read or the temporary
    file can't be written. Only an iteration that ends without an error has seen all differences.
    """

    def __init__(self, a: Snapshot, b: Snapshot, ignored: frozenset[str]) -> None:
        self._a = a
        self._b = b
        self._ignored = ignored
        self._statistics: Statistics | None = None
        self._warnings: tuple[str, ...] = ()

    @property
    def statistics(self) -> Statistics:
        """What the comparison came to. Raises `RuntimeError` before an iteration has ended."""
        if self._statistics is None:
            raise RuntimeError("the statistics are known once an iteration has ended")
        return self._statistics

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what to read with care: all of them, once an iteration has ended."""
        return (*warnings_of(self._a, self._b), *self._warnings)

    def __iter__(self) -> Iterator[Change]:
        self._statistics = None
        counts = dict.fromkeys(ChangeKind, 0)
        hidden = HiddenTally()
        with ExitStack() as stack:
            comparison = _Comparison(stack, self._a, self._b, self._ignored)
            for change in comparison.changes(hidden):
                counts[change.kind] += 1
                yield change
        self._warnings = tuple(hidden.sentences())
        self._statistics = Statistics(
            a=self._a.id,
            b=self._b.id,
            added=counts[ChangeKind.ADDED],
            removed=counts[ChangeKind.REMOVED],
            changed=counts[ChangeKind.CHANGED],
            unknown=counts[ChangeKind.UNKNOWN],
            unchanged=comparison.unchanged,
        )


class _Comparison:
    """One walk over two snapshots, target by target. `unchanged` counts pools."""

    def __init__(self, stack: ExitStack, a: Snapshot, b: Snapshot, ignored: frozenset[str]) -> None:
        for each in (a, b):
            stack.enter_context(each)
        self._ledgers = Ledger("A", a), Ledger("B", b)
        self._records = tuple(
            stack.enter_context(Records(snapshot, ledger, self._is_compared))
            for snapshot, ledger in zip((a, b), self._ledgers, strict=True)
        )
        self._ignored = ignored
        self.unchanged = 0

    def changes(self, hidden: HiddenTally) -> Iterator[Change]:
        a, b = self._ledgers
        for account_id in sorted(a.accounts() | b.accounts()):
            name = b.name_of(account_id) or a.name_of(account_id)
            for region in sorted(a.regions(account_id) | b.regions(account_id)):
                old, new = a.entry(account_id, region), b.entry(account_id, region)
                reason = reason_unknown(a, b, account_id, region)
                if reason is None:
                    if any(entry is not None and entry.pools for entry in (old, new)):
                        yield from self._changes_of(account_id, name, region)
                    continue
                change = Change(
                    ChangeKind.UNKNOWN,
                    account_id,
                    name,
                    region,
                    reason=reason,
                    pools=(known_pools(old), known_pools(new)),
                )
                hidden.add(change, new)
                yield change

    def _is_compared(self, account_id: str, region: str) -> bool:
        return reason_unknown(*self._ledgers, account_id, region) is None

    def _changes_of(self, account_id: str, name: str | None, region: str) -> Iterator[Change]:
        records_a, records_b = self._records
        old, new = records_a.texts(account_id, region), records_b.texts(account_id, region)
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
    """Return the fields that differ, by name, each with its value before and after. Missing is None."""
    found = {
        name: (before.get(name), after.get(name))
        for name in before.keys() | after.keys()
        if name not in ignored and not _same(before.get(name), after.get(name))
    }
    return dict(sorted(found.items()))


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are the same JSON. To Python, true and 1 are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
