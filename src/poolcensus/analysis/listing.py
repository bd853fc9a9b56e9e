"""Chooses and sorts the rows of a snapshot: its records, targets and failures."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from poolcensus.analysis.ordering import in_order
from poolcensus.errors import SettingsError
from poolcensus.operations import columns_of, facets_of, value_at
from poolcensus.partitions import matches
from poolcensus.snapshot.reader import lines_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from poolcensus.analysis.account_failures import AccountFailure
    from poolcensus.model import JsonObject, OperationInfo, PoolRecord, TargetResult
    from poolcensus.operations import Facets
    from poolcensus.snapshot import Snapshot

_Row = TypeVar("_Row")
_IN_A_PATTERN = frozenset("*?[")


class SortKey(NamedTuple):
    """A column to sort rows by."""

    name: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Chooses rows. For each field with entries, a chosen row matches one of them.

    `accounts` are IDs, names or patterns of names such as `prod-*`. `regions` may be patterns, too. The case
    of names, `states` and `outcomes` is ignored. `with_errors` chooses only items with errors.
    """

    accounts: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    with_errors: bool = False

    def takes_record(self, record: PoolRecord, facets: Facets) -> bool:
        """Return whether a record is chosen. `facets` are those of its operation."""
        if self.with_errors and not value_at(record.pool, facets.errors):
            return False
        return self.takes_target(record) and _is_in(value_at(record.pool, facets.state), self.states)

    def takes_result(self, result: TargetResult) -> bool:
        """Return whether a line of the ledger is chosen."""
        return self.takes_target(result) and _is_in(result.outcome.value, self.outcomes)

    def takes_target(self, row: PoolRecord | TargetResult) -> bool:
        """Return whether the account and the region of a row are chosen."""
        if self.regions and not matches(row.region, self.regions):
            return False
        return self.takes_account(row.account_id, row.account_name)

    def takes_account(self, account_id: str, account_name: str | None) -> bool:
        """Return whether an account is chosen."""
        return not self.accounts or _naming(self.accounts).names(account_id, account_name)

    @property
    def is_of_places(self) -> bool:
        """Whether accounts or regions are restricted."""
        return bool(self.accounts or self.regions)


