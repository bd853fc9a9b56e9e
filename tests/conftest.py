"""Fixtures of all tests: the event loop must not be blocked, and nothing must be left open."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme
from blockbuster import blockbuster_ctx
from hypothesis import settings

from census_lab import open_labs
from descriptors import descriptors
from poolcensus.flow import retry
from poolcensus.flow.retry import Retrier
from quick_sdk import quick_sdk
from two_organizations import start_two

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from census_lab import Lab
    from two_organizations import Two


# Modules and collected tests stay to the end. Looking for garbage in them takes a fifth of each worker's
# start.
gc.disable()

# Five workers keep two cores busy, since many tests wait for a service with latency.
_WORKERS = 5


# There is no deadline, since the time of an example depends on how busy the machine is. Each run has other
# examples, so that a few in each of several runs find as much as many in one run. If you change a parser, use
# `--hypothesis-profile thorough`.
settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run in several processes, unless -n or a debugger is given, or xdist is off."""
    option = config.option
    # Not in addopts, since `-n` there would contradict --pdb, and be unknown in a run without xdist.
    if hasattr(config, "workerinput") or option.usepdb or option.trace:
        return
    # Container images of Python disable bytecode. Each worker and each process would compile all modules
    # again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if getattr(option, "numprocesses", 0) is None and not option.collectonly:
        option.numprocesses = _WORKERS
        # Tests of one group share a worker, since moto or a browser takes seconds to start.
        if getattr(option, "dist", "") == "no":
            option.dist = "loadgroup"


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Tell the workers of the groups, and exclude imported modules from garbage collection.

    They are a third of a million objects that stay. Visiting them would take half of a small census's time.
    """
    if hasattr(session.config, "workerinput"):
        # Workers get the command line, and not the options that are set above.
        session.config.option.loadgroup = True
    yield
    gc.freeze()
    gc.enable()


# With virtual time, a test does not wait for a thread that imports.
Retrier.load()


# Modules that are called from synchronous code: the simulator, which is not part of a census, and the readers
# of snapshots.
_PLAIN = (
    "poolcensus.simulator",
    "poolcensus.format.compression",
    "poolcensus.snapshot.data_file",
    "poolcensus.snapshot.inventory",
    "poolcensus.snapshot.latest",
    "poolcensus.snapshot.reader",
    "poolcensus.snapshot.refused",
    "poolcensus.format.digesting",
    "poolcensus.snapshot.verification",
    "poolcensus.storage.local.reading",
    "poolcensus.storage.naming",
    "poolcensus.storage.s3.shared_bucket",
    "poolcensus.storage.s3.source",
    "poolcensus.storage.source",
    # It examines paths for other modules, which must not call it in the event loop.
    "poolcensus.paths",
    # Dask reads its own files and certificates when it starts.
    "poolcensus.workers.dask",
)


@pytest.fixture
def known_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time until credentials are taken to be known everywhere, for tests of what follows."""
    monkeypatch.setattr(retry, "KNOWN_EVERYWHERE_SECONDS", 0.2)


@pytest.fixture(autouse=True, scope="session")
def nothing_blocks_the_loop() -> Iterator[None]:
    """Fail a test in which our code blocks the event loop with a file, a socket, a lock or a sleep."""
    with blockbuster_ctx("poolcensus", excluded_modules=list(_PLAIN)) as buster:
        for function in buster.functions.values():
            # Settings are read by a synchronous call, before anything else runs in the loop.
            function.can_block_in("poolcensus/config/sources.py", "read")
            # The files of /proc are not on a disk.
            function.can_block_in("poolcensus/storage/holder.py", "_has_ended")
            # These run in an event loop of their own, in a thread, with nothing else in it.
            function.can_block_in("poolcensus/storage/s3/client.py", "_enter_in_thread")
            function.can_block_in("poolcensus/aws/transport/sdk.py", "_enter_in_thread")
        yield


