"""The interface for writing snapshots, implemented for folders, buckets and standard output.

A store creates a draft. Files are added to the draft, and data is appended to them in order. The draft is
then either committed, with the manifest written last, or aborted, which leaves nothing behind. Readers see a
complete snapshot or none. Failures are raised as `DestinationError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeVar

import msgspec

from poolcensus.format.ids import parse_snapshot_id
from poolcensus.format.packing import joined
from poolcensus.loops import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from types import TracebackType

    from poolcensus.format.packing import Packer, Segment
    from poolcensus.storage.holder import LockHolder
    from poolcensus.storage.source import Source, Survey

JOURNAL_NAME = "journal"
RESUMABLE_FOR = timedelta(days=1)
"""How long after its start an interrupted run can be resumed."""

ABORT_SECONDS = 1.5
"""Seconds that each step of cleaning up may take once a run is cancelled. A run has five seconds to end."""

CONNECTIONS = 16
"""The number of objects read concurrently from a bucket, each over its own connection.

The manifests of a year of nightly runs then take some twenty round trips.
"""


_T = TypeVar("_T")


class LatestChoice(Protocol):
    """Chooses the snapshot that `latest` has to name after a commit, from manifests that the store reads.

    The store calls `start`, then reads the manifests that `next` returns and passes them to `take`, until
    `next` returns none. Then it makes `latest` name `newest`.
    """

    def start(self, ids: Iterable[str], named: str | None) -> None:
        """Begin or restart with the IDs of the published snapshots, and the ID that `latest` names."""

    def next(self) -> Sequence[str]:
        """Return the IDs of the manifests to read next. Empty once the choice is made."""

    def take(self, snapshot_id: str, manifest: bytes | None) -> None:
        """Take a manifest that was read, or None if it can't be read."""

    @property
    def newest(self) -> str | None:
        """The ID that `latest` has to name, or None."""

    @property
    def is_passed_over(self) -> bool:
        """Whether the published snapshot is not chosen because it is dated in the future."""


class InterruptedRun(NamedTuple):
    """The drafts that an interrupted run has left: its folders, with the first lines of their journals.

    `unreadable` maps the folders whose journals can't be read to the error.
    """

    snapshot_id: str
    journals: Mapping[Path, bytes]
    unreadable: Mapping[Path, str] = MappingProxyType({})

    @property
    def is_recent(self) -> bool:
        """Whether the run began recently enough to be resumed."""
        return abs(datetime.now(UTC) - parse_snapshot_id(self.snapshot_id)) < RESUMABLE_FOR


class DraftFile(ABC):
    """A file of a draft. It is completed when the draft is committed."""

    @abstractmethod
    async def append(self, data: bytes) -> None:
        """Append `data`, and return when the store has accepted it.

        Make one call at a time. Raises `DestinationError`, after which the draft can only be aborted.
        """


class Addition(msgspec.Struct, frozen=True):
    """Data to append to a file: `segments`, compressed by the `packer` if there is one.

    `last` marks the end of the file, for which the packer adds its final bytes.
    """

    file: DraftFile
    segments: Sequence[Segment]
    packer: Packer | None = None
    last: bool = False

    def data(self) -> bytes:
        """Return the bytes to append. Blocks."""
        if self.packer is None:
            return joined(self.segments)
        packed = self.packer.pack(self.segments)
        return packed + self.packer.finish() if self.last else packed


