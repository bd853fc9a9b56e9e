"""The workers of a running Dask cluster, or worker processes on this machine.

The only module that uses Dask.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from contextlib import asynccontextmanager, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio import to_thread

from poolcensus.errors import FatalError, copy_of_error, first_reason_raised
from poolcensus.extras import not_loaded
from poolcensus.loops import in_thread
from poolcensus.temporary import make_folder, remove
from poolcensus.workers.base import WorkerLostError
from poolcensus.workers.quiet import SILENT, environment_kept, interrupts_kept_from_children, silenced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from poolcensus.workers.base import Work, Workers

# A task that has lost this many workers is taken for the cause. The scheduler of another's cluster has its
# own limit, `distributed.scheduler.allowed-failures`.
_MOST_LOST: Final = 3
# Seconds in which a cluster that grows on demand has to start its first worker, or lost workers to return.
NO_WORKERS_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.5
# A worker that has been silent for this long has stopped, and is replaced. A busy worker still sends a
# message twice a second, or every few seconds on a slow machine, since tasks run in a separate thread. Dask
# checks at the same interval, so a stopped worker is replaced within twice this time.
_SILENT_SECONDS: Final = 30
# A process needs about a second of CPU time to start, and a machine with many cores starts many.
_START_SECONDS: Final = 120.0
# Seconds to wait for a process that is starting, also as a replacement: until it has started it can't be
# asked to end.
_STOPPED_START_SECONDS: Final = 10.0
# Short, since a worker that is closed has no result to return, and may be running a task that nobody needs.
_WORKER_CLOSE_SECONDS: Final = 0.5
# Longer than Dask needs to end a running worker, and short compared with the four seconds that a stop has.
_KILL_SECONDS: Final = 1.0
# A part of the four seconds that a stop has; the rest is for putting the snapshot away.
_CLOSE_SECONDS: Final = 2.0
_PREFIX: Final = "poolcensus-"
# Packages whose versions have to be the same everywhere: https://distributed.dask.org/en/stable/
_OWN: Final = "poolcensus"
_SAME: Final = ("dask", "distributed", "msgpack", _OWN)


@asynccontextmanager
async def dask_workers(
    work: Work,
    *,
    scheduler: str | None = None,
    count: int | None = None,
    environment: Mapping[str, str] = {},
    patience: float = NO_WORKERS_SECONDS,
) -> AsyncIterator[Workers]:
    """Connect to the running cluster of a scheduler, or start `count` worker processes here.

    `environment` is added to the environment of the processes started here; it does not pass through the
    scheduler. They communicate by TLS with temporary keys, since anyone who reaches a scheduler can run code.
    For a running cluster, TLS is configured in Dask's own configuration.

    Raises MissingExtraError if Dask is not installed. Raises FatalError if the cluster can't be reached, has
    no workers for `patience` seconds, or has other versions. The processes started here end with the context.
    """
    try:
        _import()
    except ImportError as error:
        modules = ("cryptography", "dask", "distributed")
        raise await in_thread(not_loaded, error, "Dask", modules, "dask") from error
    with silenced(), environment_kept():
        async with _address_of(scheduler, count, environment) as (address, security):
            place = scheduler or "the worker processes"
            async with _client(address, security, place) as client:
                workers = _DaskWorkers(client, work, place, patience, check_versions=scheduler is not None)
                await workers.start()
                with first_reason_raised():
                    async with anyio.create_task_group() as group:
                        group.start_soon(workers.watch)
                        yield workers
                        group.cancel_scope.cancel()


def _import() -> Any:
    import cryptography  # noqa: F401, PLC0415 - what Dask makes keys with, without naming it as a need
    import distributed  # noqa: PLC0415 - an extra, and half a second

    return distributed


class _DaskWorkers:
    def __init__(self, client: Any, work: Work, place: str, patience: float, *, check_versions: bool) -> None:
        self._client = client
        self._work = work
        self._place = place
        self._patience = patience
        self._check = check_versions
        self._checked: set[str] = set()
        self._seen_at = time.monotonic()
        self.size = 0
        self._lost: FatalError | None = None
        self._waiting: set[anyio.CancelScope] = set()

    async def start(self) -> None:
        """Wait for the first worker."""
        while not await self._look():  # noqa: ASYNC110 - Dask tells nobody of a worker that comes
            await anyio.sleep(_LOOK_SECONDS)

    async def watch(self) -> None:
        """Keep track of the workers as they come and go.

        Once they are lost, each `run` in progress raises the error. Losing them after the last task is no
        error.
        """
        try:
            while True:
                await anyio.sleep(_LOOK_SECONDS)
                await self._look()
        except FatalError as error:
            self._lost = error
            for scope in self._waiting:
                scope.cancel()

    async def run(self, key: str, task: bytes) -> bytes:
        """Run a task, as `Workers.run` says."""
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                if self._lost is None:
                    return await self._run(key, task)
            finally:
                self._waiting.remove(scope)
        raise self._gone() if self._lost is None else copy_of_error(self._lost)

    async def _run(self, key: str, task: bytes) -> bytes:
        distributed = _import()
        # Not pure: Dask must not reuse the result of another task with the same arguments.
        future = self._client.submit(self._work, task, key=f"{_PREFIX}{key}", pure=False)
        try:
            result: bytes = await future
        except distributed.KilledWorker as error:
            times = error.allowed_failures + 1
            raise WorkerLostError(f"the worker that had this account was lost {times} times") from error
        except distributed.utils.CancelledError as error:
            raise self._gone() from error
        finally:
            future.release()
        return result

    async def _look(self) -> int:
        try:
            with anyio.fail_after(_CONNECT_SECONDS):
                threads = await self._client.nthreads()
                if self._check and threads.keys() - self._checked:
                    await self._check_versions()
        except (OSError, TimeoutError) as error:
            raise self._gone() from error
        self.size = sum(threads.values())
        now = time.monotonic()
        if self.size:
            self._seen_at = now
        elif now - self._seen_at > self._patience:
            raise FatalError(
                f"The cluster at {self._place} has had no workers for {self._patience:g} s. Start some with"
                f" 'dask worker {self._place}', and see in their logs why they end."
            )
        return self.size

    async def _check_versions(self) -> None:
        found = await self._client.get_versions(packages=[_OWN])
        self._checked = set(found["workers"])
        mine = _versions(found["client"])
        workers = {f"worker {name}": each for name, each in found["workers"].items()}
        for who, each in {"its scheduler": found["scheduler"], **workers}.items():
            its = _versions(each)
            # The scheduler only forwards tasks, so it does not need poolcensus itself.
            for name in mine if who in workers else mine.keys() - {_OWN}:
                if its.get(name) != mine[name]:
                    other = f"{name} {its[name]}" if its.get(name) else f"no {name}"
                    raise FatalError(
                        f"The cluster at {self._place} can't be used: {who} has {other}, and here it is"
                        f" {mine[name]}. Install the same versions everywhere."
                    )

    def _gone(self) -> FatalError:
        return FatalError(f"The scheduler of {self._place} went away in the middle of the run. Run again.")


def _versions(info: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the versions that have to be the same. Of Python's, only the first two numbers count."""
    packages = info["packages"]
    python = ".".join(str(packages.get("python")).split(".")[:2])
    return {"python": python, **{name: packages.get(name) for name in _SAME}}


