"""The store of standard output. It writes the records, and drops the ledger and the manifest."""

from __future__ import annotations

import os
import select
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, Self

import anyio
from anyio import to_thread

from poolcensus.errors import DestinationError, SnapshotError
from poolcensus.format.ids import parse_snapshot_id
from poolcensus.format.schema import TARGETS_NAME
from poolcensus.storage.advice import destination_error
from poolcensus.storage.base import Draft, DraftFile, Store
from poolcensus.storage.source import SnapshotFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from poolcensus.format.compression import Readable
    from poolcensus.storage.base import LatestChoice


# By POSIX, a pipe that is ready takes this many bytes without blocking.
_SLICE_BYTES = select.PIPE_BUF
_POLL_MILLISECONDS = 100


class StreamStore(Store):
    """A store that writes to a binary stream, usually `sys.stdout.buffer`.

    It is flushed, but never closed.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    @property
    def location(self) -> str:
        return "standard output"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    async def rehearse(self) -> None:
        pass

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        yield

    async def sweep(self, *, keep: Iterable[Path] | None = None) -> None:
        pass

    async def draft(self, snapshot_id: str) -> Draft:
        parse_snapshot_id(snapshot_id)
        return _StreamDraft(snapshot_id, _Output(self._stream, self.location))


class StreamedFiles(SnapshotFiles):
    """The files of a snapshot that went to standard output. None of them can be read again."""

    def __init__(self, snapshot_id: str) -> None:
        self._id = snapshot_id

    @property
    def location(self) -> str:
        return "standard output"

    @property
    def called(self) -> str:
        return self._id

    def manifest(self) -> bytes:
        raise self._gone()

    def names(self) -> list[str]:
        raise self._gone()

    def open(self, name: str) -> AbstractContextManager[Readable]:  # noqa: ARG002 - none is there
        raise self._gone()

    def _gone(self) -> SnapshotError:
        return SnapshotError(
            f"snapshot {self._id} went to standard output and can't be read again: collect into a folder or a"
            " bucket to keep it"
        )


class _StreamDraft(Draft):
    chunk_bytes = 1 << 16

    def __init__(self, snapshot_id: str, output: _Output) -> None:
        super().__init__(snapshot_id)
        self._output = output
        self._published = False

    @property
    def published(self) -> bool:
        return self._published

    async def create(self, name: str) -> DraftFile:
        return _Nowhere() if name.startswith(TARGETS_NAME) else _StreamFile(self._output)

    async def commit(self, manifest: bytes, latest: LatestChoice) -> None:  # noqa: ARG002 - a stream has no place for them
        await self._output.write(b"")
        self._published = True

    async def abort(self) -> None:
        self._output.stop()


class _StreamFile(DraftFile):
    def __init__(self, output: _Output) -> None:
        self._output = output

    async def append(self, data: bytes) -> None:
        await self._output.write(data)


class _Nowhere(DraftFile):
    async def append(self, data: bytes) -> None:
        pass


class _Output:
    """Writes in a worker thread that does not block for ever if the reader stops reading.

    A thread that is blocked in write(2) on a full pipe can't be cancelled, and would keep the process alive
    until the reader ends. So, if the stream has a descriptor, the thread polls it with a timeout, writes only
    as much as it takes without blocking, and checks in between whether it should stop.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._stopped = False
        self._limiter = anyio.CapacityLimiter(1)

    async def write(self, data: bytes) -> None:
        await to_thread.run_sync(self._write, data, limiter=self._limiter, abandon_on_cancel=True)

    def stop(self) -> None:
        self._stopped = True

    def _write(self, data: bytes) -> None:
        try:
            fd = self._stream.fileno()
        except OSError:
            fd = None
        try:
            if fd is None:
                self._stream.write(data)
            self._stream.flush()
            if fd is not None:
                self._write_ready(fd, data)
        except BrokenPipeError as error:
            raise DestinationError(f"{self._name} was closed by its reader") from error
        except OSError as error:
            raise destination_error("write to", self._name, error) from error

    def _write_ready(self, fd: int, data: bytes) -> None:
        ready = select.poll()
        ready.register(fd, select.POLLOUT)
        rest = memoryview(data)
        while rest and not self._stopped:
            if ready.poll(_POLL_MILLISECONDS):
                try:
                    rest = rest[os.write(fd, rest[:_SLICE_BYTES]) :]
                except BlockingIOError:
                    # Another writer has filled a shared, non-blocking pipe in the meantime.
                    continue
