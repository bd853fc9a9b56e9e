"""How long a plan says that a run may take, and what it says decides that."""

from __future__ import annotations

import pytest

from poolcensus.scope.estimate import LastRun, Limits, estimate

POOLS = "workspaces:DescribeWorkspacesPools"
LIMITS = Limits(concurrency=256, per_region=64, regions=15)


@pytest.mark.parametrize(
    ("calls", "limits", "bound_by", "least", "most"),
    [
        # 500 pages of a listing take 50 to 100 s, 10,000 roles at least 17 s, and 5 region lists a second go.
        (
            {"organizations:ListAccounts": 500, "sts:AssumeRole": 10_000},
            LIMITS,
            "organizations:ListAccounts",
            50,
            100,
        ),
        ({"organizations:ListAccounts": 1, "sts:AssumeRole": 10_000}, LIMITS, "sts:AssumeRole", 16, 17),
        (
            {"sts:AssumeRole": 1000, "account:ListRegions": 1000},
            Limits(256, 64, 15, one_account=True),
            "account:ListRegions",
            200,
            200,
        ),
        ({"sts:AssumeRole": 1000, "account:ListRegions": 1000}, LIMITS, "sts:AssumeRole", 1, 2),
        ({"sts:AssumeRole": 10, POOLS: 100_000}, LIMITS, POOLS, 50, 70),
        ({"sts:AssumeRole": 10, POOLS: 100_000}, Limits(256, 64, 1), POOLS, 200, 250),
        ({"sts:GetCallerIdentity": 1}, LIMITS, "sts:GetCallerIdentity", 0, 1),
        # 24 rounds of 0.15 s, which are no whole number of them in binary.
        ({"organizations:ListTagsForResource": 190}, LIMITS, "organizations:ListTagsForResource", 3.6, 3.6),
    ],
)
def test_the_slowest_step_is_what_a_run_takes_at_least(
    calls: dict[str, int], limits: Limits, bound_by: str, least: float, most: float
) -> None:
    found = estimate(calls, POOLS, 1, limits, None)
    assert found.bound_by == bound_by
    assert least <= found.seconds <= most
    assert found.seconds == max(each.seconds for each in found.steps)
    assert all(each.seconds == round(each.seconds, 3) for each in found.steps)
    assert {each.action for each in found.steps} == calls.keys()
    assert found.snapshot_id is None


@pytest.mark.parametrize(
    ("action", "count", "alone", "one_of_four"),
    [
        ("sts:AssumeRole", 6000, 10, 40),
        ("account:ListRegions", 1000, 200, 800),
        ("organizations:ListTagsForResource", 800, 15, 60),
    ],
)
def test_a_shard_has_its_part_of_what_the_caller_may_do(
    action: str, count: int, alone: float, one_of_four: float
) -> None:
    found = [
        estimate({action: count}, POOLS, 1, limits, None).seconds
        for limits in (
            Limits(256, 64, 15, one_account=True, concurrent_runs=1),
            Limits(256, 64, 15, one_account=True, concurrent_runs=4),
        )
    ]
    assert found == [alone, one_of_four]


def test_the_last_run_says_how_many_pages_and_how_long() -> None:
    last = LastRun("20261123T020000Z-3f9a1c", targets=100, read=50, pages=100, longest=24, seconds=20)
    found = estimate({"sts:AssumeRole": 10, POOLS: 200}, POOLS, 200, LIMITS, last)
    assert (found.seconds, found.snapshot_id) == (40, last.snapshot_id)
    assert [(each.action, each.calls, each.seconds) for each in found.steps] == [
        ("sts:AssumeRole", 10, 0.15),
        (POOLS, 400, 0.3),
        (POOLS, 24, 16),
    ]
    assert found.bound_by == POOLS


def test_a_rate_that_the_last_run_was_faster_than_bounds_nothing() -> None:
    # At that rate, 90 pages take 60 s.
    last = LastRun("20261123T020000Z-3f9a1c", targets=100, read=50, pages=100, longest=90, seconds=20)
    found = estimate({"sts:AssumeRole": 9000, POOLS: 200}, POOLS, 200, LIMITS, last)
    assert [each.action for each in found.steps] == ["sts:AssumeRole", POOLS]
    assert found.bound_by == "sts:AssumeRole"


def test_most_of_a_short_run_is_its_longest_step() -> None:
    # It took less than each step does by experience: its replies were near.
    last = LastRun("20261123T020000Z-3f9a1c", targets=300, read=300, pages=300, longest=1, seconds=0.2)
    calls = {"sts:GetCallerIdentity": 1, "organizations:ListAccounts": 2, "sts:AssumeRole": 20, POOLS: 300}
    found = estimate(calls, POOLS, 300, LIMITS, last)
    assert found.seconds == 0.2
    assert found.bound_by == max(found.steps, key=lambda each: each.seconds).action
    assert found.bound_by == "organizations:ListAccounts"
