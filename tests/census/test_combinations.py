"""Several Organizations, known gaps, a run that goes on, a bucket: each beside the others."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import anyio
import pytest

import poolcensus
from poolcensus.errors import NotPublishedError
from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.snapshot.verification import verify
from storage.buckets import PLACE, stored
from two_organizations import FIVE, FOUR, ONE, THREE, TWO

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from poolcensus.config import Settings
    from two_organizations import Two

    OpenTwo = Callable[..., Coroutine[None, None, Two]]

DENIED = f"denied,policy=scp,account={FIVE}"
GAPS = [f"{FIVE}:us-gov-*:scp_denied", f"{TWO}:eu-west-1:access_denied"]


async def interrupted(settings: Settings, done: int) -> None:
    async with poolcensus.Census(settings) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        with anyio.fail_after(20):
            while census.progress().done < done:
                await anyio.sleep(0.005)
        group.cancel_scope.cancel()
    assert census.resumable


async def test_a_run_of_both_that_goes_on_knows_its_gaps(open_two: OpenTwo) -> None:
    two = await open_two(faults=(DENIED, f"hang,account={FOUR},service=workspaces,first=1"))
    await interrupted(two.settings(known_gaps=GAPS), 7)
    before = two.commercial.calls("workspaces.DescribeWorkspacesPools")
    async with poolcensus.Census(two.settings(known_gaps=GAPS, resume=True, strict=True)) as census:
        snapshot = await census.collect()
        (lifted,) = census.outdated_gaps
    # What was covered is not asked again, and yet it is known that its gap no longer holds.
    assert two.commercial.calls("workspaces.DescribeWorkspacesPools") == before
    assert (lifted.gap.accounts, lifted.allowed) == ((TWO,), 1)
    assert verify(snapshot) == ()
    assert snapshot.manifest.outcomes == {Outcome.OK: 7, Outcome.SCP_DENIED: 1}
    assert (snapshot.manifest.status, snapshot.manifest.failed) == (SnapshotStatus.PARTIAL, 0)
    assert [each.targets for each in snapshot.manifest.known_gaps] == [1, 0]
    assert {each.account_id: each.organization for each in snapshot.targets()} == {
        ONE: "commercial",
        TWO: "commercial",
        THREE: "commercial",
        FOUR: "gov",
        FIVE: "gov",
    }


async def test_gaps_that_are_known_only_when_the_run_goes_on_count(open_two: OpenTwo) -> None:
    two = await open_two(faults=(DENIED, f"hang,account={FOUR},service=workspaces,first=1"))
    await interrupted(two.settings(), 7)
    async with poolcensus.Census(two.settings(known_gaps=GAPS[:1], resume=True, strict=True)) as census:
        snapshot = await census.collect()
    assert (snapshot.manifest.failed, snapshot.manifest.outcomes[Outcome.SCP_DENIED]) == (0, 1)


@pytest.mark.parametrize("with_both", [False, True])
async def test_a_run_of_both_does_not_go_on_for_one_of_them(
    open_two: OpenTwo, caplog: pytest.LogCaptureFixture, with_both: bool
) -> None:
    two = await open_two(faults=(f"hang,account={FOUR},service=workspaces,first=1",))
    await interrupted(two.settings(), 7)
    first, second = two.tables()
    tables = [first, {**second, "accounts": [FOUR]}] if with_both else [first]
    async with poolcensus.Census(two.settings(organization=tables, resume=True)) as census:
        snapshot = await census.collect()
    assert re.search(r"is not resumed: it was asked for something else \(.*\borganizations\b", caplog.text)
    assert len({each.organization for each in snapshot.targets()}) == len(tables)


async def test_what_strict_forbids_for_both_is_kept_in_a_bucket_with_the_names(open_two: OpenTwo) -> None:
    two = await open_two(faults=(DENIED,))
    bucket = stored(two.commercial.simulator)
    common = {
        "dest": PLACE,
        "profile": "commercial",
        "endpoint_url": two.commercial.simulator.endpoint_url,
    }
    async with poolcensus.Census(two.settings(**common, strict=True)) as census:
        with pytest.raises(NotPublishedError, match=r"1 of 8 targets failed and `strict` is set"):
            await census.collect()
    (ledger,) = [each.body for key, each in bucket.objects.items() if key.endswith("targets.ndjson")]
    lines = [json.loads(line) for line in ledger.splitlines()]
    assert {(each["organization"], each["account_id"]) for each in lines if each["outcome"] != "ok"} == {
        ("gov", FIVE)
    }
    async with poolcensus.Census(two.settings(**common, strict=True, known_gaps=GAPS[:1])) as census:
        snapshot = await census.collect()
    assert snapshot.manifest.failed == 0
    settings = two.settings(**common)

    def read() -> poolcensus.Snapshot:
        found = poolcensus.Snapshot.open("latest", PLACE, settings=settings)
        assert verify(found) == ()
        assert {each.organization for each in found.pools()} == {"commercial", "gov"}
        return found

    again = await anyio.to_thread.run_sync(read)
    assert again.manifest == snapshot.manifest


async def test_a_plan_of_both_has_the_calls_of_a_collect_and_a_gap_takes_none_away(open_two: OpenTwo) -> None:
    two = await open_two(faults=(DENIED,))
    settings = two.settings(known_gaps=GAPS)
    async with poolcensus.Census(settings) as census:
        plan = await census.plan()
    assert plan.targets == 8
    for each in (two.commercial, two.gov):
        each.simulator.stats.calls.clear()
    async with poolcensus.Census(settings) as census:
        await census.collect()
    calls = two.commercial.simulator.stats.calls + two.gov.simulator.stats.calls
    assert {name.replace(":", "."): count for name, count in plan.calls.items()} == calls
