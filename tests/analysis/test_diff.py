"""The differences between two known snapshots: what is called added, removed, changed, and unknown."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from analysis.two_snapshots import A_ID, B_ID, LATER, MANIFEST, Content, changes, key, pool, two, write
from poolcensus.analysis.changes import (
    Change,
    ChangeKind,
    Statistics,
    change_object,
    statistics_object,
)
from poolcensus.analysis.diff import diff
from poolcensus.errors import IncomparableSnapshotsError, SnapshotError
from poolcensus.model import Caller, KnownGap, Outcome, Shard, SkippedAccount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from poolcensus.model import JsonObject, JsonValue, Manifest

UNCOVERED = [each for each in Outcome if not each.covered]
CLOSED = [Outcome.NOT_ENTITLED, Outcome.REGION_DISABLED, Outcome.REGION_UNSUPPORTED]


def test_two_known_snapshots_with_refused_accounts_between_them(tmp_path: Path) -> None:
    kept, gone, new = pool(1, State="RUNNING"), pool(2), pool(3)
    found = diff(
        *two(
            tmp_path,
            {
                key(1, "us-east-1"): [kept, gone],
                key(1, "eu-west-1"): [pool(1)],
                key(2): [pool(4), pool(5)],
                key(3): Outcome.THROTTLED,
                key(4): Outcome.EMPTY,
                key(5): [pool(6)],
            },
            {
                key(5): Outcome.NOT_ENTITLED,
                key(4): [pool(7)],
                key(3): [pool(8)],
                key(2): Outcome.ASSUME_ROLE_FAILED,
                key(1, "eu-west-1"): [pool(1)],
                key(1, "us-east-1"): [new, {**kept, "State": "STOPPED"}],
            },
        )
    )
    one = ("000000000001", "acct-1", "us-east-1")
    assert [*found] == [
        Change(
            ChangeKind.CHANGED,
            *one,
            "wspool-000000001",
            {"State": ("RUNNING", "STOPPED")},
            pool=pool(1, State="STOPPED"),
        ),
        Change(ChangeKind.REMOVED, *one, "wspool-000000002", pool=gone),
        Change(ChangeKind.ADDED, *one, "wspool-000000003", pool=new),
        unknown(2, "assume_role_failed in B", (2, None)),
        unknown(3, "throttled in A", (None, 1)),
        Change(ChangeKind.ADDED, "000000000004", "acct-4", "us-east-1", "wspool-000000007", pool=pool(7)),
        unknown(5, "not_entitled in B", (1, None)),
    ]
    assert found.statistics == Statistics(A_ID, B_ID, added=2, removed=1, changed=1, unknown=3, unchanged=1)


def unknown(account: int, reason: str, pools: tuple[int | None, int | None]) -> Change:
    return Change(
        ChangeKind.UNKNOWN, f"{account:012}", f"acct-{account}", "us-east-1", reason=reason, pools=pools
    )


def test_the_lines_for_programs(tmp_path: Path) -> None:
    a: Content = {key(1): [pool(1, State="RUNNING"), pool(2)], key(2): [pool(3)]}
    b: Content = {key(1): [pool(1, State="STOPPED")], key(2): Outcome.ACCESS_DENIED}
    found = diff(*two(tmp_path, a, b))
    place: JsonObject = {"account_id": "000000000001", "account_name": "acct-1", "region": "us-east-1"}
    assert [*map(change_object, found)] == [
        {
            "change": "changed",
            **place,
            "pool_id": "wspool-000000001",
            "fields": {"State": ["RUNNING", "STOPPED"]},
        },
        {"change": "removed", **place, "pool_id": "wspool-000000002", "pool": pool(2)},
        {
            "change": "unknown",
            "account_id": "000000000002",
            "account_name": "acct-2",
            "region": "us-east-1",
            "pool_id": None,
            "reason": "access_denied in B",
            "pools": [1, None],
        },
    ]
    assert statistics_object(found.statistics) == {
        "change": "statistics",
        "a": A_ID,
        "b": B_ID,
        "added": 0,
        "removed": 1,
        "changed": 1,
        "unknown": 1,
        "unchanged": 0,
        "expected": 0,
    }


@pytest.mark.parametrize("expected_by", [(), (A_ID,), (B_ID,), (A_ID, B_ID)])
def test_a_known_gap_of_both_is_unknown_and_no_difference(
    tmp_path: Path, expected_by: tuple[str, ...]
) -> None:
    gap = KnownGap(("000000000001",), ("eu-*",), (Outcome.SCP_DENIED,), targets=1)
    content: Content = {
        key(1, "eu-west-1"): Outcome.SCP_DENIED,
        key(1, "us-east-1"): Outcome.SCP_DENIED,
        key(2): [pool(1)],
    }
    a, b = (
        write(
            tmp_path,
            content,
            replace(MANIFEST, snapshot_id=each, known_gaps=(gap,) if each in expected_by else ()),
        )
        for each in (A_ID, B_ID)
    )
    found = diff(a, b)
    unknown = {each.region: each.is_expected for each in found}
    in_both = len(expected_by) == 2
    assert unknown == {"eu-west-1": in_both, "us-east-1": False}
    assert (found.statistics.unknown, found.statistics.expected) == (2, int(in_both))
    assert found.statistics.found == 2 - in_both


def test_only_what_both_cover_is_called_added_or_removed(tmp_path: Path) -> None:
    pairs = dict(enumerate(product(Outcome, Outcome), 1))
    found = changes(
        tmp_path,
        {key(account): [pool(2 * account)] if a is Outcome.OK else a for account, (a, _) in pairs.items()},
        {
            key(account): [pool(2 * account + 1)] if b is Outcome.OK else b
            for account, (_, b) in pairs.items()
        },
    )
    wrong = []
    for account, (a, b) in pairs.items():
        # What is closed to an account, or disabled, looks like what is empty.
        if not (a.covered and b.covered) or (a is Outcome.OK and b in CLOSED):
            expected = [ChangeKind.UNKNOWN]
        else:
            expected = [ChangeKind.REMOVED] if a is Outcome.OK else []
            expected += [ChangeKind.ADDED] if b is Outcome.OK else []
        kinds = [each.kind for each in found if int(each.account_id) == account]
        if kinds != expected:
            wrong.append((a, b, kinds))
    assert not wrong


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ([pool(1)], None, "not in B's ledger"),
        (None, [pool(1)], "not in A's ledger"),
        (Outcome.EXPIRED, None, "expired in A, not in B's ledger"),
        (None, Outcome.EXPIRED, "not in A's ledger, expired in B"),
        (Outcome.EXPIRED, Outcome.EXPIRED, "expired in A and B"),
        (Outcome.EXPIRED, Outcome.ERROR, "expired in A, error in B"),
        (Outcome.EXPIRED, Outcome.NOT_ENTITLED, "expired in A"),
    ],
)
def test_a_reason_names_each_snapshot_that_does_not_know(
    tmp_path: Path,
    a: list[JsonObject] | Outcome | None,
    b: list[JsonObject] | Outcome | None,
    reason: str,
) -> None:
    other = {key(9): Outcome.EMPTY}
    found = changes(
        tmp_path,
        other if a is None else {**other, key(1): a},
        other if b is None else {**other, key(1): b},
    )
    assert [(each.kind, each.reason) for each in found] == [(ChangeKind.UNKNOWN, reason)]


@pytest.mark.parametrize("outcome", [Outcome.EMPTY, *CLOSED])
@pytest.mark.parametrize("absent_from", ["A", "B"])
def test_a_target_without_pools_that_one_ledger_lacks_is_not_worth_a_line(
    tmp_path: Path, outcome: Outcome, absent_from: str
) -> None:
    without: Content = {key(9): Outcome.EMPTY}
    having = {**without, key(1): outcome}
    a, b = (without, having) if absent_from == "A" else (having, without)
    assert not changes(tmp_path, a, b)


def test_a_skipped_account_is_unknown_with_the_reason(tmp_path: Path) -> None:
    skipped = (SkippedAccount(key(1)[0], "acct-1", "SUSPENDED"),)
    a = write(tmp_path, {key(1): [pool(1)], key(2): []})
    b = write(tmp_path, {key(2): []}, replace(LATER, accounts_skipped=skipped))
    assert [each.reason for each in diff(a, b)] == ["not in B's ledger (account skipped: SUSPENDED)"]
    assert [each.reason for each in diff(b, a)] == ["not in A's ledger (account skipped: SUSPENDED)"]


def test_a_renamed_account_is_the_same_account(tmp_path: Path) -> None:
    a = write(tmp_path, {key(1): [pool(1)], key(2): [pool(1)]}, named=lambda _: "old")
    b = write(
        tmp_path,
        {key(1): [pool(2)], key(2): [pool(1)]},
        LATER,
        named=lambda each: "new" if each == key(1)[0] else None,
    )
    assert [(each.kind.value, each.account_name) for each in diff(a, b)] == [
        ("removed", "new"),
        ("added", "new"),
    ]


def test_equal_ids_in_other_accounts_and_regions_are_other_pools(tmp_path: Path) -> None:
    found = changes(
        tmp_path,
        {key(1): [pool(1)], key(1, "eu-west-1"): [], key(2): []},
        {key(1): [], key(1, "eu-west-1"): [pool(1)], key(2): [pool(1)]},
    )
    assert [(each.kind.value, each.account_id[-1], each.region) for each in found] == [
        ("added", "1", "eu-west-1"),
        ("removed", "1", "us-east-1"),
        ("added", "2", "us-east-1"),
    ]


BIG = 2**70


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ({"X": {"a": 1, "b": [2]}}, {"X": {"b": [2], "a": 1}}, {}),
        ({"X": None}, {}, {}),
        ({}, {"X": None}, {}),
        ({"X": 1}, {}, {"X": (1, None)}),
        ({}, {"X": ""}, {"X": (None, "")}),
        ({"X": 1}, {"X": True}, {"X": (1, True)}),
        ({"X": [0, {"y": False}]}, {"X": [0, {"y": 0}]}, {"X": ([0, {"y": False}], [0, {"y": 0}])}),
        ({"X": {"a": None}}, {"X": {}}, {"X": ({"a": None}, {})}),
        ({"X": [1]}, {"X": [1, 2]}, {"X": ([1], [1, 2])}),
        ({"X": BIG}, {"X": BIG + 1}, {"X": (BIG, BIG + 1)}),
        ({"X": "\ud800"}, {"X": "\udc00"}, {"X": ("\ud800", "\udc00")}),
        ({"B": 1, "A": 1}, {"A": 2, "B": 2}, {"A": (1, 2), "B": (1, 2)}),
        ({"CapacityStatus": {"ActiveUserSessions": 1}}, {"CapacityStatus": None}, {}),
    ],
)
def test_fields_are_compared_as_json(
    tmp_path: Path,
    before: JsonObject,
    after: JsonObject,
    fields: Mapping[str, tuple[JsonValue, JsonValue]],
) -> None:
    a, b = two(tmp_path, {key(1): [pool(1, **before)]}, {key(1): [pool(1, **after)]})
    found = diff(a, b)
    assert [repr(each.fields) for each in found] == ([repr(fields)] if fields else [])
    assert found.statistics.unchanged == (0 if fields else 1)


def test_ignored_fields_are_those_that_are_named(tmp_path: Path) -> None:
    a, b = two(
        tmp_path,
        {key(1): [pool(1, State="A", CapacityStatus={"x": 1}, PoolName="p")]},
        {key(1): [pool(1, State="B", CapacityStatus={"x": 2}, PoolName="q")]},
    )
    for ignored, named in (
        ([], ["CapacityStatus", "PoolName", "State"]),
        (["CapacityStatus"], ["PoolName", "State"]),
        (["State", "NoSuchField"], ["CapacityStatus", "PoolName"]),
    ):
        (change,) = diff(a, b, ignore=ignored)
        assert [*change.fields] == named
    assert not [*diff(a, b, ignore=["State", "CapacityStatus", "PoolName"])]


def test_a_snapshot_does_not_differ_from_itself(tmp_path: Path) -> None:
    a = write(tmp_path, {key(1): [pool(1), pool(2)], key(2): Outcome.EMPTY})
    found = diff(a, a)
    assert not [*found]
    assert found.statistics == Statistics(A_ID, A_ID, unchanged=2)
    assert found.warnings == ()


def test_a_difference_can_be_read_twice_and_left_early(tmp_path: Path) -> None:
    found = diff(*two(tmp_path, {key(1): [pool(1)]}, {key(1): [pool(2)]}))
    with pytest.raises(RuntimeError, match="once an iteration has ended"):
        _ = found.statistics
    for _ in found:
        break
    with pytest.raises(RuntimeError):
        _ = found.statistics
    assert [*found] == [*found]
    assert found.statistics.added == 1


def test_nothing_is_read_before_the_iteration(tmp_path: Path) -> None:
    a, b = two(tmp_path, {key(1): [pool(1)]}, {key(1): [pool(1)]})
    (tmp_path / A_ID / "targets.ndjson").unlink()
    found = diff(a, b)
    with pytest.raises(SnapshotError, match="missing"):
        next(iter(found))


@pytest.mark.parametrize(
    ("outcome", "says", "ends"),
    [
        (
            Outcome.NOT_ENTITLED,
            "In B, WorkSpaces Pools is closed to 6 accounts in which A saw 7 pools: ",
            "A closed service lists no pools; whether these are gone is unknown.",
        ),
        (
            Outcome.REGION_DISABLED,
            "In B, regions are disabled in 6 accounts where A saw 7 pools: ",
            "A disabled region keeps its resources, and AWS goes on to charge for them.",
        ),
        (
            Outcome.REGION_UNSUPPORTED,
            "In B, regions no longer offer WorkSpaces Pools to 6 accounts in which A saw 7 pools: ",
            "Whether the pools are gone is unknown.",
        ),
    ],
)
def test_pools_that_can_no_longer_be_listed_are_a_warning(
    tmp_path: Path, outcome: Outcome, says: str, ends: str
) -> None:
    targets = [key(1), key(1, "eu-west-1"), *map(key, range(2, 7))]
    a = {each: [pool(1)] for each in targets}
    found = diff(*two(tmp_path, a, dict.fromkeys(targets, outcome)))
    assert {each.kind for each in found} == {ChangeKind.UNKNOWN}
    (warning,) = found.warnings
    assert warning.startswith(says)
    assert "000000000001 acct-1 (2 regions), 000000000002 acct-2 (us-east-1)" in warning
    assert f"and 1 more. {ends}" in warning


def test_what_was_closed_before_is_no_warning(tmp_path: Path) -> None:
    found = diff(*two(tmp_path, {key(1): Outcome.NOT_ENTITLED}, {key(1): Outcome.NOT_ENTITLED}))
    assert [*found] == []
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("a", "b", "warning"),
    [
        (LATER, MANIFEST, f"A ({B_ID}) is newer than B ({A_ID})"),
        (MANIFEST, replace(LATER, organization_id="o-other"), "A of o-exampleorgid and B of o-other"),
        (
            MANIFEST,
            replace(LATER, request={"accounts": ["000000000001"]}),
            "A covers the whole organization, B covers 1 account:",
        ),
        (
            replace(MANIFEST, request={"accounts": ["000000000002"]}),
            replace(LATER, request={"accounts": ["000000000001"]}),
            "Both snapshots cover 1 account, but they differ in accounts",
        ),
        (replace(MANIFEST, shard=Shard(1, 4)), replace(LATER, shard=Shard(2, 4)), "A covers shard 1/4, B"),
    ],
)
def test_manifests_that_differ_are_a_warning(tmp_path: Path, a: Manifest, b: Manifest, warning: str) -> None:
    content = {key(1): [pool(1)]}
    (said,) = diff(write(tmp_path, content, a), write(tmp_path, content, b)).warnings
    assert warning in said


@pytest.mark.parametrize(
    ("a", "says"),
    [
        ({}, f"A ({A_ID}) has no targets"),
        ({key(1): Outcome.ERROR}, f"A ({A_ID}) does not cover its only target: nothing can be compared."),
        ({key(1): Outcome.ERROR, key(2): Outcome.ERROR}, f"A ({A_ID}) covers none of its 2 targets"),
    ],
)
def test_a_snapshot_that_covers_nothing_is_a_warning(
    tmp_path: Path, a: dict[tuple[str, str], Outcome], says: str
) -> None:
    found = diff(*two(tmp_path, a, {key(1): [pool(1)]}))
    assert {each.kind for each in found} == {ChangeKind.UNKNOWN}
    (warning,) = found.warnings
    assert says in warning


PAPERS = replace(MANIFEST.operation, name="drawers:ListPapers")
FILTER: JsonValue = {"name": "PoolName", "operator": "EQUALS", "values": ["a", "b"]}
SAME_FILTER: JsonValue = {"name": "PoolName", "operator": "EQUALS", "values": ["b", "a"]}


@pytest.mark.parametrize(
    ("b", "reason"),
    [
        (replace(LATER, operation=PAPERS), "different operations"),
        (replace(LATER, caller=Caller("1", "arn", "aws-us-gov")), "different partitions"),
        (replace(LATER, request={"pool_ids": ["wspool-000000001"]}), "different pools by `pool_ids`:"),
        (
            replace(LATER, request={"filters": [FILTER], "pool_ids": ["wspool-000000001"]}),
            "different pools by `filters` and `pool_ids`:",
        ),
    ],
)
def test_snapshots_of_different_things_are_refused(tmp_path: Path, b: Manifest, reason: str) -> None:
    with pytest.raises(IncomparableSnapshotsError, match=reason):
        diff(write(tmp_path, {key(1): []}), write(tmp_path, {key(1): []}, b))


def test_snapshots_that_were_asked_for_the_same_pools_are_compared(tmp_path: Path) -> None:
    a = write(tmp_path, {key(1): [pool(1)]}, replace(MANIFEST, request={"filters": [FILTER]}))
    b = write(tmp_path, {key(1): []}, replace(LATER, request={"filters": [SAME_FILTER]}))
    assert [each.kind for each in diff(a, b)] == [ChangeKind.REMOVED]
