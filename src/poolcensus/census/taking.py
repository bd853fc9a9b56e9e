"""The code that a worker runs: it takes the census of a part, and returns it as a snapshot."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio
import msgspec

from poolcensus.aws.credentials.patience import Waiting
from poolcensus.census.part import (
    MOST_MESSAGES,
    PartFailure,
    PartMessage,
    PartResult,
    decode_task,
    part_failure,
    this_worker,
)
from poolcensus.census.publication import Publication
from poolcensus.census.run import Run
from poolcensus.config.secrets import with_secrets
from poolcensus.errors import CensusError, FatalError
from poolcensus.operations import operation_named
from poolcensus.scope.given import GivenAccounts
from poolcensus.scope.joining import open_all, prepare_all
from poolcensus.tracing import tracing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poolcensus.census.part import PartTask
    from poolcensus.flow.breaker import Endpoint

_log = logging.getLogger("poolcensus")

# The log messages of the part that the current thread or task belongs to.
_MESSAGES: ContextVar[list[PartMessage] | None] = ContextVar("messages", default=None)


def take_part(task: bytes) -> bytes:
    """Take the census of a part, in a new event loop. This is the function that workers run."""
    part = decode_task(task)
    messages: list[PartMessage] = []
    files: dict[str, bytes] = {}
    error: PartFailure | None = None
    known = part.answered
    waiting = Waiting()
    began = time.monotonic()
    try:
        with _kept(messages, part.log_level), TemporaryDirectory(prefix="poolcensus-") as folder:
            snapshot_id, known = anyio.run(partial(_take, part, folder, waiting), backend="asyncio")
            files = {file.name: file.read_bytes() for file in Path(folder, snapshot_id).iterdir()}
    # An OSError is about the folder for temporary files, which is full or missing.
    except (CensusError, OSError) as failure:
        error = part_failure(failure, time.monotonic() - began, waiting.calls)
    # Return only the differences from what the task named.
    result = PartResult(files, error, tuple(messages), known - part.answered, part.answered - known)
    return msgspec.msgpack.encode(result)


async def _take(task: PartTask, folder: str, waiting: Waiting) -> tuple[str, frozenset[Endpoint]]:
    """Publish the snapshot of a part in a folder. Return its ID, and the endpoints known to answer."""
    settings = with_secrets(task.settings, task.secrets, task.organization, os.environ)
    operation = operation_named(task.operation)
    if operation is None:
        raise FatalError(f"a worker does not know the operation {task.operation}")
    given = GivenAccounts(task.accounts, task.organization, task.concurrent_runs)
    run = Run(settings, operation)
    publication = Publication(settings, operation, run, folder, snapshot_id=task.snapshot_id)
    with run.begun():
        async with (
            prepare_all(settings, tracing()) as joined,
            publication.store(joined) as store,
            open_all(operation, joined, given, waiting) as organizations,
        ):
            (opened,) = organizations
            breakers = opened.aws.client.breakers
            breakers.add_answered(task.answered)
            manifest = await publication.collect(organizations, store)
            known = breakers.answered
    return manifest.snapshot_id, known


class _Keeping(logging.Handler):
    """Collects the log messages of one part only. Parts that share a process share the logger, too."""

    def __init__(self, messages: list[PartMessage], level: int) -> None:
        super().__init__(level)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        if _MESSAGES.get() is self._messages and len(self._messages) < MOST_MESSAGES:
            self._messages.append(_message_of(record))


def _message_of(record: logging.LogRecord) -> PartMessage:
    text, once = record.getMessage(), record.__dict__.get("once")
    if not isinstance(once, str):
        return PartMessage(record.levelno, text)
    # A message with its own `once` text is about this machine, so name it.
    return PartMessage(record.levelno, f"{this_worker()}: {text}", once)


@contextmanager
def _kept(messages: list[PartMessage], level: int) -> Iterator[None]:
    """Collect the messages that are logged in the block. Nobody looks at a worker's standard error."""
    handler = _Keeping(messages, level)
    before = _MESSAGES.set(messages)
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _MESSAGES.reset(before)