class Draft(ABC):
    """A snapshot that is being written.

    `chunk_bytes` is the approximate size of the data for one `append`. `scratch` is a folder for temporary
    files on the same device as the draft, or None if the system's temporary folder has to be used.
    """

    chunk_bytes: int = 1 << 20
    scratch: Path | None = None

    def __init__(self, snapshot_id: str) -> None:
        self.snapshot_id = snapshot_id

    @property
    @abstractmethod
    def published(self) -> bool:
        """Whether readers can see the snapshot."""

    @abstractmethod
    async def create(self, name: str) -> DraftFile:
        """Create a new, empty file. Raises `DestinationError`."""

    async def journal(self) -> DraftFile | None:
        """Create the journal, a file of the draft that is removed by the commit.

        Return None if drafts don't outlive their run. Raises `DestinationError`.
        """
        return None

    async def append(self, additions: Iterable[Addition]) -> None:
        """Append data to files, in order. The data is packed in worker threads.

        A store that writes in a thread makes all additions in a single call of the thread, to save turns of
        the event loop. Raises `DestinationError`, after which the draft can only be aborted.
        """
        for addition in additions:
            if data := await in_thread(addition.data):
                await addition.file.append(data)

    async def suspend(self) -> None:
        """Leave the draft for a run that resumes. Without a journal, nothing is left.

        Does not wait for calls in progress. After this, `abort` has no effect.
        """
        await self.abort()

    @abstractmethod
    async def commit(self, manifest: bytes, latest: LatestChoice) -> None:
        """Complete the files, write manifest.json, publish the snapshot, and update `latest`.

        Raises `DestinationError`. If the snapshot is not published, the draft has been removed. If it is, the
        message says so, and `published` is true.
        """

    async def refuse(self, record: bytes) -> str | None:  # noqa: ARG002 - see the folder and the bucket
        """Keep the ledger of a run that must not be published, with `record` as refused.json.

        Readers don't take this for a snapshot. The kept ledgers of earlier runs are removed, as by a commit.
        Return the place of the ledger, or None if it is not kept. Raises `DestinationError`, after removing
        the draft.
        """
        await self.abort()
        return None

    @abstractmethod
    async def abort(self) -> None:
        """Remove the draft as far as possible, and ignore errors.

        Does nothing after a commit. May be called while another call is in progress.
        """


class Store(ABC):
    """A destination of snapshots. Entering it takes the destination's lock, and leaving it releases the lock.

    Leaving also aborts drafts that are not committed. Entering raises `DestinationLockedError` if another run
    holds the lock, and `DestinationError` if the destination can't be written.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """The destination, as messages name it."""

    @abstractmethod
    async def draft(self, snapshot_id: str) -> Draft:
        """Begin a snapshot. Remove the drafts of dead runs, except those that can be resumed.

        Raises `DestinationError`, and `ValueError` for an invalid snapshot ID.
        """

    @abstractmethod
    async def rehearse(self) -> None:
        """Try the steps of a run without publishing, and leave the destination as it was.

        The store need not be entered. Raises the errors of entering it and of `draft`.
        """

    @abstractmethod
    def reading(self) -> AbstractAsyncContextManager[Source | None]:
        """Open a source that reads the snapshots at this destination, over the store's own connection.

        Yield None if no snapshots are kept. The store has to be entered. The source blocks, and is for use in
        other threads.
        """

    async def interrupted(self) -> Sequence[InterruptedRun]:
        """Return the interrupted runs that left a journal, the newest first.

        The store has to be entered. Raises `DestinationError`.
        """
        return ()

    async def set_aside(self, run: InterruptedRun) -> Sequence[Path]:  # noqa: ARG002 - where none is interrupted
        """Rename the drafts of an interrupted run, so that the run that resumes can use its ID.

        Return the folders, the newest first. The next `draft` does not remove them. Raises
        `DestinationError`.
        """
        return ()

    @abstractmethod
    async def sweep(self, *, keep: Iterable[Path] | None = None) -> None:
        """Remove what dead runs and unfinished removals have left, except the folders in `keep`.

        By default, the newest interrupted run that can be resumed is kept, and newer ones that can't be read
        now. The store has to be entered. Raises `DestinationError`.
        """

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Repository(Store):
    """A store that keeps snapshots, so that they can be listed and removed."""

    @abstractmethod
    async def survey(self, take: Callable[[Survey], _T]) -> _T:
        """Survey the destination, call `take` with the result, and return what that returns.

        `take` is called where blocking reads are allowed. No lock is taken, and nothing is changed. Raises
        `SnapshotError` or `DestinationError` if the destination itself can't be read.
        """

    @abstractmethod
    async def remove(self, snapshot_id: str) -> None:
        """Remove a published snapshot. For readers, it disappears as a whole.

        The store has to be entered. Raises `DestinationError`, and `ValueError` for an invalid snapshot ID.
        Files that could not be removed are left for the next `sweep`.
        """

    @abstractmethod
    async def unlock(self) -> LockHolder | None:
        """Remove the lock of a run that is known to be dead. Return its holder, or None if there was no lock.

        The store need not be entered. If the run is still alive, it can no longer publish. Raises
        `DestinationLockedError` if the holder is a process of this host that exists, or if the lock was
        renewed in the meantime, and `DestinationError`.
        """
