"""Workers of Dask: what they are asked comes back once, and what goes wrong is one sentence."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from itertools import count
from multiprocessing import resource_tracker
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import anyio
import psutil
import pytest
from anyio import to_thread

from poolcensus.errors import FatalError, MissingExtraError
from poolcensus.extras import installation
from poolcensus.loops import in_thread
from poolcensus.workers import WorkerLostError
from poolcensus.workers import dask as module
from poolcensus.workers.dask import dask_workers
from poolcensus.workers.quiet import interrupts_kept_from_children, silenced
from workers import tasks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.xdist_group("dask"),
    # Dask's own: a socket or a loop that is closed when it is collected.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
CANARY = "canary-in-the-environment"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def _processes() -> list[psutil.Process]:
    """The processes that Dask has started and that are still running."""
    return [
        each for each in psutil.Process().children(recursive=True) if "multiprocessing.spawn" in _line(each)
    ]


def _line(process: psutil.Process) -> str:
    # Other tests leave processes that have ended and that nobody has waited for.
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _status_of(url: str) -> int:
    with pytest.raises(HTTPError) as raised:
        urlopen(url, timeout=5)
    raised.value.close()
    return raised.value.code


@pytest.fixture(autouse=True, scope="module")
def tracker() -> None:
    """Start what multiprocessing keeps for the whole process, so that no test seems to leave it."""
    resource_tracker.ensure_running()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fails a test that leaves a process or a variable of the environment."""
    environment = _environment()
    before = {each.pid for each in _processes()}
    yield
    left = [each for each in _processes() if each.pid not in before]
    psutil.wait_procs(left, timeout=10)
    assert not [each for each in left if each.is_running()]
    assert _environment() == environment


async def test_tasks_come_back_and_no_secret_goes_through_the_scheduler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import distributed

    clusters: list[Any] = []
    real = distributed.LocalCluster

    def kept(*args: Any, **options: Any) -> Any:
        clusters.append(real(*args, **options))  # type: ignore[no-untyped-call] # Dask is not typed
        return clusters[-1]

    monkeypatch.setattr(distributed, "LocalCluster", kept)
    async with dask_workers(
        tasks.secret_of_the_environment, count=1, environment={"_POOLCENSUS_SECRETS": CANARY}
    ) as workers:
        assert workers.size == 1
        assert await workers.run("run-1", b"_POOLCENSUS_SECRETS") == CANARY.encode()
        assert await workers.run("run-2", b"AWS_NOT_THERE") == b"nothing"
        scheduler = clusters[0].scheduler
        state = pickle.dumps([scheduler.identity(), [str(each.run_spec) for each in scheduler.tasks.values()],
                              scheduler.get_events(), repr(vars(scheduler))])  # fmt: skip
        assert CANARY.encode() not in state
        for each in psutil.Process().children(recursive=True):
            assert CANARY not in _line(each)
        assert "_POOLCENSUS_SECRETS" not in os.environ
        page = f"http://127.0.0.1:{scheduler.http_server.port}/info/main/workers.html"
        assert await to_thread.run_sync(_status_of, page) == 404


async def test_a_task_that_ends_its_workers_is_given_up_and_no_other_is() -> None:
    async with dask_workers(tasks.ends_its_worker, count=1) as workers:
        with pytest.raises(WorkerLostError, match="lost 3 times"):
            await workers.run("run-1", b"deadly")
        with anyio.fail_after(30):
            assert await workers.run("run-2", b"harmless") == b"harmless"


async def test_a_task_that_is_cancelled_holds_up_nothing() -> None:
    async with dask_workers(tasks.takes_its_time, count=1) as workers:
        with anyio.move_on_after(0.2) as scope:
            await workers.run("run-1", b"1.5")
        assert scope.cancelled_caught
        with anyio.fail_after(20):
            assert await workers.run("run-2", b"0") == b"0"


async def test_without_the_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    advice = await in_thread(installation, "dask")
    with pytest.raises(MissingExtraError, match=re.escape(advice)):
        async with dask_workers(tasks.backward, count=1):
            pass


async def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.5)
    with pytest.raises(FatalError, match=re.escape("tcp://127.0.0.1:1 can't be reached")):
        async with dask_workers(tasks.backward, scheduler="tcp://127.0.0.1:1"):
            pass


