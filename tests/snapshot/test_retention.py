from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.errors import SettingsError
from poolcensus.model import SnapshotStatus
from poolcensus.snapshot import Keep, Reason, decide, parse_snapshot_id

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPLETE, PARTIAL = SnapshotStatus.COMPLETE, SnapshotStatus.PARTIAL

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


def kept(statuses: Mapping[str, SnapshotStatus], keep: Keep, latest: str | None = None) -> set[str]:
    return {each.snapshot_id for each in decide(statuses, keep, latest) if each.keep}


def kept_by(statuses: Mapping[str, SnapshotStatus], keep: Keep, reason: Reason) -> list[str]:
    return [each.snapshot_id for each in decide(statuses, keep) if reason in each.reasons]


def all_complete(*snapshot_ids: str) -> Statuses:
    return dict.fromkeys(snapshot_ids, COMPLETE)


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


def test_the_rules_are_a_union_and_each_gives_its_reason() -> None:
    decisions = decide(SOME, Keep(last=1, daily=3, monthly=2))
    assert [(each.snapshot_id, [*each.reasons]) for each in decisions] == [
        (MORNING, []),
        (NOON, []),
        (EVENING, ["keep-daily"]),
        (NEXT_DAY, ["keep-daily", "keep-monthly"]),
        (NEXT_MONTH, ["keep-last", "keep-daily", "keep-monthly", "newest-complete"]),
    ]


def test_the_newest_complete_one_outlives_the_partial_ones_after_it() -> None:
    statuses = {**SOME, NEXT_DAY: PARTIAL, NEXT_MONTH: PARTIAL}
    assert kept(statuses, Keep(last=1)) == {EVENING, NEXT_MONTH}


def test_what_the_destination_calls_its_latest_stays() -> None:
    assert kept(SOME, Keep(last=1), latest=NOON) == {NOON, NEXT_MONTH}
    assert kept(SOME, Keep(last=1), latest="20250101T000000Z-000000") == {NEXT_MONTH}


@pytest.mark.parametrize(
    ("rules", "word"),
    [({}, "nothing says"), ({"last": 0}, "last is 0"), ({"last": 1, "daily": -1}, "daily is -1")],
)
def test_rules_that_say_nothing_are_refused(rules: dict[str, int], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        Keep(**rules)


@given(STATUSES, RULES)
def test_every_snapshot_has_one_decision_the_oldest_first(statuses: Statuses, keep: Keep) -> None:
    assert [each.snapshot_id for each in decide(statuses, keep)] == sorted(statuses)


@given(STATUSES, RULES, st.none() | ids())
def test_the_newest_complete_one_and_the_latest_are_never_removed(
    statuses: Statuses, keep: Keep, latest: str | None
) -> None:
    left = kept(statuses, keep, latest)
    complete = [each for each, status in statuses.items() if status is COMPLETE]
    assert set(sorted(complete)[-1:]) <= left
    assert ({latest} & statuses.keys()) <= left


@given(STATUSES, RULES, RULES)
def test_a_larger_number_never_removes_more(statuses: Statuses, keep: Keep, more: Keep) -> None:
    larger = Keep(
        *(
            None if a is None and b is None else (a or 0) + (b or 0)
            for a, b in ((keep.last, more.last), (keep.daily, more.daily), (keep.monthly, more.monthly))
        )
    )
    assert kept(statuses, keep) <= kept(statuses, larger)


@given(STATUSES, RULES, st.none() | ids())
def test_pruning_twice_removes_nothing_more(statuses: Statuses, keep: Keep, latest: str | None) -> None:
    left = kept(statuses, keep, latest)
    assert kept({each: statuses[each] for each in left}, keep, latest) == left


@given(STATUSES, RULES, RULES)
def test_several_rules_keep_what_each_of_them_keeps(statuses: Statuses, keep: Keep, other: Keep) -> None:
    for rules in (keep, other):
        single = [
            Keep(last=rules.last) if rules.last else None,
            Keep(daily=rules.daily) if rules.daily else None,
            Keep(monthly=rules.monthly) if rules.monthly else None,
        ]
        assert kept(statuses, rules) == set().union(*(kept(statuses, each) for each in single if each))


@given(STATUSES, st.integers(1, 12))
def test_each_rule_is_what_its_definition_says(statuses: Statuses, number: int) -> None:
    newest_of: dict[Reason, dict[object, str]] = {Reason.DAILY: {}, Reason.MONTHLY: {}}
    for each in sorted(statuses):
        start: datetime = parse_snapshot_id(each)
        assert start.tzinfo is UTC
        newest_of[Reason.DAILY][start.date()] = each
        newest_of[Reason.MONTHLY][start.year, start.month] = each
    assert kept_by(statuses, Keep(last=number), Reason.LAST) == sorted(statuses)[-number:]
    for reason, keep in ((Reason.DAILY, Keep(daily=number)), (Reason.MONTHLY, Keep(monthly=number))):
        assert kept_by(statuses, keep, reason) == [*newest_of[reason].values()][-number:]
