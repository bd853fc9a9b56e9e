from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.model import Shard, SnapshotStatus
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Scope, SnapshotInfo
from poolcensus.snapshot.latest import LatestSearch
from poolcensus.snapshot.order import AHEAD, moment_of

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = datetime(2026, 12, 31, tzinfo=UTC)
NIGHTLY = 365


def name(start: datetime, tail: int = 0) -> str:
    return f"{start:%Y%m%dT%H%M%SZ}-{tail:06x}"


def info(snapshot_id: str, finished: datetime, shard: Shard | None = None) -> SnapshotInfo:
    started = moment_of(snapshot_id).started
    complete, scope, operation = SnapshotStatus.COMPLETE, Scope("", {}, shard), WORKSPACES_POOLS.info
    return SnapshotInfo(
        snapshot_id, complete, started, finished, 0, 0, 0, 0, scope, 0, operation, partition="aws"
    )


def searched(
    there: Mapping[str, SnapshotInfo | None], named: str | None = None
) -> tuple[str | None, list[str]]:
    """What is found to be the newest, and what was read for it."""
    search, read = LatestSearch(there, named, NOW), list[str]()
    while snapshot_ids := search.next():
        read += snapshot_ids
        for snapshot_id in snapshot_ids:
            search.take(snapshot_id, there[snapshot_id])
    return search.newest, read


def year() -> dict[str, SnapshotInfo | None]:
    starts = [NOW - timedelta(days=days, hours=2) for days in range(NIGHTLY)]
    return {name(start): info(name(start), start + timedelta(minutes=5)) for start in starts}


def test_the_order_is_by_the_end_then_by_the_start_then_by_the_id() -> None:
    first, second = "20261123T020000Z-ffffff", "20261123T020000Z-000000"
    at = [datetime(2026, 11, 23, 2, 0, second, tzinfo=UTC) for second in range(3)]
    assert moment_of(first, at[0], at[1]) < moment_of(second, at[0], at[2])
    assert moment_of(first, at[0], at[2]) < moment_of(second, at[1], at[2])
    assert moment_of(second, at[0], at[1]) < moment_of(first, at[0], at[1])


def test_of_two_that_end_at_once_a_shard_comes_before_what_is_whole() -> None:
    # As a merged snapshot does, which begins with the first of its shards.
    first, second = "20261123T020000Z-000000", "20261123T020000Z-ffffff"
    at = [datetime(2026, 11, 23, 2, 0, second, tzinfo=UTC) for second in range(3)]
    assert moment_of(second, at[1], at[2], shard=Shard(2, 2)) < moment_of(first, at[0], at[2])
    assert moment_of(first, at[0], at[1]) < moment_of(second, at[0], at[2], shard=Shard(2, 2))


def test_a_time_that_is_not_known_is_that_of_the_id() -> None:
    moment = moment_of("20261123T020000Z-000000")
    assert moment.finished == moment.started == datetime(2026, 11, 23, 2, tzinfo=UTC)


def test_only_what_is_well_ahead_is_from_the_future() -> None:
    for part in range(3):
        for ahead, expected in ((AHEAD, False), (AHEAD + timedelta(seconds=1), True)):
            times = [NOW - timedelta(days=1)] * 3
            times[part] = NOW + ahead
            moment = moment_of(name(times[0]), *times[1:])
            assert moment.is_ahead(NOW) is expected


@pytest.mark.parametrize("linked", [True, False])
def test_of_a_year_of_nightly_snapshots_a_few_are_read(linked: bool) -> None:
    there = year()
    newest, read = searched(there, max(there) if linked else None)
    assert newest == max(there)
    assert len(read) <= 4
    assert len(read) == len({*read})


def test_ids_from_the_future_are_passed_over_unread() -> None:
    there = year()
    newest = max(there)
    ahead = {name(NOW + timedelta(days=days)): None for days in range(1, 100)}
    assert searched({**there, **ahead}, min(ahead)) == searched(there)
    assert searched(there)[0] == newest
    assert searched(ahead, min(ahead)) == (None, [])


def test_what_latest_names_is_read_however_old_its_id_is() -> None:
    # The clock of a machine that has just been started, put right while the run went on.
    old = name(datetime(1970, 1, 1, tzinfo=UTC))
    there = {**year(), old: info(old, NOW)}
    newest, read = searched(there, old)
    assert newest == old
    assert len(read) <= 4


def test_what_cannot_be_read_has_the_place_of_its_id() -> None:
    unreadable = name(NOW - timedelta(hours=1))
    assert searched({**year(), unreadable: None})[0] == unreadable
    older = name(NOW - timedelta(days=1))
    assert searched({**year(), older: None})[0] == max(year())


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 3),
            st.floats(0, 47.9),
            st.sampled_from([True] * 5 + [False]),
            st.sampled_from([None, Shard(1, 2)]),
        ),
        max_size=30,
    ),
    st.integers(0, 60),
)
def test_the_search_finds_what_reading_them_all_would(
    runs: list[tuple[int, int, float, bool, Shard | None]], named: int
) -> None:
    there: dict[str, SnapshotInfo | None] = {}
    for hours, tail, took, readable, shard in runs:
        start = NOW - timedelta(hours=hours - 48)
        snapshot_id = name(start, tail)
        there[snapshot_id] = info(snapshot_id, start + timedelta(hours=took), shard) if readable else None
    moments = [moment_of(each) if found is None else found.moment for each, found in there.items()]
    past = [each for each in moments if not each.is_ahead(NOW)]
    expected = max(past).id if past else None
    assert searched(there, [*there, None][min(named, len(there))])[0] == expected


@given(st.data(), st.integers(1, 5))
def test_what_shards_are_joined_to_is_newer_than_each_of_them(data: st.DataObject, count: int) -> None:
    starts = data.draw(st.lists(st.integers(0, 6), min_size=count, max_size=count))
    took = data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    tails = data.draw(st.permutations(range(count + 1)))
    began = [NOW - timedelta(hours=24 - hours) for hours in starts]
    ended = [start + timedelta(hours=hours) for start, hours in zip(began, took, strict=True)]
    there: dict[str, SnapshotInfo | None] = {}
    for index in range(count):
        snapshot_id = name(began[index], tails[index])
        there[snapshot_id] = info(snapshot_id, ended[index], Shard(index + 1, count))
    merged = name(min(began), tails[count])
    there[merged] = info(merged, max(ended))
    for named in (None, max(there), merged):
        assert searched(there, named)[0] == merged


def test_an_id_of_the_first_day_of_all_is_an_id() -> None:
    first = name(datetime(1, 1, 1, tzinfo=UTC)).rjust(len("20261123T020000Z-000000"), "0")
    assert searched({first: None})[0] == first
    assert searched({**year(), first: None}, first)[0] == max(year())