@asynccontextmanager
async def _address_of(
    scheduler: str | None, count: int | None, environment: Mapping[str, str]
) -> AsyncIterator[tuple[Any, Any]]:
    """Yield what a client connects to, and its TLS settings. None means those of Dask's configuration."""
    if scheduler is not None:
        yield scheduler, None
        return
    distributed = _import()
    security = distributed.Security.temporary()
    async with _new_folder() as folder:
        cluster = distributed.LocalCluster(
            asynchronous=True,
            n_workers=count or os.cpu_count() or 1,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            protocol="tls",
            security=security,
            dashboard_address=None,
            silence_logs=SILENT,
            scheduler_kwargs={"allowed_failures": _MOST_LOST - 1, "dashboard_address": "127.0.0.1:0"},
            # The engine limits its memory itself. Dask would pause or kill workers by the machine's total
            # use.
            memory_limit=None,
            # The files of a worker that is killed during a task are removed with the folder.
            env={**environment, "TMPDIR": folder},
            preload=["poolcensus.workers.quiet"],
        )
        try:
            # Starting it unblocks SIGINT in the thread that does so. That thread stays, and receives the
            # signal.
            await in_thread(resource_tracker.ensure_running)
            with _private(folder), interrupts_kept_from_children():
                await _start(cluster)
            yield cluster, security
        finally:
            await _close_cluster(cluster)


@asynccontextmanager
async def _new_folder() -> AsyncIterator[str]:
    """Yield a temporary folder, which is removed even if the caller is cancelled."""
    # Not abandoned on cancellation: nobody would know the folder that the thread has made.
    path = await to_thread.run_sync(make_folder, limiter=anyio.CapacityLimiter(1))
    try:
        yield str(path)
    finally:
        # What remains after this time is removed at the end of the process.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await in_thread(remove, path)


