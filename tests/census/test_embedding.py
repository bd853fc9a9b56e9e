"""A census inside somebody's service: it takes nothing that belongs to the process, and leaves nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
import trio

import poolcensus
from descriptors import descriptors
from poolcensus.snapshot import Snapshot, list_snapshots
from poolcensus.snapshot.verification import verify
from poolcensus.storage.local.store import FolderStore
from snapshot.making import folder_of
from storage.buckets import PLACE, stored
from utf8_locale import UTF8_LOCALE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from census_lab import Lab
    from poolcensus.config import Settings

    Start = Callable[..., Coroutine[None, None, Lab]]

SERVICE = """
    import asyncio, gc, json, locale, logging, os, signal, socket, sys, threading, time, warnings
    from pathlib import Path

    def state():
        loggers = {name: logging.getLogger(name) for name in (None, "poolcensus", "asyncio")}
        return {
            "signals": {each: signal.getsignal(each) for each in signal.valid_signals()},
            "logging": {
                str(name): (each.level, each.disabled, each.propagate, repr(each.filters), [
                    repr(handler) for handler in each.handlers if type(handler) is not logging.NullHandler
                ])
                for name, each in loggers.items()
            },
            "logging as a whole": (logging.root.manager.disable, repr(logging.getLoggerClass())),
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "umask": (mask := os.umask(0o077), os.umask(mask))[0],
            "locale": locale.setlocale(locale.LC_ALL),
            "zone": time.tzname,
            "gc": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.get_debug()),
            "hooks": list(map(repr, (sys.excepthook, sys.unraisablehook, threading.excepthook))),
            "interpreter": (sys.getrecursionlimit(), sys.getswitchinterval(), socket.getdefaulttimeout()),
            "standard streams": list(map(repr, (sys.stdin, sys.stdout, sys.stderr))),
            "policy": sys.version_info < (3, 14) and repr(asyncio.get_event_loop_policy()),
        }

    def state_of_loop():
        loop = asyncio.get_running_loop()
        return {
            "exception handler": repr(loop.get_exception_handler()),
            "task factory": repr(loop.get_task_factory()),
            "debug": loop.get_debug(),
            "loop": id(loop),
        }

    def handler(*_): ...

    os.umask(0o027)
    locale.setlocale(locale.LC_ALL, sys.argv[3])
    gc.set_threshold(701, 11, 12)
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = state()

    import poolcensus
    from poolcensus.census import Census

    changed = set()

    def look(loop_before):
        for was, now in ((before, state()), (loop_before, state_of_loop())):
            changed.update(name for name in was if was[name] != now[name])

    async def watch(loop_before, looks):
        while True:
            look(loop_before)
            looks.append(None)
            await asyncio.sleep(0)

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(handler)
        loop.add_signal_handler(signal.SIGUSR1, handler)
        before["signals"] = state()["signals"]
        loop_before, looks = state_of_loop(), []
        watcher = asyncio.create_task(watch(loop_before, looks))
        settings = poolcensus.Settings.load(regions=sys.argv[2].split(","))
        async with Census(settings) as census:
            assert len([target async for target in census.targets()]) > 0
            seen = len([record async for record in census.pools()])
            snapshot = await census.collect(sys.argv[1])
            plan = await census.plan()
            assert snapshot.manifest.totals.pools == seen
            await poolcensus.prune(sys.argv[1], poolcensus.Keep(last=1))
        watcher.cancel()
        look(loop_before)
        assert len(looks) > 20
        assert asyncio.all_tasks() <= {asyncio.current_task(), watcher}
        return seen

    seen = asyncio.run(main())
    print(json.dumps([sorted(changed), seen]))
