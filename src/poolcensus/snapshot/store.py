"""Where snapshots go: one small interface, behind it a folder, standard output or an object store.

A store hands out a draft. A draft takes files, appended to in order, and ends either committed, with
the manifest as the last thing written, or aborted, leaving nothing behind. Readers see a committed
snapshot whole or not at all. Whatever goes wrong underneath is a `DestinationError`.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self

from anyio import to_thread

from poolcensus.errors import DestinationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from poolcensus.model import JsonObject
    from poolcensus.snapshot.holder import LockHolder
    from poolcensus.snapshot.reader import Inventory, SnapshotInfo
    from poolcensus.snapshot.resume import Interrupted

ABORT_SECONDS = 1.5
"""How long each step of clearing up may take once a run is cancelled, which has five seconds to be gone."""


class DraftFile(ABC):
    """A file of a draft. It is complete when the draft is committed."""

    @abstractmethod
    async def append(self, data: bytes) -> None:
        """Adds `data` at the end and returns when the store has taken it over.

        One call at a time. Raises `DestinationError`; the draft can then only be aborted.
        """


class Piece(NamedTuple):
    """What a file gets next: what `make` returns, which may block."""

    file: DraftFile
    make: Callable[[], bytes]


class Draft(ABC):
    """A snapshot on its way.

    `chunk_bytes` is how much to hand to `append` at once, more or less. `scratch` is a folder on the
    same device as the draft, or None where the system's folder for temporary files has to do. `before` is
    known after a commit: the newest of the other snapshots, None where there is none that can be read.
    """

    chunk_bytes: int = 1 << 20
    scratch: Path | None = None

    def __init__(self, snapshot_id: str) -> None:
        self.snapshot_id = snapshot_id
        self.before: SnapshotInfo | None = None

    @property
    @abstractmethod
    def published(self) -> bool:
        """Whether readers can see the snapshot."""

    @abstractmethod
    async def create(self, name: str) -> DraftFile:
        """A new, empty file. Raises `DestinationError`."""

    async def journal(self) -> DraftFile | None:
        """A new file that is the draft's and not the snapshot's: it goes with the commit.

        None where drafts don't outlive their run. Raises `DestinationError`.
        """
        return None

    async def append(self, pieces: Iterable[Piece]) -> None:
        """Adds pieces at the ends of files, in order, each made in a worker thread.

        A store that writes in a thread does all of it in one go: every return to the loop takes a turn of it.
        Raises `DestinationError`; the draft can then only be aborted.
        """
        for file, make in pieces:
            if data := await to_thread.run_sync(make, abandon_on_cancel=True):
                await file.append(data)

    async def suspend(self) -> None:
        """Leaves the draft as it is, for a run that goes on with it. Without a journal, nothing is left.

        Waits for nothing that is under way, and `abort` has no effect any more.
        """
        await self.abort()

    @abstractmethod
    async def commit(self, manifest: bytes) -> None:
        """Completes the files, writes manifest.json and publishes the snapshot.

        Raises `DestinationError`. Where that comes before the snapshot is published, the draft has been
        removed; where it comes after, its text says so and `published` is true.
        """

    async def refuse(self, record: bytes) -> str | None:  # noqa: ARG002 - see the folder and the bucket
        """Keeps the ledger of a run that must not be published, and `record` as its refused.json.

        No reader takes that for a snapshot. Those of earlier runs are removed, as they are by a commit.
        Returns where it is, None where nothing is kept. Raises `DestinationError`; the draft is removed then.
        """
        await self.abort()
        return None

    @abstractmethod
    async def abort(self) -> None:
        """Removes the draft as far as that is possible, without a word if it is not.

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
        """Begins a snapshot. Removes what dead runs left, as far as nobody can go on with it.

        Raises `DestinationError`, and `ValueError` for what is no snapshot id.
        """

    async def interrupted(self, asked: JsonObject) -> Interrupted | None:  # noqa: ARG002 - see the folder
        """The newest run that was interrupted here and was asked for the same, if it left a journal.

        Whatever other dead runs left is removed. Raises `DestinationError`.
        """
        return None

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Shelf(Store):
    """A store that keeps its snapshots, so that they can be counted and removed."""

    @abstractmethod
    async def inventory(self) -> Inventory:
        """What stands at the destination. Takes no lock and changes nothing.

        Raises `SnapshotError` where the destination itself can't be read.
        """

    @abstractmethod
    async def sweep(self) -> None:
        """Removes what dead runs and removals left, as far as nobody can go on with it.

        The store has to be entered. Raises `DestinationError`.
        """

    @abstractmethod
    async def remove(self, snapshot_id: str) -> None:
        """Removes a published snapshot. Readers see it whole until they see it no more.

        The store has to be entered. Raises `DestinationError`, and `ValueError` for what is no snapshot id.
        What could not be finished is left for the next `sweep`.
        """

    @abstractmethod
    async def unlock(self) -> LockHolder | None:
        """Removes the lock of a run that is known to be dead. Returns whose it was, None if none held it.

        The store has not to be entered. A run that was alive after all can't publish any more. Raises
        `DestinationLockedError` where the lock is that of a process of this host which exists, or was renewed
        meanwhile, and `DestinationError`.
        """


_ADVICE = {
    errno.ENOSPC: "make room there or choose another destination",
    errno.EDQUOT: "make room there or choose another destination",
    errno.EFBIG: "lift the limit on the size of files or choose another destination",
    errno.EACCES: "choose a destination that this user can {use}",
    errno.EPERM: "choose a destination that this user can {use}",
    errno.EROFS: "choose a destination that can be written",
    errno.EEXIST: "choose a destination that is a folder",
    errno.ENOTDIR: "choose a destination that is a folder",
    errno.EMFILE: "raise the limit on open files (ulimit -n) or lower --concurrency",
    errno.ENFILE: "let other programs of this machine close files",
    errno.ENOLCK: "choose a destination on a file system that has locks",
    errno.ENOTSUP: "choose a destination on a file system that has locks",
}


@contextmanager
def explained(doing: str, place: Path) -> Iterator[None]:
    """Makes a `DestinationError` of an `OSError` in the block."""
    try:
        yield
    except OSError as error:
        raise destination_error(doing, place, error) from error


def destination_error(doing: str, place: Path | str, error: OSError) -> DestinationError:
    """What a person is told of `error`: where, what, and what to do about it."""
    advice = _ADVICE.get(error.errno or 0, "check the device or choose another destination").format(
        use="read" if doing.startswith("read") else "write"
    )
    return DestinationError(f"can't {doing} {place}: {error.strerror or error}; {advice}")
