"""A census on workers of Dask, by the command: exact, and nothing is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.verification import verify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.xdist_group("dask")

CANARY = "canary-external-id"
REGIONS = ("--regions", "us-east-1,eu-west-1")
POOLCENSUS = (sys.executable, "-m", "poolcensus")


class World:
    """A simulator in a process of its own, and censuses of it."""

    def __init__(self, announced: dict[str, str], folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("POOLCENSUS_")},
            "AWS_ENDPOINT_URL": announced["endpoint_url"],
            "AWS_ACCESS_KEY_ID": announced["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": announced["secret_access_key"],
            "AWS_REGION": "us-east-1",
        }

    def start(self, name: str, *options: str) -> subprocess.Popen[str]:
        command = [*POOLCENSUS, "collect", "--dest", str(self.folder / name), *REGIONS, *options]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def collect(self, name: str, *options: str) -> Snapshot:
        with self.start(name, *options) as process:
            out, err = process.communicate(timeout=100)
        assert (process.returncode, out, err) == (0, "", "")
        return Snapshot.open("latest", self.folder / name)


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[World]:
    command = [*POOLCENSUS, "simulate", "--port", "0", "--json", "--until-eof", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield World(json.loads(process.stdout.readline()), folder)
        process.terminate()


def lines(snapshot: Snapshot) -> list[list[str]]:
    """Both files, sorted, without what belongs to the run."""

    def less(line: bytes) -> str:
        held: dict[str, Any] = json.loads(line)
        for name in ("snapshot_id", "collected_at", "attempts", "throttles", "seconds", "request_id"):
            held.pop(name, None)
        return json.dumps(held)

    return [
        sorted(map(less, path.read_bytes().splitlines()))
        for path in (snapshot.pools_path, snapshot.targets_path)
    ]


def until(condition: Callable[[], object], within: float = 60) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.02)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes in which tasks run: Dask's nannies are in the caller."""
    try:
        found = psutil.Process(process.pid).children(recursive=True)
        return [each for each in found if "resource_tracker" not in " ".join(each.cmdline())]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("killed", [True, pytest.param(False, marks=pytest.mark.long)])
def test_it_comes_to_the_same_though_a_worker_is_killed(tmp_path: Path, killed: bool) -> None:
    world = ("--accounts", "60", "--mean-pools", "4", "--external-id", CANARY, "--latency", "100")
    with serving(tmp_path, *world) as here:
        here.environment["POOLCENSUS_EXTERNAL_ID"] = CANARY
        with here.start("spread", "--engine", "dask", "--workers", "2", "--concurrency", "8") as process:
            until(lambda: list((here.folder / "spread").glob(".draft-*/*")))
            told = [each.cmdline() for each in workers_of(process)]
            if killed:
                workers_of(process)[0].send_signal(signal.SIGKILL)
            out, err = process.communicate(timeout=100)
        assert (process.returncode, out, err) == (0, "", "")
        assert len(told) >= 2
        assert CANARY not in str(told)
        spread = Snapshot.open("latest", here.folder / "spread")
        assert not verify(spread)
        assert spread.manifest.totals.targets == spread.manifest.totals.covered == 60 * 2
        assert lines(spread) == lines(here.collect("alone"))


def test_a_wrong_clock_is_told_of_once(tmp_path: Path) -> None:
    with serving(tmp_path, "--accounts", "60", "--clock-offset", "1200") as here:
        with here.start("spread", "--engine", "dask", "--workers", "2", "--log-format", "json") as process:
            _, err = process.communicate(timeout=100)
        (said,) = map(json.loads, err.splitlines())
        assert process.returncode == 0
        assert said["message"].startswith("this machine's clock is 1")
        assert "once" not in said


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGINT,),
        (signal.SIGINT, signal.SIGTERM),
        pytest.param((signal.SIGTERM,), marks=pytest.mark.long),
        pytest.param((signal.SIGKILL,), marks=pytest.mark.long),
    ],
)
def test_nothing_is_left_running(tmp_path: Path, numbers: tuple[signal.Signals, ...]) -> None:
    world = ("--accounts", "60", "--latency", "150")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with serving(tmp_path, *world) as here:
        here.environment["TMPDIR"] = str(temporary)
        with here.start("spread", "--engine", "dask", "--workers", "1", "--concurrency", "4") as process:
            until(lambda: list((here.folder / "spread").glob(".draft-*/*")))
            before = psutil.Process(process.pid).children(recursive=True)
            assert before
            assert [*temporary.iterdir()]
            for number in numbers:
                process.send_signal(number)
            _, err = process.communicate(timeout=20)
        until(lambda: not [each for each in before if each.is_running()], within=20)
        if numbers != (signal.SIGKILL,):
            assert process.returncode in {128 + number for number in numbers}
            assert "Traceback" not in err
            assert not [*temporary.iterdir()]
        assert not list((here.folder / "spread").glob("2*"))


def test_a_scheduler_that_goes_away_ends_the_run_in_one_sentence(tmp_path: Path) -> None:
    world = ("--accounts", "60", "--latency", "150")
    with serving(tmp_path, *world) as here:
        scheduler = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
             "--no-dashboard", "--scheduler-file", str(tmp_path / "scheduler.json")],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        worker = None
        try:
            announced = tmp_path / "scheduler.json"
            until(lambda: announced.exists() and announced.read_text().endswith("}"))
            address = json.loads(announced.read_text())["address"]
            worker = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard",
                 "--nthreads", "1", "--local-directory", str(tmp_path / "worker")],
                env=here.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            with here.start("spread", "--engine", "dask", "--scheduler", address) as process:
                until(lambda: list((here.folder / "spread").glob(".draft-*/*")))
                scheduler.kill()
                _, err = process.communicate(timeout=60)
            assert process.returncode == 1, err
            assert len(err.splitlines()) <= 2, err
            assert f"The scheduler of {address} went away" in err
            assert not list((here.folder / "spread").glob("2*"))
        finally:
            for each in (scheduler, worker):
                if each is not None:
                    each.kill()
                    each.wait()


@pytest.mark.long
@pytest.mark.parametrize("latency", ["10", "50"])
def test_any_number_of_workers_comes_to_the_same(tmp_path: Path, latency: str) -> None:
    world = ("--accounts", "500", "--mean-pools", "7", "--latency", latency, "--no-role", "0.05")
    with serving(tmp_path, *world) as here:
        with here.start("alone") as process:
            process.communicate(timeout=100)
        alone = Snapshot.open("latest", here.folder / "alone")
        for count in (1, 2, 4):
            with here.start(str(count), "--engine", "dask", "--workers", str(count)) as process:
                process.communicate(timeout=110)
            assert process.returncode == 3
            spread = Snapshot.open("latest", here.folder / str(count))
            assert lines(spread) == lines(alone)
            assert not verify(spread)
