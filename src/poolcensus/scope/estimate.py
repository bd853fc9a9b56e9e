"""Estimates the time of a run, from the rates that services allow and from the last run of the same kind."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from poolcensus.aws.organizations import TAGS_AT_ONCE
from poolcensus.aws.region_status.management import LIST_REGIONS_A_SECOND
from poolcensus.planned import Estimate, EstimateStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Seconds of a call. In practice, a listing of 500 pages, one after the other, takes 50 to 100 s.
_CALL = 0.15
# AssumeRole calls per second by one account at one regional endpoint, from users' reports. AWS documents
# none.
_ASSUME_ROLE = 600.0
# Pages per second in one account and region. Users report throttling of DescribeWorkspaces at this rate; AWS
# documents none.
_PAGES_OF_A_TARGET = 1.5

_LISTING = frozenset(
    f"organizations:{name}"
    for name in ("ListAccounts", "ListAccountsForParent", "ListOrganizationalUnitsForParent", "ListRoots")
)


class LastRun(msgspec.Struct, frozen=True):
    """The figures of a snapshot of the same kind.

    `read` is the number of targets that have pages, `pages` the number of these pages, and `seconds` the time
    of the run. `longest` is the largest number of pages of one target.
    """

    snapshot_id: str
    targets: int
    read: int
    pages: int
    longest: int
    seconds: float


class Limits(msgspec.Struct, frozen=True):
    """The limits on concurrent calls, in the run and in each region, and the number of regions.

    `one_account` says that one account asks for the region status of all. `concurrent_runs` is the number of
    runs that share the caller's rates.
    """

    concurrency: int
    per_region: int
    regions: int
    one_account: bool = False
    concurrent_runs: int = 1


def estimate(
    calls: Mapping[str, int], operation: str, targets: int, limits: Limits, last: LastRun | None
) -> Estimate:
    """Return the estimated time of a run, and the step that determines it. `calls` is by IAM action."""
    steps = tuple(_steps(calls, operation, limits, last))
    # The steps run concurrently, so a run takes at least as long as the slowest.
    slowest = max(steps, key=lambda each: each.seconds)
    seconds = slowest.seconds
    if last is not None and last.targets:
        seconds = last.seconds * targets / last.targets
    return Estimate(
        seconds=round(seconds, 3),
        bound_by=slowest.action,
        steps=steps,
        snapshot_id=last.snapshot_id if last is not None else None,
    )


def _steps(
    calls: Mapping[str, int], operation: str, limits: Limits, last: LastRun | None
) -> Iterator[EstimateStep]:
    side_by_side = min(limits.concurrency, limits.per_region * max(limits.regions, 1))
    for action, count in calls.items():
        if action in _LISTING:
            seconds = round(count * _CALL, 3)
            yield EstimateStep(action, count, seconds, f"one page after the other, {_CALL:g} s each")
        elif action == "organizations:ListTagsForResource":
            yield _at_once(action, count, max(TAGS_AT_ONCE // limits.concurrent_runs, 1))
        elif action == "sts:AssumeRole":
            yield _at_rate(action, count, _ASSUME_ROLE / limits.concurrent_runs)
        elif action == "account:ListRegions" and limits.one_account:
            yield _at_rate(action, count, LIST_REGIONS_A_SECOND / limits.concurrent_runs)
        elif action == operation:
            pages = round(count * max(last.pages / last.read, 1)) if last is not None and last.read else count
            yield _at_once(action, pages, side_by_side)
            if last is not None and last.longest > 1:
                step = _at_rate(action, last.longest, _PAGES_OF_A_TARGET)
                # If the whole run was faster than this, the service does not limit the target in that way.
                if step.seconds <= last.seconds:
                    yield replace(step, basis=f"the longest target, {step.basis}")
        else:
            yield _at_once(action, count, limits.concurrency)


def _at_once(action: str, calls: int, places: int) -> EstimateStep:
    """Return a step whose calls are made in rounds of at most `places` concurrent calls."""
    seconds = round(ceil(calls / places) * _CALL, 3)
    return EstimateStep(action, calls, seconds, f"{places:,} at a time, {_CALL:g} s each")


def _at_rate(action: str, calls: int, rate: float) -> EstimateStep:
    """Return a step whose calls are limited by a rate, in calls per second."""
    return EstimateStep(action, calls, round(max(calls / rate, _CALL), 3), f"about {rate:g} a second")
