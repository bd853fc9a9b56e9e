"""What a worker runs: the census of a part, into a snapshot of its own that it hands back."""

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

# What the part has logged that this is a thread or a task of.
_MESSAGES: ContextVar[list[PartMessage] | None] = ContextVar("messages", default=None)


def take_part(task: bytes) -> bytes:
    """Take the census of a part, in an event loop of its own. What a worker runs."""
    part = decode_task(task)
    messages: list[PartMessage] = []
    files: dict[str, bytes] = {}
    error: PartFailure | None = None
    known = part.answered
    began = time.monotonic()
    try:
        with _kept(messages, part.log_level), TemporaryDirectory(prefix="poolcensus-") as folder:
            snapshot_id, known = anyio.run(partial(_take, part, folder), backend="asyncio")
            files = {file.name: file.read_bytes() for file in Path(folder, snapshot_id).iterdir()}
    # Those of the system are its folder for temporary files: it is full, or not there.
    except (CensusError, OSError) as failure:
        error = part_failure(failure, time.monotonic() - began)
    # What the part was told of, and has not called, is no news.
    result = PartResult(files, error, tuple(messages), known - part.answered, part.answered - known)
    return msgspec.msgpack.encode(result)


async def _take(task: PartTask, folder: str) -> tuple[str, frozenset[Endpoint]]:
    """Publish the snapshot of a part in a folder. Return its id, and what is known to answer at its end."""
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
            open_all(operation, joined, given, run.waiting) as organizations,
        ):
            (opened,) = organizations
            breakers = opened.aws.client.breakers
            breakers.add_answered(task.answered)
            manifest = await publication.collect(organizations, store)
            known = breakers.answered
    return manifest.snapshot_id, known


class _Keeping(logging.Handler):
    """Keeps what is logged by its own part alone: parts that share a process share the logger, too."""

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
    # What has a text of its own is about this machine.
    return PartMessage(record.levelno, f"{this_worker()}: {text}", once)


@contextmanager
def _kept(messages: list[PartMessage], level: int) -> Iterator[None]:
    """Keep what is logged in the block: a worker's own standard error is not what anybody looks at."""
    handler = _Keeping(messages, level)
    before = _MESSAGES.set(messages)
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _MESSAGES.reset(before)
