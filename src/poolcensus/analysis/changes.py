"""A difference between two snapshots, A and B: of a pool, or of a target that one of them did not cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from poolcensus.model import JsonObject, JsonValue


class ChangeKind(StrEnum):
    """What became of a pool between A and B, or that nobody can say."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between A and B.

    `account_name` is that of B, or that of A where B has none. `fields` has, for a changed pool, each field
    that differs with its values in A and in B, None where it is missing. `pool` is the pool as the service
    answered it: the one that was added or removed, and one that was changed as it is in B. An unknown target
    has no `pool_id`, a `reason`, and as `pools` the number of its pools in A and in B, None where that is not
    known; `is_expected` says that it is a known gap of both.
    """

    kind: ChangeKind
    account_id: str
    account_name: str | None
    region: str
    pool_id: str | None = None
    fields: Mapping[str, tuple[JsonValue, JsonValue]] = field(default_factory=dict)
    pool: JsonObject | None = None
    reason: str | None = None
    pools: tuple[int | None, int | None] = (None, None)
    is_expected: bool = False


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a comparison of the snapshots `a` and `b` came to, in pools.

    `unknown` counts targets, and `expected` those of them that are known gaps of both runs.
    """

    a: str
    b: str
    added: int = 0
    removed: int = 0
    changed: int = 0
    unknown: int = 0
    unchanged: int = 0
    expected: int = 0

    @property
    def found(self) -> int:
        """How many differences there are, with the targets of which nobody can say that there are none.

        Those that both runs expect to be refused are left out.
        """
        return self.added + self.removed + self.changed + self.unknown - self.expected


def change_object(change: Change) -> JsonObject:
    """Return a change as its line of JSON has it."""
    made: JsonObject = {
        "change": change.kind.value,
        "account_id": change.account_id,
        "account_name": change.account_name,
        "region": change.region,
        "pool_id": change.pool_id,
    }
    if change.kind is ChangeKind.CHANGED:
        made["fields"] = {name: list(values) for name, values in change.fields.items()}
    elif change.kind is ChangeKind.UNKNOWN:
        made["reason"] = change.reason
        made["pools"] = list(change.pools)
        if change.is_expected:
            made["expected"] = True
    else:
        made["pool"] = change.pool
    return made


def statistics_object(statistics: Statistics) -> JsonObject:
    """Return the statistics as their line of JSON has them."""
    return {"change": "statistics", **asdict(statistics)}