class Naming(NamedTuple):
    """Entries such as those of `Choice.accounts`, as literal IDs and names, and as patterns."""

    exact: frozenset[str]
    patterns: tuple[str, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Return the naming of some entries.

        A pattern is a literal name as well, because names may contain the characters of patterns: "[dev]".
        """
        folded = dict.fromkeys(each.casefold() for each in entries)
        return cls(frozenset(folded), tuple(each for each in folded if _IN_A_PATTERN & {*each}))

    def names(self, account_id: str, account_name: str | None) -> bool:
        """Return whether an entry matches the account."""
        return self.names_any({account_id}, {(account_name or "").casefold()})

    def names_any(self, ids: AbstractSet[str], names: AbstractSet[str]) -> bool:
        """Return whether an entry matches one of the IDs or names. The names must be casefolded."""
        if not (self.exact.isdisjoint(ids) and self.exact.isdisjoint(names)):
            return True
        return any(fnmatchcase(name, pattern) for pattern in self.patterns for name in names)


# Cached, because hundreds of accounts may be chosen, and each of many rows is checked.
_naming = lru_cache(maxsize=16)(Naming.of)


def _is_in(value: object, wanted: tuple[str, ...]) -> bool:
    return not wanted or str(value).casefold() in {each.casefold() for each in wanted}


ALL = Choice()

RESULT_KEYS: Mapping[str, Callable[[TargetResult], object]] = {
    "account": lambda result: result.account_id,
    "name": lambda result: result.account_name,
    "organization": lambda result: result.organization,
    "region": lambda result: result.region,
    "outcome": lambda result: result.outcome.value,
    "attempts": lambda result: result.attempts,
}
"""The columns that lines of the ledger can be sorted by."""

FAILURE_KEYS: Mapping[str, Callable[[AccountFailure], object]] = {
    "account": lambda failure: failure.account_id,
    "name": lambda failure: failure.account_name,
    "organization": lambda failure: failure.organization,
    "outcome": lambda failure: failure.outcome.value,
    "regions": lambda failure: len(failure.regions),
}
"""The columns that failures of accounts can be sorted by. `regions` is the number of regions."""


def record_keys(info: OperationInfo) -> Mapping[str, Callable[[PoolRecord], object]]:
    """Return the columns that the records of an operation can be sorted by: those of their table."""
    made: dict[str, Callable[[PoolRecord], object]] = {
        "account": lambda record: record.account_id,
        "name": lambda record: record.account_name,
        "organization": lambda record: record.organization,
        "region": lambda record: record.region,
    }
    for column in columns_of(info):
        made[column.name] = partial(_of_item, column.sorted_by or column.cell)
    return made


def _of_item(value: Callable[[JsonObject], object], record: PoolRecord) -> object:
    return value(record.pool)


def check_sort(sort: Iterable[SortKey], names: Iterable[str]) -> None:
    """Raise `SettingsError` if a column is not one of `names`."""
    known = list(names)
    for key in sort:
        if key.name not in known:
            names = ", ".join(known)
            raise SettingsError(f'Can\'t sort by "{key.name}". Use {names}, with - before it to sort down.')


def records_in_order(
    snapshot: Snapshot, choice: Choice = ALL, sort: Sequence[SortKey] = ()
) -> Iterator[PoolRecord]:
    """Yield the chosen records, in the order of `record_lines`. Raises what that function raises."""
    decode = snapshot.schema.decode_record
    return (decode(line)[1] for line in record_lines(snapshot, choice, sort))


def record_lines(snapshot: Snapshot, choice: Choice = ALL, sort: Sequence[SortKey] = ()) -> Iterator[bytes]:
    """Yield the lines of the chosen records, as they are in the snapshot.

    They are sorted by `sort`, then by account, region and ID. Memory does not grow with the snapshot: beyond
    about 32 MB, the lines wait in a temporary file.

    Raises what `Snapshot.pools` raises, `SettingsError` if there is no such column, and `DestinationError` if
    there is no room for the temporary file.
    """
    operation = snapshot.manifest.operation
    keys = record_keys(operation)
    check_sort(sort, keys)
    facets, identity = facets_of(operation), operation.identity
    values = [keys[each.name] for each in sort]
    decode = snapshot.schema.decode_record

    def keyed() -> Iterator[tuple[Sequence[object], bytes]]:
        lines = lines_of(snapshot.files, snapshot.pools_file, lambda line: (decode(line)[1], line))
        for record, line in lines:
            if choice.takes_record(record, facets):
                own = (value(record) for value in values)
                yield (*own, record.account_id, record.region, record.pool.get(identity)), line

    descending = [*(each.descending for each in sort), False, False, False]
    return in_order(keyed(), descending)


def failed_results(
    uncovered: Iterable[TargetResult], choice: Choice = ALL, sort: Sequence[SortKey] = ()
) -> list[TargetResult]:
    """Return the chosen lines of the ledger, sorted by `sort`, then by account and region.

    Raises what `uncovered` raises, and `SettingsError` if there is no such column.
    """
    by_target = (*sort, SortKey("account"), SortKey("region"))
    return sorted_rows((each for each in uncovered if choice.takes_result(each)), RESULT_KEYS, by_target)


def sorted_rows(
    rows: Iterable[_Row], keys: Mapping[str, Callable[[_Row], object]], sort: Sequence[SortKey]
) -> list[_Row]:
    """Return the rows sorted. The sort is stable. Raises `SettingsError` if there is no such column."""
    check_sort(sort, keys)
    found = list(rows)
    for key in reversed(sort):
        value = keys[key.name]
        found.sort(key=partial(_comparable, value), reverse=key.descending)
        # Rows without a value come last, ascending or descending.
        found.sort(key=partial(_is_missing, value))
    return found


def _comparable(value: Callable[[_Row], object], row: _Row) -> tuple[float, str]:
    found = value(row)
    return (found, "") if isinstance(found, int | float) else (0, str(found))


def _is_missing(value: Callable[[_Row], object], row: _Row) -> bool:
    return value(row) is None
