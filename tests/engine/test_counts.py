"""The counts of a run: results, targets without a result, and the calls of this and other processes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from poolcensus.aws.call import CallCounts
from poolcensus.engine.counts import RunCounts
from poolcensus.model import Outcome, SkippedAccount, TargetResult, Totals

if TYPE_CHECKING:
    from poolcensus.scope.listing import ListsAccounts

LISTING = cast("ListsAccounts", SimpleNamespace(skipped=(SkippedAccount("000000000009", None, "excluded"),)))


def result(outcome: Outcome, *, pools: int = 0, pages: int = 0, throttles: int = 0) -> TargetResult:
    attempts = pages + throttles
    return TargetResult("000000000001", None, "us-east-1", outcome, pools, pages, attempts, throttles)


def test_a_target_is_done_if_it_has_a_result() -> None:
    counts = RunCounts(LISTING, CallCounts())
    counts.accounts, counts.targets = 2, 6
    for each in (result(Outcome.OK, pools=7, pages=2), result(Outcome.EMPTY, pages=1), result(Outcome.ERROR)):
        counts.take(each)
    counts.take_unfinished(3)
    assert counts.outcomes == {
        Outcome.OK: 1,
        Outcome.EMPTY: 1,
        Outcome.ERROR: 1,
        Outcome.CANCELLED: 3,
    }
    found = counts.progress(5)
    assert found.totals == Totals(targets=6, covered=2, pools=7, pages=3)
    assert (found.accounts, found.skipped, found.done, found.uncovered, found.in_flight) == (2, 1, 3, 4, 5)
    assert found.listing
    counts.listed = True
    assert not counts.progress(0).listing


def test_a_run_that_left_nothing_unfinished_has_no_count_of_it() -> None:
    counts = RunCounts(LISTING, CallCounts())
    counts.take_unfinished(0)
    assert not counts.outcomes.keys()


def test_calls_of_the_former_run_and_of_workers_are_added_to_the_run_s_own() -> None:
    calls = CallCounts()
    counts = RunCounts(LISTING, calls)
    counts.add_former_calls(result(Outcome.OK, pages=2, throttles=1))
    # A refusal counts neither as a page nor as a retry. Nor does a target that was never called.
    counts.add_former_calls(replace(result(Outcome.REGION_UNSUPPORTED, throttles=1), attempts=2))
    counts.add_former_calls(result(Outcome.REGION_DISABLED))
    part = Totals(
        targets=9, covered=9, pools=9, pages=9, requests=10, retries=4, throttles=2, assume_role_calls=5
    )
    counts.add_calls_of_worker(part)
    counts.add_calls_of_worker(part)
    # Calls that are made later count, too.
    calls.requests, calls.retries, calls.throttles, calls.assume_role_calls = 100, 200, 300, 400
    assert counts.totals() == Totals(requests=125, retries=210, throttles=306, assume_role_calls=410)