@pytest.fixture
async def scheduler(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A scheduler in this process, without workers."""
    import distributed

    async with distributed.Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as found:
        yield found


async def test_a_cluster_without_workers_ends_in_one_sentence(scheduler: Any) -> None:
    with pytest.raises(FatalError, match=rf"{scheduler.address} has had no workers for 0\.5 s.*'dask worker"):
        async with dask_workers(tasks.backward, scheduler=scheduler.address, patience=0.5):
            pass


async def test_workers_that_all_leave_end_the_run(scheduler: Any) -> None:
    import distributed

    worker = await distributed.Worker(scheduler.address, nthreads=1, dashboard_address="127.0.0.1:0")
    with pytest.raises(FatalError, match="no workers"):
        async with dask_workers(tasks.backward, scheduler=scheduler.address, patience=0.5) as workers:
            assert await workers.run("run-1", b"abc") == b"cba"
            await worker.close()
            await workers.run("run-2", b"abc")


async def test_workers_that_leave_after_the_last_task_are_not_missed(scheduler: Any) -> None:
    import distributed

    worker = await distributed.Worker(scheduler.address, nthreads=1, dashboard_address="127.0.0.1:0")
    async with dask_workers(tasks.backward, scheduler=scheduler.address, patience=0.5) as workers:
        assert await workers.run("run-1", b"abc") == b"cba"
        await worker.close()
        # What publishes has its time, however long nobody has been there.
        while workers._lost is None:  # type: ignore[attr-defined] # what the watch has found
            await anyio.sleep(0.05)
        with pytest.raises(FatalError, match="no workers"):
            await workers.run("run-2", b"abc")


@pytest.mark.parametrize(
    ("package", "said"), [("poolcensus", "no poolcensus"), ("dask", "has dask 1.0"), ("python", "python 3.7")]
)
async def test_versions_that_differ_are_said_at_once(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch, package: str, said: str
) -> None:
    import distributed

    real = module._DaskWorkers._check_versions
    other = {"poolcensus": None, "dask": "1.0", "python": "3.7.9.final.0"}[package]

    async def check(self: Any) -> None:
        found = await self._client.get_versions(packages=["poolcensus"])
        for each in found["workers"].values():
            each["packages"][package] = other

        async def get_versions(packages: Mapping[str, str]) -> Any:
            return found

        monkeypatch.setattr(self._client, "get_versions", get_versions)
        await real(self)

    monkeypatch.setattr(module._DaskWorkers, "_check_versions", check)
    async with distributed.Worker(scheduler.address, nthreads=1, dashboard_address="127.0.0.1:0"):
        with pytest.raises(FatalError, match=said):
            async with dask_workers(tasks.backward, scheduler=scheduler.address):
                pass


async def test_a_worker_that_comes_later_with_another_version_is_refused(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import distributed

    real: Any = distributed.Client.get_versions
    first = await distributed.Worker(scheduler.address, nthreads=1, dashboard_address="127.0.0.1:0")

    async def get_versions(self: Any, packages: Any) -> Any:
        found = await real(self, packages=packages)
        for address, each in found["workers"].items():
            if address != first.address:
                each["packages"]["poolcensus"] = "0.0.1"
        return found

    monkeypatch.setattr(distributed.Client, "get_versions", get_versions)
    with pytest.raises(FatalError, match=r"has poolcensus 0\.0\.1"):
        async with dask_workers(tasks.backward, scheduler=scheduler.address) as workers:
            assert await workers.run("run-1", b"abc") == b"cba"
            later = await distributed.Worker(scheduler.address, nthreads=1, dashboard_address="127.0.0.1:0")
            with anyio.fail_after(30):
                for number in count(2):
                    await workers.run(f"run-{number}", b"abc")
    await later.close()
    await first.close()


@pytest.mark.parametrize("reply", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 64, b""])
async def test_another_kind_of_server_is_one_sentence(monkeypatch: pytest.MonkeyPatch, reply: bytes) -> None:
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.5)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(FatalError, match=f"{address}.*check its address"):
            with anyio.fail_after(10):
                async with dask_workers(tasks.backward, scheduler=address):
                    pass


async def test_tls_without_certificates_is_one_sentence() -> None:
    with pytest.raises(
        FatalError, match=r"No certificates for tls://127.0.0.1:1: set distributed\.comm\.tls"
    ):
        async with dask_workers(tasks.backward, scheduler="tls://127.0.0.1:1"):
            pass


async def test_a_start_that_is_stopped_ends_what_it_has_started(capfd: pytest.CaptureFixture[str]) -> None:
    with anyio.move_on_after(0.2) as scope:
        async with dask_workers(tasks.backward, count=1):
            pytest.fail("a worker started in no time")
    assert scope.cancelled_caught
    assert capfd.readouterr().err == ""


class Ended:
    """A cluster whose workers end while they start, as by a signal to the whole group of processes."""

    def __init__(self, scope: anyio.CancelScope | None) -> None:
        self._scope = scope

    def __await__(self) -> Generator[None]:
        if self._scope is not None:
            self._scope.cancel()
        yield
        raise RuntimeError("Nanny failed to start.")


async def test_workers_that_a_signal_ends_in_their_start_have_not_failed() -> None:
    with anyio.CancelScope() as scope:
        await module._start(Ended(scope))
    assert scope.cancelled_caught
    with pytest.raises(FatalError, match=r"Could not start the worker processes: Nanny failed"):
        await module._start(Ended(None))


async def test_a_worker_that_is_ended_in_a_task_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with anyio.fail_after(30):
        async with dask_workers(tasks.is_ended_with_a_file_open, count=1) as workers:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(workers.run, "run-1", b"records")
                    while not [*tmp_path.rglob("part")]:
                        await anyio.sleep(0.05)
                    scope.cancel()
    assert [*tmp_path.iterdir()] == []


def test_loggers_with_a_level_of_their_own_are_silent_too() -> None:
    import distributed  # noqa: F401 - gives its loggers their levels

    client = logging.getLogger("distributed.client")
    before = client.level
    assert before
    with silenced():
        assert not client.isEnabledFor(logging.CRITICAL)
    assert client.level == before


async def test_an_interrupt_is_this_process_s_alone() -> None:
    await to_thread.run_sync(resource_tracker.ensure_running)
    taken: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: taken.append(number))
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    try:
        with interrupts_kept_from_children():
            child = await anyio.run_process([sys.executable, "-c", code])
            os.kill(os.getpid(), signal.SIGINT)
            with anyio.fail_after(10):
                while not taken:
                    await anyio.sleep(0.01)
    finally:
        signal.signal(signal.SIGINT, before)
    assert child.stdout == b"alive\n"
    assert taken == [signal.SIGINT]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


async def test_a_worker_that_has_stopped_is_taken_for_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    # It looks as often, so that it may take twice as long.
    assert 2 * module._SILENT_SECONDS <= 60
    # Dask waits for ten heartbeats at least, which come twice a second.
    monkeypatch.setattr(module, "_SILENT_SECONDS", 1)
    async with dask_workers(tasks.backward, count=1) as workers:
        for each in _processes():
            each.send_signal(signal.SIGSTOP)
        with anyio.fail_after(40):
            assert await workers.run("run-1", b"abc") == b"cba"


async def test_a_worker_that_has_stopped_in_its_start_is_ended_with_it() -> None:
    before = {each.pid for each in _processes()}
    with anyio.fail_after(30), anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(_opened)
            while not (begun := [each for each in _processes() if each.pid not in before]):
                await anyio.sleep(0.01)
            for each in begun:
                each.send_signal(signal.SIGSTOP)
            scope.cancel()
    assert not [each for each in begun if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


async def test_a_worker_that_has_stopped_in_the_place_of_another_is_ended_with_it() -> None:
    before = {each.pid for each in _processes()}
    with anyio.fail_after(30):
        async with dask_workers(tasks.backward, count=1):
            (lost,) = (each for each in _processes() if each.pid not in before)
            before.add(lost.pid)
            lost.kill()
            while not (begun := [each for each in _processes() if each.pid not in before]):
                await anyio.sleep(0.01)
            for each in begun:
                each.send_signal(signal.SIGSTOP)
    assert not [each for each in begun if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_only_what_is_left_of_a_cluster_s_workers_is_killed() -> None:
    def nanny(process: object) -> SimpleNamespace:
        return SimpleNamespace(process=SimpleNamespace(process=process))

    def worker(pid: int, *, alive: bool) -> SimpleNamespace:
        return SimpleNamespace(pid=pid, is_alive=lambda: alive)

    hung, other = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    try:
        created = [
            SimpleNamespace(process=None),
            nanny(None),
            # Its number may have become another process's.
            nanny(worker(other.pid, alive=False)),
            # It has just ended: no system has a process of this number.
            nanny(worker(2**30, alive=True)),
            nanny(worker(hung.pid, alive=True)),
        ]
        module._kill(SimpleNamespace(_created=created))
        assert hung.wait(20) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        for each in (hung, other):
            each.kill()
            each.wait()


async def test_a_worker_that_does_not_start_in_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its process has to be there by then, which takes a second and more on a slow machine.
    monkeypatch.setattr(module, "_START_SECONDS", 5.0)
    real, clusters = module._close, []

    async def close(cluster: Any) -> None:
        clusters.append(cluster)
        await real(cluster)

    monkeypatch.setattr(module, "_close", close)
    tasks_before = len(asyncio.all_tasks())
    before = {each.pid for each in _processes()}

    async def suspend() -> None:
        while not (begun := [each for each in _processes() if each.pid not in before]):
            await anyio.sleep(0.01)
        for each in begun:
            each.send_signal(signal.SIGSTOP)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(suspend)
            with pytest.raises(FatalError, match="No workers after 5 s"):
                await _opened()
            # Dask goes on with its start until it sees that the process is gone, and closes what it has open.
            while len(asyncio.all_tasks()) > tasks_before:
                await anyio.sleep(0.01)
    # Otherwise it would warn of a cluster that was left open.
    assert [each.status.name for each in clusters] == ["closed"]


async def _opened() -> None:
    async with dask_workers(tasks.backward, count=1):
        pytest.fail("a worker that has stopped has started")
