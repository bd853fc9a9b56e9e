"""A low limit on open files: fewer calls at a time, or one sentence."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from faults.conftest import Ended, assert_one_sentence
from poolcensus.aws.transport.files import most_connections
from poolcensus.model import Outcome
from poolcensus.simulator.latency import Latency
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from faults.conftest import Bench, Serve, Served, Start

REGIONS = "us-east-1,eu-west-1"


def _collect(bench: Bench, served: Served, limit: int) -> Ended:
    program = [sys.executable, "-m", "poolcensus", "collect", "--regions", REGIONS]
    done = subprocess.run(
        ["/bin/sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh", *program],
        cwd=bench.folder,
        env={**bench.environment, **served.environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


# As the module has it on Linux: to mypy on another system, it has no such name.
_prlimit: Any = getattr(resource, "prlimit", None)


@pytest.mark.usefixtures("transport")
def test_forty_open_files_are_enough(serve: Serve, bench: Bench) -> None:
    served = serve("--accounts=60", f"--regions={REGIONS}", "--pools-per-target=1", "--latency=30")
    ended = _collect(bench, served, 40)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    snapshot = Snapshot.open("latest", dest=bench.folder / "snapshots")
    assert verify(snapshot) == ()
    assert (snapshot.manifest.totals.pools, snapshot.manifest.totals.retries) == (120, 0)


@pytest.mark.parametrize("limit", [8, 9, 10])
def test_too_few_open_files_are_one_sentence(simulator: Served, bench: Bench, limit: int) -> None:
    assert_one_sentence(_collect(bench, simulator, limit), 1, "Too many open files")
    assert [each.name for each in (bench.folder / "snapshots").iterdir()] in ([".lock"], [])


@pytest.mark.skipif(_prlimit is None, reason="no limits of other processes can be set here")
def test_a_shortage_in_the_middle_of_a_run_costs_time_and_no_target(serve: Serve, bench: Bench) -> None:
    served = serve("--accounts=60", f"--regions={REGIONS}", "--pools-per-target=1", "--latency=100")
    arguments = ("collect", "--regions", REGIONS, "--log-level", "info")
    with bench.popen(*arguments, **served.environment) as process:
        assert process.stderr is not None
        while process.poll() is None and served.calls.get("workspaces.DescribeWorkspacesPools", 0) < 4:
            time.sleep(0.01)
        files = resource.RLIMIT_NOFILE
        before = _prlimit(process.pid, files)
        _prlimit(process.pid, files, (psutil.Process(process.pid).num_fds(), before[1]))
        told = next((line for line in process.stderr if "a call waits" in line), "")
        _prlimit(process.pid, files, before)
        out, _ = process.communicate(timeout=60)
    assert "no file descriptor left (ulimit -n raises the limit)" in told
    assert (process.returncode, out) == (0, "")
    snapshot = Snapshot.open("latest", dest=bench.folder / "snapshots")
    assert verify(snapshot) == ()
    assert snapshot.manifest.outcomes == {Outcome.OK: 120}


async def test_connections_of_one_place_give_way_to_those_of_another(
    lab: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=12, pools_per_target=2, latency=Latency.parse("10"))
    # STS is another origin: its connections are kept when those of WorkSpaces are opened.
    other_name = here.simulator.endpoint_url.replace("127.0.0.1", "localhost")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", other_name)
    for module in ("poolcensus.aws.session", "poolcensus.aws.transport.fast"):
        monkeypatch.setattr(f"{module}.most_connections", lambda: 4)
    snapshot = await here.collect()
    assert here.assert_exact(snapshot)[Outcome.OK] == 36
    assert snapshot.manifest.totals.retries == 0
    stats = here.simulator.stats.snapshot()
    assert stats["connections_peak"] == 4


def test_room_is_left_for_what_else_needs_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, places in ((1, 1), (30, 1), (resource.RLIM_INFINITY, sys.maxsize)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert most_connections() == places
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    assert 500 < most_connections() < 1024 - 16