async def _start(cluster: Any) -> None:
    """Start a cluster.

    A start is not cancelled: Dask can't close a cluster whose workers are half started.
    """
    scope = anyio.CancelScope(shield=True, deadline=anyio.current_time() + _START_SECONDS)
    ended = anyio.Event()

    async def hurry() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            scope.deadline = min(scope.deadline, anyio.current_time() + _STOPPED_START_SECONDS)
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True) as waiting:
                await ended.wait()
            if waiting.cancelled_caught:
                # Dask waits for every process to start, even one that a signal has suspended.
                _kill(cluster)

    with first_reason_raised():
        async with anyio.create_task_group() as group:
            group.start_soon(hurry)
            failure = None
            with scope:
                try:
                    await cluster
                except RuntimeError as error:
                    failure = error
            ended.set()
            # The signal that stops a run may have ended its workers, too. Then the run is cancelled here, and
            # that is not reported as a failure of the workers.
            await anyio.lowlevel.checkpoint()
            if failure is not None:
                raise FatalError(f"Could not start the worker processes: {failure}") from failure
            group.cancel_scope.cancel()
    if scope.cancelled_caught:
        raise FatalError(f"No workers after {_START_SECONDS:g} s: use fewer `workers`.")


def _kill(cluster: Any) -> None:
    """Kill the remaining worker processes of a cluster."""
    # Workers that are starting are listed only in this private attribute.
    for nanny in cluster._created:  # noqa: SLF001 - see above
        process = nanny.process.process if nanny.process is not None else None
        if process is not None and process.is_alive():
            # The process may have ended just now.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


async def _close_cluster(cluster: Any) -> None:
    async def end(nanny: Any) -> None:
        with suppress(TimeoutError):
            await nanny.close(timeout=_WORKER_CLOSE_SECONDS)

    async def kill_late() -> None:
        await anyio.sleep(_KILL_SECONDS)
        _kill(cluster)

    with anyio.move_on_after(_STOPPED_START_SECONDS, shield=True):
        async with anyio.create_task_group() as killing:
            # Dask waits for a worker that is starting, such as a replacement, and then forgets its process.
            killing.start_soon(kill_late)
            async with anyio.create_task_group() as group:
                for nanny in cluster.workers.values():
                    group.start_soon(end, nanny)
            killing.cancel_scope.cancel()
    try:
        await _close(cluster)
    except AssertionError:
        # Dask asserts that each worker had started, which is false for one that was given up. Without this
        # status, it would warn that nobody has closed the cluster.
        cluster.status = _import().Status.closed
    _kill(cluster)


async def _close(opened: Any) -> None:
    """Close a cluster or a client, even if the caller is cancelled."""
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
        await opened.close(timeout=_CLOSE_SECONDS)


@contextmanager
def _private(folder: str) -> Iterator[None]:
    """Configure the schedulers and workers that are started in the block.

    They keep their files in the folder, and serve no HTTP pages, although they open a port for that even
    without a dashboard. The scheduler replaces workers that have been silent for too long.
    """
    import dask  # noqa: PLC0415 - an extra

    pages: dict[str, list[str]] = {
        f"distributed.{name}.http.routes": [] for name in ("scheduler", "worker", "nanny")
    }
    settings = {
        "temporary-directory": folder,
        # Dask's default of five minutes would take up to ten.
        "distributed.scheduler.worker-ttl": f"{_SILENT_SECONDS} s",
        **pages,
    }
    with dask.config.set(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@asynccontextmanager
async def _client(address: Any, security: Any, place: str) -> AsyncIterator[Any]:
    distributed = _import()
    if security is None and place.startswith("tls://"):
        _check_certificates(place)
    client = distributed.Client(
        address, security=security, asynchronous=True, set_as_default=False, timeout=_CONNECT_SECONDS
    )
    try:
        try:
            # Dask's own timeout only covers connecting. A server of another kind may connect and then stay
            # silent.
            with anyio.fail_after(_CONNECT_SECONDS + _LOOK_SECONDS):
                await client
        except (MemoryError, OverflowError) as error:
            # The reply of another kind of server was read as the length of a message.
            raise FatalError(f"What answers at {place} is no Dask scheduler: check its address.") from error
        except (OSError, TimeoutError) as error:
            message = f"The scheduler at {place} can't be reached: check its address and that it is running."
            raise FatalError(message) from error
        yield client
    finally:
        await _close(client)


def _check_certificates(scheduler: str) -> None:
    """Raise FatalError if the scheduler needs TLS, but Dask's configuration has no usable certificates."""
    wanted = "distributed.comm.tls.ca-file, .client.cert and .client.key in Dask's configuration"
    try:
        context = _import().Security().get_connection_args("client").get("ssl_context")
    except OSError as error:
        raise FatalError(f"Certificates for {scheduler} can't be read ({error}): check {wanted}.") from error
    if context is None:
        raise FatalError(f"No certificates for {scheduler}: set {wanted}.")