"""


async def test_nothing_of_the_process_or_the_loop_is_changed_at_any_time(lab: Start, tmp_path: Path) -> None:
    # One backoff: the service looks in every turn of its loop, also while nothing happens.
    here = await lab(accounts=8, mean_pools=3, faults=("throttle,account=000000000003,first=1",))
    pools = sum(len(each.pools) for each in here.simulator.world.truth())
    source = Path(poolcensus.__file__).parents[1]
    done = await anyio.run_process(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            textwrap.dedent(SERVICE),
            str(tmp_path / "dest"),
            ",".join(here.simulator.world.config.regions),
            UTF8_LOCALE,
        ],
        check=False,
        env={**os.environ, "PYTHONPATH": str(source)},
        stderr=subprocess.PIPE,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout.decode() == f"[[], {pools}]\n"


def of_profile(here: Lab, name: str, dest: Path) -> Settings:
    """Settings for one of several simulators: its address, and a profile with its credentials."""
    with Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).open("a") as file:
        file.write(
            f"[{name}]\naws_access_key_id = {here.simulator.access_key_id}\n"
            f"aws_secret_access_key = {here.simulator.secret_access_key}\n"
        )
    # Few calls at a time, so that the runs take turns from their first call to their last.
    return here.settings(
        profile=name, endpoint_url=here.simulator.endpoint_url, dest=str(dest), concurrency=3
    )


async def collected(settings: Settings) -> Snapshot:
    async with poolcensus.Census(settings) as census:
        return await census.collect()


async def test_two_at_once_in_one_loop_do_not_mix(
    lab: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The same account ids on both sides, with other pools behind them.
    one = await lab(accounts=12, mean_pools=4, seed=1, no_role=0.2)
    two = await lab(accounts=12, mean_pools=4, seed=2, faults=("throttle:0.1",))
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    settings = [of_profile(one, "one", tmp_path / "one"), of_profile(two, "two", tmp_path / "two")]
    first, second = await asyncio.gather(*map(collected, settings))
    one.assert_exact(first)
    two.assert_exact(second)
    assert first.manifest.outcomes != second.manifest.outcomes
    for snapshot in (first, second):
        assert verify(snapshot) == ()
        assert list_snapshots(folder_of(snapshot).parent) == (snapshot.info,)


async def test_one_in_the_loop_of_another_thread(lab: Start) -> None:
    here = await lab(accounts=10, mean_pools=4)

    def work() -> tuple[Snapshot, threading.Thread]:
        return asyncio.run(collected(here.settings())), threading.current_thread()

    snapshot, thread = await anyio.to_thread.run_sync(work)
    assert thread is not threading.main_thread()
    here.assert_exact(snapshot)


async def test_loops_in_two_threads_at_once(lab: Start, tmp_path: Path) -> None:
    here = await lab(accounts=10, mean_pools=4)
    snapshots: dict[str, Snapshot] = {}

    def work(name: str) -> None:
        snapshots[name] = asyncio.run(collected(here.settings(dest=str(tmp_path / name))))

    async with anyio.create_task_group() as group:
        for name in ("one", "two"):
            group.start_soon(anyio.to_thread.run_sync, work, name)
    for name in ("one", "two"):
        here.assert_exact(snapshots[name])


async def collect(here: Lab) -> None:
    # The caller's own account waits for no role: what is done of it would be kept for a run that resumes.
    await collected(here.settings(exclude_accounts=["000000000001"]))


async def read_pools(here: Lab) -> None:
    async with poolcensus.Census(here.settings()) as census:
        async for _ in census.pools():
            pass


async def read_targets(here: Lab) -> None:
    async with poolcensus.Census(here.settings()) as census:
        async for _ in census.targets():
            pass


async def plan(here: Lab) -> None:
    async with poolcensus.Census(here.settings()) as census:
        await census.plan()


@pytest.mark.parametrize(
    ("body", "service", "operation"),
    [
        (body, service, operation)
        for service, operation, bodies in (
            ("sts", "GetCallerIdentity", (collect, read_pools, read_targets, plan)),
            ("organizations", "ListAccounts", (collect, read_pools, read_targets, plan)),
            ("account", "ListRegions", (collect, read_pools, plan)),
            ("sts", "AssumeRole", (collect, read_pools)),
            ("workspaces", "DescribeWorkspacesPools", (collect, read_pools)),
        )
        for body in bodies
    ],
)
async def test_cancelling_the_callers_task_ends_everything(
    lab: Start, body: Callable[[Lab], Coroutine[None, None, None]], service: str, operation: str
) -> None:
    # A target that had ended meanwhile would be worth keeping.
    hang = (f"hang,service={service},operation={operation}", "hang,service=workspaces")
    here = await lab(accounts=12, mean_pools=3, faults=hang)
    before = asyncio.all_tasks()
    sockets = open_sockets()
    caller = asyncio.create_task(body(here))
    while here.calls(f"{service}.{operation}") == 0:
        await anyio.sleep(0.001)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert asyncio.all_tasks() == before
    while here.simulator.stats.snapshot()["connections_open"] != 0:
        await anyio.sleep(0.001)
    assert open_sockets() == sockets
    if body is collect:
        assert [entry.name for entry in here.dest.iterdir()] == [".lock"]
        async with FolderStore(here.dest):
            pass


async def test_a_timeout_of_the_callers_ends_it_as_a_timeout(lab: Start) -> None:
    here = await lab(accounts=3, faults=("hang",))
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(None) as limit:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(collect(here))
                while here.calls("workspaces.DescribeWorkspacesPools") == 0:
                    await anyio.sleep(0.001)
                limit.reschedule(0)
                await work
    assert asyncio.all_tasks() == before
    assert [entry.name for entry in here.dest.iterdir()] == [".lock"]


def open_sockets() -> set[tuple[int, int]]:
    kinds = {number: os.fstat(number) for number in descriptors()}
    return {(number, each.st_ino) for number, each in kinds.items() if stat.S_ISSOCK(each.st_mode)}


def test_the_loop_of_another_library_is_told_which_loops_do(tmp_path: Path) -> None:
    async def enter() -> None:
        async with poolcensus.Census(poolcensus.Settings()):
            raise AssertionError("a census began")

    async def unlock() -> None:
        await poolcensus.unlock("s3://bucket/prefix")

    async def prune() -> None:
        await poolcensus.prune(tmp_path, poolcensus.Keep(last=1))

    async def merge() -> None:
        await poolcensus.merge([tmp_path], tmp_path)

    for call in (enter, unlock, prune, merge):
        with pytest.raises(poolcensus.CensusError, match="asyncio's event loop .*uvloop's. Call it from"):
            trio.run(call)
        with pytest.raises(poolcensus.CensusError, match="asyncio's event loop"):
            call().send(None)


def test_a_census_runs_in_the_loops_that_take_the_place_of_asyncios(tmp_path: Path) -> None:
    program = """
        import asyncio, json, os, subprocess, sys
        import poolcensus, uvloop

        async def main(dest):
            async with poolcensus.Census(poolcensus.Settings(dest=dest, regions="us-east-1")) as census:
                async for _ in census.pools():
                    break
                print((await census.collect()).manifest.status)

        command = [sys.executable, "-m", "poolcensus", "simulate", "--json", "--accounts=9", "--mean-pools=3"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
            served = json.loads(simulator.stdout.readline())
            os.environ.update({f"AWS_{key.upper()}": value for key, value in served.items()})
            try:
                for loop in (asyncio, uvloop):
                    print(loop.__name__)
                    loop.run(main(os.path.join(sys.argv[1], loop.__name__)))
            finally:
                simulator.terminate()
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("asyncio\ncomplete\nuvloop\ncomplete\n", "")


@pytest.mark.parametrize(
    "dest",
    [
        "s3:bucket/prefix",
        '"s3://bucket/prefix"',
        "arn:aws:s3:::bucket/prefix",
        "s3://bucket/prefix\r",
        "snapshots\r",
        "snap\0shots",
        "",
        Path("s3://bucket/prefix"),
    ],
)
async def test_a_destination_given_in_code_is_checked_as_one_in_the_settings(
    lab: Start, dest: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=1)
    monkeypatch.chdir(tmp_path)
    async with poolcensus.Census(here.settings()) as census:
        with pytest.raises(poolcensus.SettingsError, match="^dest: "):
            await census.collect(dest)
    assert not here.simulator.stats.snapshot()["calls"]
    assert not [*tmp_path.iterdir()]


async def test_a_destination_given_in_code_may_be_in_the_home_folder(
    lab: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    async with poolcensus.Census(here.settings()) as census:
        snapshot = await census.collect("~/snapshots")
    assert snapshot.path is not None
    assert snapshot.path.parent == tmp_path / "snapshots"


async def test_a_census_needs_none_of_the_threads_of_the_program_around_it(lab: Start) -> None:
    here = await lab(accounts=2, regions=("us-east-1",))
    # Such as those of a web framework's handlers, each of which waits for a census.
    async with anyio.to_thread.current_default_thread_limiter():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        snapshot = await here.collect()
    assert snapshot.manifest.totals.pools > 0


@pytest.mark.parametrize("kind", ["fast", "sdk"])
async def test_a_census_looks_up_no_name_in_the_threads_of_the_loop(
    lab: Start, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    here = await lab(accounts=2, regions=("us-east-1",))
    stored(here.simulator)
    real, names = socket.getaddrinfo, set()

    def getaddrinfo(host: str | bytes, *args: int, **options: int) -> object:
        names.add(host.decode() if isinstance(host, bytes) else host)
        return real("127.0.0.1", *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv(
        "AWS_ENDPOINT_URL", here.simulator.endpoint_url.replace("127.0.0.1", "aws.example.com")
    )
    over = threading.Event()
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as executor:
        loop.set_default_executor(executor)
        # Such as what a service has for asyncio.to_thread.
        waiting = loop.run_in_executor(None, over.wait)
        try:
            async with poolcensus.Census(here.settings(dest=PLACE, transport=kind)) as census:
                snapshot = await census.collect()
        finally:
            over.set()
            await waiting
    assert snapshot.manifest.totals.pools > 0
    assert names == {"aws.example.com"}
