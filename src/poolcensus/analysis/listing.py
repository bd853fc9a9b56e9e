"""The rows of a snapshot for people who look for some of them: chosen, and in an order."""

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
    """A column that rows are sorted by."""

    name: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are wanted: those that match one entry of each field that has any.

    `accounts` are ids, or names and patterns of names such as `prod-*`; `regions` may be patterns too. The
    case of names, `states` and `outcomes` does not matter. `with_errors` takes no item without an error.
    """

    accounts: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    with_errors: bool = False

    def takes_record(self, record: PoolRecord, facets: Facets) -> bool:
        """Whether a record is wanted. `facets` are those of its operation."""
        if self.with_errors and not value_at(record.pool, facets.errors):
            return False
        return self.takes_target(record) and _is_in(value_at(record.pool, facets.state), self.states)

    def takes_result(self, result: TargetResult) -> bool:
        """Whether a line of the ledger is wanted."""
        return self.takes_target(result) and _is_in(result.outcome.value, self.outcomes)

    def takes_target(self, row: PoolRecord | TargetResult) -> bool:
        """Whether the account and the region of a row are wanted."""
        if self.regions and not matches(row.region, self.regions):
            return False
        return self.takes_account(row.account_id, row.account_name)

    def takes_account(self, account_id: str, account_name: str | None) -> bool:
        """Whether an account is wanted."""
        return not self.accounts or _naming(self.accounts).names(account_id, account_name)

    @property
    def is_of_places(self) -> bool:
        """Whether only some accounts or regions are wanted."""
        return bool(self.accounts or self.regions)


class Naming(NamedTuple):
    """What entries such as those of `Choice.accounts` name: ids and names as they are, and patterns."""

    exact: frozenset[str]
    patterns: tuple[str, ...]

    @classmethod
    def of(cls, entries: Iterable[str]) -> Self:
        """Return what entries name. A name may hold what means something in a pattern, such as [dev]."""
        folded = dict.fromkeys(each.casefold() for each in entries)
        return cls(frozenset(folded), tuple(each for each in folded if _IN_A_PATTERN & {*each}))

    def names(self, account_id: str, account_name: str | None) -> bool:
        """Whether an entry names the account."""
        return self.names_any({account_id}, {(account_name or "").casefold()})

    def names_any(self, ids: AbstractSet[str], names: AbstractSet[str]) -> bool:
        """Whether an entry names one of some accounts, whose names are in casefolded form."""
        if not (self.exact.isdisjoint(ids) and self.exact.isdisjoint(names)):
            return True
        return any(fnmatchcase(name, pattern) for pattern in self.patterns for name in names)


# Hundreds of accounts may be chosen, and each of many rows is looked at.
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
"""What lines of the ledger can be sorted by."""

FAILURE_KEYS: Mapping[str, Callable[[AccountFailure], object]] = {
    "account": lambda failure: failure.account_id,
    "name": lambda failure: failure.account_name,
    "organization": lambda failure: failure.organization,
    "outcome": lambda failure: failure.outcome.value,
    "regions": lambda failure: len(failure.regions),
}
"""What failures of accounts can be sorted by; `regions` is their number."""


def record_keys(info: OperationInfo) -> Mapping[str, Callable[[PoolRecord], object]]:
    """Return what the records of an operation can be sorted by: the columns of their table, by name."""
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
    """Raise `SettingsError` for a column that is none of `names`."""
    known = list(names)
    for key in sort:
        if key.name not in known:
            names = ", ".join(known)
            raise SettingsError(f'Can\'t sort by "{key.name}". Use {names}, with - before it to sort down.')


def records_in_order(
    snapshot: Snapshot, choice: Choice = ALL, sort: Sequence[SortKey] = ()
) -> Iterator[PoolRecord]:
    """Yield the records that are wanted, in the order of `record_lines`. Raises what that raises."""
    decode = snapshot.schema.decode_record
    return (decode(line)[1] for line in record_lines(snapshot, choice, sort))


def record_lines(snapshot: Snapshot, choice: Choice = ALL, sort: Sequence[SortKey] = ()) -> Iterator[bytes]:
    """Yield the lines of the records that are wanted, as they are in the snapshot.

    They are in the order of account, region and id where `sort` does not tell them apart.

    Memory does not grow with the snapshot: more than some 32 MB wait in a temporary file. Raises what
    `Snapshot.pools` raises, `SettingsError` for a column that there is not, and `DestinationError` where
    there is no room for the file.
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
    """Return the lines of the ledger that are wanted, by account and region where `sort` does not tell.

    Raises what `uncovered` raises, and `SettingsError` for a column that there is not.
    """
    by_target = (*sort, SortKey("account"), SortKey("region"))
    return sorted_rows((each for each in uncovered if choice.takes_result(each)), RESULT_KEYS, by_target)


def sorted_rows(
    rows: Iterable[_Row], keys: Mapping[str, Callable[[_Row], object]], sort: Sequence[SortKey]
) -> list[_Row]:
    """Return the rows sorted, stably. Raises `SettingsError` for a column that there is not."""
    check_sort(sort, keys)
    found = list(rows)
    for key in reversed(sort):
        value = keys[key.name]
        found.sort(key=partial(_comparable, value), reverse=key.descending)
        # What has no value comes last either way.
        found.sort(key=partial(_is_missing, value))
    return found


def _comparable(value: Callable[[_Row], object], row: _Row) -> tuple[float, str]:
    found = value(row)
    return (found, "") if isinstance(found, int | float) else (0, str(found))


def _is_missing(value: Callable[[_Row], object], row: _Row) -> bool:
    return value(row) is None
