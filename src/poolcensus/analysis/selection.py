"""Selects the snapshots that a query or an export reads."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from poolcensus.errors import SnapshotError
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.latest import is_looked_up
from poolcensus.snapshot.series import Series, open_series
from poolcensus.storage.naming import no_snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from poolcensus.config import Settings
    from poolcensus.model import OperationInfo

Pair = tuple[Snapshot, Snapshot]


@dataclass(frozen=True, slots=True)
class Selection:
    """Snapshots of one operation that are read together, the oldest first.

    `unreadable` has the snapshots that were asked for, but are not among them, by ID, each with the reason.
    `ahead` has the IDs of those that are left out because they are dated in the future.
    """

    snapshots: tuple[Snapshot, ...]
    operation: OperationInfo
    unreadable: Mapping[str, str]
    find_pairs: Callable[[], tuple[Pair, ...]]
    """Return pairs of snapshots of one scope: the one before it at the destination, and a selected one.

    May read the other snapshots first, and then raises what `open_series` raises.
    """
    ahead: tuple[str, ...] = ()


def select_one(
    ref: str | os.PathLike[str], dest: str | os.PathLike[str], settings: Settings | None
) -> Selection:
    """Return the snapshot that `ref` names. Takes and raises what `Snapshot.open` does."""
    in_dest = isinstance(ref, str) and is_looked_up(ref)
    try:
        snapshot = Snapshot.open(ref, dest, settings=settings)
    except SnapshotError:
        if in_dest:
            _check_any(open_series(dest, settings=settings), dest)
        raise

    def find_pairs() -> tuple[Pair, ...]:
        series = open_series(dest if in_dest else home_of(snapshot), settings=settings)
        return tuple(each for each in _pairs(series.snapshots) if each[1].id == snapshot.id)

    return Selection((snapshot,), snapshot.manifest.operation, {}, find_pairs)


def select_all(
    dest: str | os.PathLike[str], settings: Settings | None, *, newer_than: timedelta | None = None
) -> Selection:
    """Return all snapshots at `dest`, or those that ended less than `newer_than` ago.

    Snapshots that are dated in the future are left out, unless there are no others: they would count as the
    newest for years. So are snapshots of other operations than the newest one's, because their columns
    differ.

    Raises `SnapshotError` if there is no snapshot that can be read, and what `open_series` raises.
    """
    series = open_series(dest, settings=settings)
    _check_any(series, dest)
    now = datetime.now(UTC)
    past = [each for each in series.snapshots if not each.info.moment.is_ahead(now)] or series.snapshots
    operation = past[-1].manifest.operation
    since = None if newer_than is None else now - newer_than
    asked = [each for each in past if since is None or each.info.moment.finished >= since]
    others = {
        each.id: (
            f"{each.id} is of {each.manifest.operation.name} and the newest snapshot of {operation.name}:"
            " only those of the newest one's operation are read together"
        )
        for each in asked
        if each.manifest.operation != operation
    }
    chosen = tuple(each for each in asked if each.id not in others)
    ids = {each.id for each in chosen}

    def find_pairs() -> tuple[Pair, ...]:
        return tuple(each for each in _pairs(past) if each[1].id in ids)

    known = {each.id for each in past}
    ahead = tuple(each.id for each in series.snapshots if each.id not in known)
    return Selection(chosen, operation, {**series.unreadable, **others}, find_pairs, ahead)


def _check_any(series: Series, dest: str | os.PathLike[str]) -> None:
    place = os.fspath(dest)
    if series.snapshots:
        return
    if series.unreadable:
        first, why = next(iter(sorted(series.unreadable.items())))
        raise SnapshotError(
            f"None of the {len(series.unreadable):,} snapshots in {place} can be read: {why}. Run"
            f" 'poolcensus verify {first} --dest {shlex.quote(place)}' to see more."
        )
    raise SnapshotError(no_snapshots(place))


def _pairs(snapshots: Iterable[Snapshot]) -> list[Pair]:
    # Only snapshots of one scope are paired. A run over one account between two runs over the organization
    # must not come between these.
    groups: dict[object, list[Snapshot]] = {}
    for each in snapshots:
        groups.setdefault(each.info.group, []).append(each)
    return sorted(
        (pair for some in groups.values() for pair in pairwise(some)),
        key=lambda pair: pair[1].info.moment,
    )


def home_of(snapshot: Snapshot) -> str:
    """Return the destination that a snapshot is in."""
    if snapshot.path is not None:
        return str(snapshot.path.resolve().parent)
    return snapshot.location.rpartition("/")[0]
