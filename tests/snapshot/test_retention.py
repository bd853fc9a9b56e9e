from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolcensus.errors import SettingsError
from poolcensus.format.ids import parse_snapshot_id
from poolcensus.format.times import rfc3339
from poolcensus.model import OperationInfo, Shard, SnapshotStatus
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Scope, SnapshotInfo
from poolcensus.snapshot.retention import Keep, Reason, decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMPLETE, PARTIAL = SnapshotStatus.COMPLETE, SnapshotStatus.PARTIAL
WHOLE, NARROW, ELSEWHERE, PART = (
    Scope("whole", {}),
    Scope("narrow", {"accounts": ["000000000001"]}),
    Scope("elsewhere", {"regions": ["eu-*"]}),
    Scope("part", {}, Shard(1, 2)),
)
# Later than every snapshot of these tests but those that are meant to be from the future.
NOW = datetime(2026, 12, 31, tzinfo=UTC)

Statuses = dict[str, SnapshotStatus]


def ids() -> st.SearchStrategy[str]:
    # Few days and months, so that many share one; the last second of a day and the first of the next too.
    return st.builds(
        lambda month, day, time, tail: f"2026{month:02}{day:02}T{time}Z-{tail:06x}",
        st.integers(1, 4),
        st.integers(1, 5),
        st.sampled_from(["000000", "020000", "235959"]),
        st.integers(0, 2),
    )


STATUSES = st.dictionaries(ids(), st.sampled_from([COMPLETE, PARTIAL]), max_size=30)
COUNTS = st.none() | st.integers(1, 12)
RULES = st.builds(
    lambda rules: Keep(*rules),
    st.tuples(COUNTS, COUNTS, COUNTS).filter(lambda rules: rules != (None, None, None)),
)


def info(
    snapshot_id: str,
    status: SnapshotStatus = COMPLETE,
    scope: Scope = WHOLE,
    *,
    started: datetime | None = None,
    finished: datetime | None = None,
    operation: OperationInfo = WORKSPACES_POOLS.info,
    partition: str = "aws",
) -> SnapshotInfo:
    """A snapshot that ends as soon as it starts, unless something else is said."""
    start = started or parse_snapshot_id(snapshot_id)
    return SnapshotInfo(
        id=snapshot_id,
        status=status,
        started_at=start,
        finished_at=finished or start,
        pools=0,
        targets=1,
        covered=int(status is COMPLETE),
        bytes=0,
        scope=scope,
        failed=int(status is not COMPLETE),
        operation=operation,
        partition=partition,
    )


def infos(statuses: Mapping[str, SnapshotStatus]) -> list[SnapshotInfo]:
    return [info(snapshot_id, status) for snapshot_id, status in statuses.items()]


def kept(snapshots: Iterable[SnapshotInfo], keep: Keep, latest: str | None = None) -> set[str]:
    return {each.snapshot_id for each in decide(snapshots, keep, now=NOW, latest=latest) if each.keep}


def kept_by(snapshots: Iterable[SnapshotInfo], keep: Keep, reason: Reason) -> list[str]:
    return [each.snapshot_id for each in decide(snapshots, keep, now=NOW) if reason in each.reasons]


def all_complete(*snapshot_ids: str) -> list[SnapshotInfo]:
    return infos(dict.fromkeys(snapshot_ids, COMPLETE))


MORNING, NOON, EVENING = (f"20261123T{hour}0000Z-000000" for hour in ("06", "12", "18"))
NEXT_DAY = "20261124T000000Z-000000"
NEXT_MONTH = "20261201T000000Z-000000"
SOME = all_complete(MORNING, NOON, EVENING, NEXT_DAY, NEXT_MONTH)


def test_keep_last_keeps_the_newest() -> None:
    assert kept(SOME, Keep(last=2)) == {NEXT_DAY, NEXT_MONTH}


def test_keep_daily_keeps_the_newest_of_each_day_and_passes_over_days_without_one() -> None:
    assert kept(SOME, Keep(daily=3)) == {EVENING, NEXT_DAY, NEXT_MONTH}


