"""Where snapshots are written: one small interface, behind it a folder, standard output or an object store.

A store hands out a draft. A draft takes files, appended to in order, and ends either committed, with
the manifest as the last thing written, or aborted, leaving nothing behind. Readers see a committed
snapshot whole or not at all. Whatever goes wrong underneath is a `DestinationError`.
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
"""How long each step of clearing up may take once a run is cancelled, which has five seconds to be gone."""

CONNECTIONS = 16
"""How many objects of a bucket are read at a time, each over a connection of its own.

A year of nightly manifests then takes some twenty round trips.
"""


_T = TypeVar("_T")


class LatestChoice(Protocol):
    """Chooses which snapshot `latest` has to name after a commit, by manifests that the store reads for it.

    The store calls `start` with what there is, reads what `next` asks for until that is nothing, and then has
    `latest` name `newest`.
    """

    def start(self, ids: Iterable[str], named: str | None) -> None:
        """Begin, perhaps once more: the ids of the published snapshots, and the one that `latest` names."""

    def next(self) -> Sequence[str]:
        """Return the ids of the manifests to read next, none once the choice is made."""

    def take(self, snapshot_id: str, manifest: bytes | None) -> None:
        """Take what was read, None where it can't be read."""

    @property
    def newest(self) -> str | None:
        """The id to name, None where there is none."""

    @property
    def is_passed_over(self) -> bool:
        """Whether what was published is not named because it is dated in the future."""


class InterruptedRun(NamedTuple):
    """What an interrupted run has left: its folders, each with the first line of its journal.

    `unreadable` are those whose journals the system refuses to read, each with what it says.
    """

    snapshot_id: str
    journals: Mapping[Path, bytes]
    unreadable: Mapping[Path, str] = MappingProxyType({})

    @property
    def is_recent(self) -> bool:
        """Whether the run began so lately that it can be resumed."""
        return abs(datetime.now(UTC) - parse_snapshot_id(self.snapshot_id)) < RESUMABLE_FOR


class DraftFile(ABC):
    """A file of a draft. It is complete when the draft is committed."""

    @abstractmethod
    async def append(self, data: bytes) -> None:
        """Add `data` at the end and return when the store has taken it over.

        One call at a time. Raises `DestinationError`; the draft can then only be aborted.
        """


class Addition(msgspec.Struct, frozen=True):
    """What a file gets next: `segments`, packed if there is a `packer`, and its end if it is the `last`."""

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
    """A snapshot on its way.

    `chunk_bytes` is how much to hand to `append` at once, more or less. `scratch` is a folder on the
    same device as the draft, or None where the system's folder for temporary files has to do.
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
        """Return a new, empty file. Raises `DestinationError`."""

    async def journal(self) -> DraftFile | None:
        """Return a new file that is the draft's and not the snapshot's: it goes with the commit.

        None where drafts don't outlive their run. Raises `DestinationError`.
        """
        return None

    async def append(self, additions: Iterable[Addition]) -> None:
        """Make additions at the ends of files, in order, each packed in a worker thread.

        A store that writes in a thread does all of it in one go: every return to the loop takes a turn of it.
        Raises `DestinationError`; the draft can then only be aborted.
        """
        for addition in additions:
            if data := await in_thread(addition.data):
                await addition.file.append(data)

    async def suspend(self) -> None:
        """Leave the draft as it is, for a run that goes on with it. Without a journal, nothing is left.

        Waits for nothing that is under way, and `abort` has no effect any more.
        """
        await self.abort()

    @abstractmethod
    async def commit(self, manifest: bytes, latest: LatestChoice) -> None:
        """Complete the files, write manifest.json, publish the snapshot, and renew `latest`.

        Raises `DestinationError`. Where that comes before the snapshot is published, the draft has been
        removed; where it comes after, its text says so and `published` is true.
        """

    async def refuse(self, record: bytes) -> str | None:  # noqa: ARG002 - see the folder and the bucket
        """Keep the ledger of a run that must not be published, and `record` as its refused.json.

        No reader takes that for a snapshot. Those of earlier runs are removed, as they are by a commit.
        Returns where it is, None where nothing is kept. Raises `DestinationError`; the draft is removed then.
        """
        await self.abort()
        return None

    @abstractmethod
    async def abort(self) -> None:
        """Remove the draft as far as that is possible, without a word if it is not.

        Does nothing after a commit. May be called while another call is still under way.
        """


class Store(ABC):
    """A destination of snapshots. Entering it takes the destination's lock, leaving it lets go.

    Leaving also aborts what is still a draft.
    Entering raises `DestinationLockedError` where another run holds the lock, and `DestinationError`
    where the destination can't be written.
    """

    @property
    @abstractmethod
    def location(self) -> str:
        """The destination as a person would name it."""

    @abstractmethod
    async def draft(self, snapshot_id: str) -> Draft:
        """Begin a snapshot. Remove what dead runs left, as far as nobody can resume it.

        Raises `DestinationError`, and `ValueError` for what is no snapshot id.
        """

    @abstractmethod
    async def rehearse(self) -> None:
        """Take the steps of a run that publishes nothing, and leave the destination as it was.

        The store has not to be entered. Raises what entering and `draft` raise.
        """

    @abstractmethod
    def reading(self) -> AbstractAsyncContextManager[Source | None]:
        """Open what reads the snapshots that are here, over the store's own connection.

        The store has to be entered. The source blocks: it is for other threads. None where none are kept.
        """

    async def interrupted(self) -> Sequence[InterruptedRun]:
        """Return the runs that were interrupted here and left a journal, the newest first.

        The store has to be entered. Raises `DestinationError`.
        """
        return ()

    async def set_aside(self, run: InterruptedRun) -> Sequence[Path]:  # noqa: ARG002 - where none is interrupted
        """Rename what an interrupted run has left, so that one that goes on can have its id.

        Returns the folders, the newest first; the next `draft` leaves them. Raises `DestinationError`.
        """
        return ()

    @abstractmethod
    async def sweep(self, *, keep: Iterable[Path] | None = None) -> None:
        """Remove what dead runs and removals left, but for the folders in `keep`.

        By default the newest interrupted run that can be resumed is kept, and newer ones that can't be read
        now. The store has to be entered.
        Raises `DestinationError`.
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
    """A store that keeps its snapshots, so that they can be counted and removed."""

    @abstractmethod
    async def survey(self, take: Callable[[Survey], _T]) -> _T:
        """Return what `take` makes of what stands at the destination; it is called where reading may block.

        Takes no lock and changes nothing.

        Raises `SnapshotError` or `DestinationError` where the destination itself can't be read.
        """

    @abstractmethod
    async def remove(self, snapshot_id: str) -> None:
        """Remove a published snapshot. Readers see it whole until they see it no more.

        The store has to be entered. Raises `DestinationError`, and `ValueError` for what is no snapshot id.
        What could not be finished is left for the next `sweep`.
        """

    @abstractmethod
    async def unlock(self) -> LockHolder | None:
        """Remove the lock of a run that is known to be dead. Returns whose it was, None if none held it.

        The store has not to be entered. A run that was alive after all can't publish any more. Raises
        `DestinationLockedError` where the lock is that of a process of this host which exists, or was renewed
        meanwhile, and `DestinationError`.
        """