@pytest.fixture(autouse=True)
def logs_are_told_as_before() -> Iterator[None]:
    """Restore logging after a test that runs a command."""
    root = logging.getLogger()
    handlers, level = [*root.handlers], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Fail a test that leaves a file or a socket open."""
    before = _descriptors()
    yield
    if left := _descriptors() - before:
        # Objects that are only not collected yet warn when they are, and that fails the test, too.
        gc.collect()
        left = _descriptors() - before
    assert not left, f"left open: {sorted(left)}"


_NAMES = "/proc/self/fd"
_HAS_NAMES = Path(_NAMES).is_dir()


def _descriptors() -> set[str]:
    found = set()
    for number in descriptors():
        # A debugger restores the standard streams that pytest has replaced.
        if number > 2:
            with suppress(OSError):
                found.add(f"{number} {_name(number)}")
    # The interpreter opens /dev/urandom once, and keeps it open.
    return {each for each in found if not each.endswith("/dev/urandom")}


def _name(descriptor: int) -> str:
    # Without /proc, sockets and pipes have no names, and are distinguished by the result of fstat.
    # pathlib is not used, since each test asks twice for dozens of names.
    return os.readlink(f"{_NAMES}/{descriptor}") if _HAS_NAMES else str(os.fstat(descriptor)[:3])  # noqa: PTH115


@pytest.fixture(autouse=True, scope="session")
def clients_are_made_fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_sdk(tmp_path_factory.mktemp("authorities")):
        yield


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty home folders. Tests share one until something is left in it."""

    def made() -> Iterator[Path]:
        while True:
            home = tmp_path_factory.mktemp("home")
            while not any(home.iterdir()):
                yield home

    return made()


@pytest.fixture(autouse=True)
def no_configuration_of_this_machine(monkeypatch: pytest.MonkeyPatch, homes: Iterator[Path]) -> None:
    """Hide the AWS and poolcensus configuration of this machine from tests."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "POOLCENSUS_", "REQUESTS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = next(homes)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "aws-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


# A test that needs both transports in the default run uses `@both_transports` of transport_lab.
@pytest.fixture(params=["fast", pytest.param("sdk", marks=pytest.mark.long)])
def transport(
    request: pytest.FixtureRequest,
    no_configuration_of_this_machine: None,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Run the censuses of a test with each transport. The SDK's transport is for the long run only."""
    monkeypatch.setenv("POOLCENSUS_TRANSPORT", request.param)
    return str(request.param)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves a task running."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"tasks left: {left}"


@pytest.fixture
async def lab(
    no_task_left: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Callable[..., Coroutine[None, None, Lab]]]:
    """Start a simulator for a census: `await lab(accounts=3, faults=("throttle:0.2",))`."""
    async with open_labs(monkeypatch, tmp_path) as start:
        yield start


@pytest.fixture
def open_two(
    lab: Callable[..., Coroutine[None, None, Lab]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Coroutine[None, None, Two]]:
    """Start two Organizations for a run of both: `await open_two(faults=("throttle:0.2",))`."""
    return partial(start_two, lab, tmp_path, monkeypatch)


@pytest.fixture
async def two(open_two: Callable[..., Coroutine[None, None, Two]]) -> Two:
    return await open_two()


_MOTO = """
import os, time
from moto.core.utils import get_service_model
from moto.server import ThreadedMotoServer
parent = os.getppid()
# Each of its threads that calls EC2 before the model is there would read it anew: most of moto's time.
get_service_model("ec2")
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"http://{host}:{port}", flush=True)
while os.getppid() == parent:
    time.sleep(0.5)
"""


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The URL of a moto server. Tests that use it must be in the group "moto"."""
    with subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        # Tests call EC2 only for regions. By default moto makes a thousand images for each account.
        env={**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "false"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        # Closed at once, since the first test that uses this fixture must leave nothing open.
        with process.stdout or nullcontext() as said:
            url = said.readline().strip() if said else ""
        yield url
        process.terminate()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="session")
def renderer() -> None:
    """Start the renderer of charts, which keeps threads and descriptors until the process ends."""
    from poolcensus.analysis.report.charts import Bar, bar_chart

    bar_chart([Bar("a", 1)])
