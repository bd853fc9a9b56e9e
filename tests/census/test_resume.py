"""A run that is stopped, and one that goes on with it: together they are one run."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import pytest

from poolcensus.census import Census
from poolcensus.errors import CredentialsError, DestinationError, FatalError, SettingsError
from poolcensus.format.times import rfc3339, utc_now
from poolcensus.model import Outcome
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.snapshot import Snapshot

    Start = Callable[..., Coroutine[None, None, Lab]]

HANGS = "hang,account=000000000007,region=us-east-1,first=1"
ACCOUNTS = 30
TARGETS = ACCOUNTS * 3


async def stop(here: Lab, done: int, **changes: object) -> None:
    """A run that is cancelled once so many targets are done."""
    async with Census(here.settings(**changes)) as census, anyio.create_task_group() as group:
        group.start_soon(census.collect)
        with anyio.fail_after(60):
            while census.progress().done < done:
                await anyio.sleep(0.005)
        group.cancel_scope.cancel()


def asked(here: Lab) -> int:
    return here.calls("workspaces.DescribeWorkspacesPools")


def ledger(snapshot: Snapshot) -> list[str]:
    lines = [json.loads(line) for line in snapshot.targets_path.read_bytes().splitlines()]
    return sorted(json.dumps({**each, "seconds": 0, "attempts": 0}) for each in lines)


def pools(snapshot: Snapshot) -> list[str]:
    lines = [json.loads(line) for line in snapshot.pools_path.read_bytes().splitlines()]
    return sorted(json.dumps({**each, "snapshot_id": "", "collected_at": ""}) for each in lines)


async def test_a_run_that_goes_on_calls_only_the_rest_and_equals_one_that_was_not_stopped(lab: Start) -> None:
    here = await lab(accounts=ACCOUNTS, mean_pools=30, faults=(HANGS,))
    # All but the one that hangs: what is done can be counted.
    await stop(here, TARGETS - 1)
    assert not [each for each in here.dest.iterdir() if each.name[0] != "."]
    before = asked(here)
    snapshot = await here.collect(resume=True)
    assert asked(here) - before == 1
    assert here.calls("sts.AssumeRole") == ACCOUNTS - 1 + 1
    here.assert_exact(snapshot)
    assert not verify(snapshot)
    assert sorted(each.name for each in here.dest.iterdir()) == sorted([".lock", "latest", snapshot.id])
    totals = snapshot.manifest.totals
    assert totals.requests >= totals.pages == before
    whole = await here.collect()
    assert ledger(snapshot) == ledger(whole)
    assert pools(snapshot) == pools(whole)
    assert snapshot.manifest.started_at < whole.manifest.started_at


async def test_what_a_run_had_is_not_lost_by_the_deadline_of_the_one_that_goes_on(lab: Start) -> None:
    # Each account has a region that is not done, and so its role is assumed anew, which takes too long.
    await stop(await lab(accounts=ACCOUNTS, faults=("hang,region=us-east-1",)), TARGETS - ACCOUNTS)
    here = await lab(accounts=ACCOUNTS, faults=("hang,service=sts,operation=AssumeRole",))
    snapshot = await here.collect(resume=True, deadline=3)
    assert {each.outcome for each in snapshot.targets() if each.region == "us-east-1"} >= {Outcome.CANCELLED}
    assert all(each.outcome.covered for each in snapshot.targets() if each.region != "us-east-1")
    assert not verify(snapshot)


async def test_the_retries_of_both_runs_are_counted(lab: Start) -> None:
    here = await lab(accounts=ACCOUNTS, mean_pools=30, faults=(HANGS, "throttle,region=eu-west-1,first=1"))
    await stop(here, TARGETS - 1)
    totals = (await here.collect(resume=True)).manifest.totals
    # Nothing but throttles fails, and each is followed by a retry.
    assert totals.retries == totals.throttles == ACCOUNTS


@pytest.mark.parametrize("compress", ["gzip", "zstd"])
async def test_a_run_may_be_stopped_many_times(lab: Start, compress: str) -> None:
    here = await lab(accounts=ACCOUNTS, mean_pools=6)
    for done in (20, 40, 60):
        await stop(here, done, resume=True, compress=compress, concurrency=4)
    snapshot = await here.collect(resume=True, compress=compress)
    here.assert_exact(snapshot)
    assert not verify(snapshot)
    # What was under way when a run was stopped is called again, and nothing else.
    assert asked(here) <= snapshot.manifest.totals.pages + 3 * 4 * 4


async def test_resume_without_an_interrupted_run_is_a_run_like_any_other(lab: Start) -> None:
    here = await lab(accounts=3, mean_pools=6)
    first = await here.collect(resume=True)
    second = await here.collect(resume=True)
    assert first.id != second.id
    here.assert_exact(second)


@pytest.mark.parametrize(("hours", "is_told"), [(11, False), (13, True)])
async def test_a_run_that_goes_on_with_one_of_the_night_before_says_so(
    lab: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hours: int,
    is_told: bool,
) -> None:
    here = await lab(accounts=9, mean_pools=3, faults=(HANGS,))
    began = utc_now() - timedelta(hours=hours)
    with monkeypatch.context() as patch:
        patch.setattr("poolcensus.census.publication.utc_now", lambda: began)
        await stop(here, 9)
    with caplog.at_level(logging.WARNING, "poolcensus"):
        snapshot = await here.collect(resume=True)
    assert snapshot.manifest.started_at == began
    told = (
        f"Continuing the interrupted run {snapshot.id}, which began more than 12 hours ago,"
        f" at {rfc3339(began)}: what it had finished is as it was then. To start anew, run"
        " 'poolcensus collect --no-resume'."
    )
    assert caplog.messages == ([told] if is_told else [])


async def test_targets_that_were_not_covered_are_called_again(lab: Start) -> None:
    here = await lab(accounts=9, mean_pools=6, faults=(HANGS, "html,account=000000000003,first=1"))
    await stop(here, 9 * 3 - 1, max_attempts=1)
    snapshot = await here.collect(resume=True)
    here.assert_exact(snapshot)


# With and without `resume` where the run ends before its first call, and after its last one.
@pytest.mark.parametrize(
    ("changes", "error", "resume"),
    [
        ({}, CredentialsError, {}),
        ({"profile": "nobody"}, SettingsError, {}),
        ({"profile": "nobody"}, SettingsError, {"resume": True}),
        ({"regions": "mars-*"}, SettingsError, {"resume": True}),
        ({"exclude_accounts": [f"{number:012}" for number in range(1, 10)]}, FatalError, {"resume": True}),
        ({"accounts": "999999999999"}, FatalError, {}),
        ({"ous": "ou-none-00000000"}, FatalError, {}),
        ({"ous": "ou-none-00000000"}, FatalError, {"resume": True}),
    ],
)
async def test_a_run_that_can_not_begin_leaves_the_interrupted_one(
    lab: Start,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, object],
    error: type[FatalError],
    resume: dict[str, bool],
) -> None:
    here = await lab(accounts=9, mean_pools=3)
    await stop(here, 9, concurrency=4)
    with monkeypatch.context() as patch, pytest.raises((error, DestinationError)):
        if error is CredentialsError:
            patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        await here.collect(**changes, **resume)
    before = asked(here)
    snapshot = await here.collect(resume=True)
    here.assert_exact(snapshot)
    assert asked(here) - before <= snapshot.manifest.totals.pages - 9


async def test_a_destination_without_a_journal_is_refused_before_any_call(lab: Start) -> None:
    here = await lab(accounts=3)
    with pytest.raises(SettingsError, match="`resume` needs a directory"):
        await here.collect(resume=True, dest="-")
    assert here.calls("sts.GetCallerIdentity") == 0


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGKILL, -9)],
)
async def test_a_process_that_is_stopped_leaves_a_journal_for_the_next(
    lab: Start, number: signal.Signals, code: int
) -> None:
    here = await lab(accounts=ACCOUNTS, mean_pools=6, faults=(HANGS,))
    regions = ",".join(here.simulator.world.config.regions)
    command = [sys.executable, "-m", "poolcensus", "collect", "--dest", str(here.dest), "--regions", regions]
    process = await anyio.open_process(command, stdout=subprocess.DEVNULL, env={**os.environ})
    async with process:
        with anyio.fail_after(60):
            # The one that hangs is missing, and the header is there.
            while not any((each / "journal").read_bytes().count(b"\n") == TARGETS for each in drafts(here)):
                await anyio.sleep(0.01)
        process.send_signal(number)
        await process.wait()
        said = (
            await process.stderr.receive() if process.stderr is not None and number != signal.SIGKILL else b""
        )
    assert process.returncode == code
    assert (b"--resume" in said) == (number != signal.SIGKILL)
    before = asked(here)
    snapshot = await here.collect(resume=True)
    here.assert_exact(snapshot)
    assert asked(here) - before == 1


def drafts(here: Lab) -> list[Path]:
    if not here.dest.exists():
        return []
    return [each for each in here.dest.glob(".draft-*") if (each / "journal").exists()]