def test_keep_monthly_keeps_the_newest_of_each_month() -> None:
    assert kept(SOME, Keep(monthly=2)) == {NEXT_DAY, NEXT_MONTH}


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 10**30])
def test_a_number_of_any_size_keeps_all(number: int) -> None:
    assert kept(SOME, Keep(last=number)) == {each.id for each in SOME}
    assert kept(SOME, Keep(daily=number)) == {EVENING, NEXT_DAY, NEXT_MONTH}
    assert kept(SOME, Keep(monthly=number)) == {NEXT_DAY, NEXT_MONTH}


def test_the_rules_are_a_union_and_each_gives_its_reason() -> None:
    decisions = decide(SOME, Keep(last=1, daily=3, monthly=2), now=NOW)
    assert [(each.snapshot_id, [*each.reasons]) for each in decisions] == [
        (MORNING, []),
        (NOON, []),
        (EVENING, ["keep-daily"]),
        (NEXT_DAY, ["keep-daily", "keep-monthly"]),
        (NEXT_MONTH, ["keep-last", "keep-daily", "keep-monthly", "newest-complete", "latest"]),
    ]


def test_the_newest_complete_one_outlives_the_partial_ones_after_it() -> None:
    some = [*SOME[:3], info(NEXT_DAY, PARTIAL), info(NEXT_MONTH, PARTIAL)]
    assert kept(some, Keep(last=1)) == {EVENING, NEXT_MONTH}


def test_what_the_destination_calls_its_latest_stays() -> None:
    assert kept(SOME, Keep(last=1), latest=NOON) == {NOON, NEXT_MONTH}
    assert kept(SOME, Keep(last=1), latest="20250101T000000Z-000000") == {NEXT_MONTH}


