"""The types of a difference between two snapshots, A and B, and their form in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from poolcensus.model import JsonObject, JsonValue


class ChangeKind(StrEnum):
    """What happened to a pool between A and B, or that it is unknown."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between A and B: of a pool, or of a target that can't be compared.

    `account_name` is the name in B, or the name in A if B has none.

    `pool` is the pool as the service returned it. If the pool was changed, it is the pool in B. `fields` has
    the fields of a changed pool that differ, each with its values in A and in B. A missing value is None.

    If the kind is unknown, the change is about a whole target: there is no `pool_id`. `reason` says why the
    target can't be compared. `pools` are its numbers of pools in A and in B, None if not known. `is_expected`
    is true if the target is a known gap in both.
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
    """The result of a comparison of the snapshots `a` and `b`, in numbers of pools.

    `unknown` is a number of targets. `expected` is how many of these are known gaps of both runs.
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
        """The number of differences, unknown targets included.

        Unknown targets that are known gaps of both runs are left out.
        """
        return self.added + self.removed + self.changed + self.unknown - self.expected


def change_object(change: Change) -> JsonObject:
    """Return a change as the JSON object of its line."""
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
    """Return the statistics as the JSON object of their line."""
    return {"change": "statistics", **asdict(statistics)}