@pytest.mark.parametrize(
    ("rules", "word"),
    [({}, "Specify at least one"), ({"last": 0}, "last is 0"), ({"last": 1, "daily": -1}, "daily is -1")],
)
def test_rules_that_say_nothing_are_refused(rules: dict[str, int], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        Keep(**rules)


@given(STATUSES, RULES)
def test_every_snapshot_has_one_decision_the_oldest_first(statuses: Statuses, keep: Keep) -> None:
    assert [each.snapshot_id for each in decide(infos(statuses), keep, now=NOW)] == sorted(statuses)


@given(STATUSES, RULES, st.none() | ids())
def test_the_newest_complete_one_and_the_latest_are_never_removed(
    statuses: Statuses, keep: Keep, latest: str | None
) -> None:
    left = kept(infos(statuses), keep, latest)
    complete = [each for each, status in statuses.items() if status is COMPLETE]
    assert set(sorted(complete)[-1:]) <= left
    assert set(sorted(statuses)[-1:]) <= left
    assert ({latest} & statuses.keys()) <= left


@given(STATUSES, RULES, RULES)
def test_a_larger_number_never_removes_more(statuses: Statuses, keep: Keep, more: Keep) -> None:
    larger = Keep(
        *(
            None if a is None and b is None else (a or 0) + (b or 0)
            for a, b in ((keep.last, more.last), (keep.daily, more.daily), (keep.monthly, more.monthly))
        )
    )
    assert kept(infos(statuses), keep) <= kept(infos(statuses), larger)


@given(STATUSES, RULES, st.none() | ids())
def test_pruning_twice_removes_nothing_more(statuses: Statuses, keep: Keep, latest: str | None) -> None:
    left = kept(infos(statuses), keep, latest)
    assert kept(infos({each: statuses[each] for each in left}), keep, latest) == left


@given(STATUSES, RULES, RULES)
def test_several_rules_keep_what_each_of_them_keeps(statuses: Statuses, keep: Keep, other: Keep) -> None:
    for rules in (keep, other):
        single = [
            Keep(last=rules.last) if rules.last else None,
            Keep(daily=rules.daily) if rules.daily else None,
            Keep(monthly=rules.monthly) if rules.monthly else None,
        ]
        some = infos(statuses)
        assert kept(some, rules) == set().union(*(kept(some, each) for each in single if each))


@given(STATUSES, st.integers(1, 12))
def test_each_rule_is_what_its_definition_says(statuses: Statuses, number: int) -> None:
    newest_of: dict[Reason, dict[object, str]] = {Reason.DAILY: {}, Reason.MONTHLY: {}}
    for each in sorted(statuses):
        start: datetime = parse_snapshot_id(each)
        assert start.tzinfo is UTC
        for reason, period in ((Reason.DAILY, start.date()), (Reason.MONTHLY, (start.year, start.month))):
            best = newest_of[reason].get(period)
            if best is None or statuses[each] is COMPLETE or statuses[best] is PARTIAL:
                newest_of[reason][period] = each
    some = infos(statuses)
    assert kept_by(some, Keep(last=number), Reason.LAST) == sorted(statuses)[-number:]
    for reason, keep in ((Reason.DAILY, Keep(daily=number)), (Reason.MONTHLY, Keep(monthly=number))):
        assert kept_by(some, keep, reason) == [*newest_of[reason].values()][-number:]


def test_a_narrow_run_after_a_full_one_takes_nothing_from_it() -> None:
    full, narrow = info(MORNING), info(NOON, scope=NARROW)
    for keep in (Keep(last=1), Keep(daily=1), Keep(monthly=1)):
        assert kept([full, narrow], keep) == {MORNING, NOON}


@pytest.mark.parametrize(
    "other",
    [
        info(MORNING, operation=OperationInfo("workspaces:DescribeOthers", "pool", "pools", "PoolId")),
        info(MORNING, partition="aws-us-gov"),
    ],
)
def test_a_rule_compares_snapshots_of_one_operation_and_partition(other: SnapshotInfo) -> None:
    for keep in (Keep(last=1), Keep(daily=1), Keep(monthly=1)):
        assert kept([other, info(NOON)], keep) == {MORNING, NOON}


@pytest.mark.parametrize("keep", [Keep(daily=1), Keep(monthly=1)])
def test_of_a_day_or_a_month_a_complete_one_goes_before_a_later_partial_one(keep: Keep) -> None:
    some = [info(MORNING), info(NOON), info(EVENING, PARTIAL), info(NEXT_MONTH, scope=NARROW)]
    assert kept(some, keep) == {NOON, NEXT_MONTH}
    # Where none is complete, the newest will do.
    some = [info(MORNING, PARTIAL), info(NOON, PARTIAL), info(NEXT_MONTH, scope=NARROW)]
    assert kept(some, keep) == {NOON, NEXT_MONTH}


def test_the_day_is_that_of_the_start_and_the_order_that_of_the_end() -> None:
    nightly = info(EVENING, finished=parse_snapshot_id(NEXT_DAY) + timedelta(hours=1))
    resumed = info(NOON, finished=parse_snapshot_id(NEXT_DAY) + timedelta(hours=2))
    assert kept([nightly, resumed], Keep(last=1)) == {NOON}
    assert kept_by([info(MORNING), nightly, resumed, info(NEXT_DAY)], Keep(daily=2), Reason.DAILY) == [
        NEXT_DAY,
        NOON,
    ]


@pytest.mark.parametrize("keep", [Keep(last=1), Keep(daily=1), Keep(monthly=1)])
def test_one_from_the_future_is_neither_removed_nor_counted(keep: Keep) -> None:
    tomorrow = info((NOW + timedelta(days=1)).strftime("%Y%m%dT%H%M%SZ-000000"))
    # The clock was put right, or went wrong, while these ran.
    by_its_id = info(tomorrow.id[:-1] + "1", started=NOW - timedelta(hours=1), finished=NOW)
    by_its_end = info(MORNING[:-1] + "1", finished=NOW + timedelta(days=1))
    some = [*SOME, tomorrow, by_its_id, by_its_end]
    decisions = {
        each.snapshot_id: [*each.reasons] for each in decide(some, keep, now=NOW, latest=tomorrow.id)
    }
    for each in (tomorrow, by_its_id, by_its_end):
        assert decisions.pop(each.id) == ["future"]
    assert decisions == {each.snapshot_id: [*each.reasons] for each in decide(SOME, keep, now=NOW)}


def test_a_clock_that_is_a_little_ahead_is_no_future() -> None:
    soon = info((NOW + timedelta(minutes=4)).strftime("%Y%m%dT%H%M%SZ-000000"))
    assert kept([*SOME, soon], Keep(last=1)) == {soon.id}


# A year takes 20 ms to make. How fast inputs come is a matter of the machine.
unhurried = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def years(draw: st.DrawFn) -> list[SnapshotInfo]:
    """A year of snapshots, of mixed scope and health; some clocks were wrong, before or during the run."""
    made: dict[str, SnapshotInfo] = {}
    wrong = st.sampled_from([0.0] * 6 + [-400.0, -1.0, 0.5, 1.0, 400.0])
    for _ in range(draw(st.integers(0, 24))):
        begun = NOW - timedelta(days=draw(st.integers(1, 365)), seconds=draw(st.integers(-7200, 7200)))
        ended = begun + timedelta(seconds=draw(st.integers(0, 100_000)))
        at_start, at_end = (timedelta(days=draw(wrong)) for _ in range(2))
        start = (begun + at_start).replace(microsecond=0)
        snapshot_id = f"{start:%Y%m%dT%H%M%SZ}-{draw(st.integers(0, 0xFFFFFF)):06x}"
        made[snapshot_id] = info(
            snapshot_id,
            draw(st.sampled_from([COMPLETE, PARTIAL])),
            draw(st.sampled_from([WHOLE, NARROW, ELSEWHERE, PART])),
            started=start,
            finished=ended + draw(st.sampled_from([at_start, at_end])),
        )
    return draw(st.permutations([*made.values()]))


def end(snapshot: SnapshotInfo) -> datetime:
    return snapshot.finished_at


def is_ahead(snapshot: SnapshotInfo) -> bool:
    times = (parse_snapshot_id(snapshot.id), snapshot.started_at, end(snapshot))
    return max(times) > NOW + timedelta(minutes=5)


@unhurried
@given(years(), RULES, st.integers(0, 23))
def test_no_rule_removes_the_last_complete_snapshot_of_a_scope_or_one_from_the_future(
    year: list[SnapshotInfo], keep: Keep, linked: int
) -> None:
    latest = year[linked].id if linked < len(year) else None
    left = kept(year, keep, latest)
    past = [each for each in year if not is_ahead(each)]
    assert {each.id for each in year if is_ahead(each)} <= left
    assert kept(past, keep, latest) == left & {each.id for each in past}
    for scope in (WHOLE, NARROW, ELSEWHERE, PART):
        alike = [each for each in past if each.scope == scope]
        complete = [each for each in alike if each.status is COMPLETE]
        assert not alike or left & {each.id for each in alike}
        assert not complete or max(complete, key=end).id in left


@unhurried
@given(years(), RULES)
def test_a_partial_one_is_kept_for_a_day_or_a_month_only_where_none_is_complete(
    year: list[SnapshotInfo], keep: Keep
) -> None:
    by_id = {each.id: each for each in year}
    for decision in decide(year, keep, now=NOW):
        found = by_id[decision.snapshot_id]
        for reason, length in ((Reason.DAILY, len("2026-11-23")), (Reason.MONTHLY, len("2026-11"))):
            if reason in decision.reasons and found.status is PARTIAL:
                assert not [
                    each
                    for each in year
                    if (each.scope, each.status) == (found.scope, COMPLETE)
                    and rfc3339(each.started_at)[:length] == rfc3339(found.started_at)[:length]
                    and not is_ahead(each)
                ]


@unhurried
@given(years(), RULES, st.data())
def test_what_is_kept_does_not_depend_on_the_ids(
    year: list[SnapshotInfo], keep: Keep, data: st.DataObject
) -> None:
    past = [each for each in year if not is_ahead(each)]
    # Ids break a tie, and nothing else.
    past = [*{each.finished_at: each for each in past}.values()]
    new_ids = data.draw(st.permutations([each.id for each in past]))
    renamed = [replace(each, id=new_id) for each, new_id in zip(past, new_ids, strict=True)]
    name_of = dict(zip([each.id for each in past], new_ids, strict=True))
    assert {name_of[each] for each in kept(past, keep)} == kept(renamed, keep)
