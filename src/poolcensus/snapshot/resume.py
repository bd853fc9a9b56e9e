"""Resumes an interrupted run: its finished targets are copied into the new draft."""

from __future__ import annotations

import logging
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from poolcensus.errors import reason_of
from poolcensus.loops import in_thread
from poolcensus.snapshot.journal import Journal, decode_header
from poolcensus.storage.base import ABORT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from pathlib import Path

    from poolcensus.model import JsonObject, Target, TargetResult
    from poolcensus.snapshot.journal import JournalHeader
    from poolcensus.snapshot.record_sink import RecordSink
    from poolcensus.storage.base import InterruptedRun, Store

_log = logging.getLogger("poolcensus")

_NOT_RESUMED: Final = "the interrupted run %s in %s is not resumed: %s"
_RESUMED_IN_PART: Final = "what can't be read of the interrupted run %s in %s is called again: %s"


class Interrupted:
    """An interrupted run. If it was interrupted more than once, it has several journals.

    Whoever opened the journals closes them.
    """

    def __init__(self, journals: Sequence[Journal]) -> None:
        if not journals:
            raise ValueError("a run without a journal can't be resumed")
        self._journals = journals

    @property
    def header(self) -> JournalHeader:
        """The header of the first journal: what the run was asked to do."""
        return self._journals[0].header

    def has(self, target: Target) -> bool:
        """Return whether a target was finished, as far as can be told without reading its line."""
        return any(journal.find(target.account.id, target.region) is not None for journal in self._journals)

    async def restore(self, target: Target, sink: RecordSink) -> TargetResult | None:
        """Copy the records of a finished target into `sink`, and return its result.

        Return None if the target has to be called again. Raises the DestinationError of the sink.
        """
        for journal in self._journals:
            entry = journal.find(target.account.id, target.region)
            if entry is None:
                continue
            try:
                result, piece = await in_thread(journal.begin, entry)
                # Records and ledger line contain the account's name, path and tags, which may have changed.
                if result.target != target:
                    continue
                copied = 0
                while piece:
                    await sink.room()
                    sink.add_records(target, piece)
                    copied += len(piece)
                    piece = await in_thread(journal.piece, entry, copied) if copied < entry.size else b""
                if copied:
                    sink.set_record_count(target, result.pools)
            except (OSError, ValueError) as error:
                why = reason_of(error) if isinstance(error, OSError) else error
                _log.warning("%s in %s is called again: %s", target.region, target.account.id, why)
                sink.discard(target)
                continue
            return result
        return None


class _Journals:
    """The open journals. A journal that is still being opened during `close` is closed at once."""

    def __init__(self) -> None:
        self._open: list[Journal] = []
        self._closed = False
        self._mutex = threading.Lock()

    def open(self, folders: Iterable[Path]) -> tuple[list[Journal], str]:
        """Open and check the journals in these folders. Return them, and what can't be read. Blocks."""
        unread: list[str] = []
        for each in folders:
            try:
                journal = Journal.open(each)
                failure = None if journal is None else journal.failure
            except OSError as error:
                journal, failure = None, error
            if failure is not None:
                unread.append(f"{failure.filename or each}: {reason_of(failure)}")
            with self._mutex:
                if journal is not None and not self._closed:
                    self._open.append(journal)
                elif journal is not None:
                    journal.close()
        return self._open, "; ".join(unread)

    def close(self) -> None:
        """Close the files. Blocks."""
        with self._mutex:
            self._closed = True
            while self._open:
                self._open.pop().close()


@asynccontextmanager
async def interrupted_run(store: Store, asked: JsonObject) -> AsyncIterator[Interrupted | None]:
    """Open the newest interrupted run at a destination that had the same request.

    Yield None if there is none. The store has to be entered. Runs with another request, older than a day or
    unreadable are only logged: a changed setting must not keep all runs of a day from publishing. The drafts
    of other dead runs are removed, except that of the run to resume and newer ones that can't be read now. If
    no run is resumed, the newest draft that another request could resume is kept. Raises `DestinationError`.
    """
    journals = _Journals()
    try:
        kept: list[Path] = []
        opened: list[Journal] = []
        for run in await store.interrupted():
            headers = [*_headers(run)]
            if not headers and not run.unreadable:
                continue
            why = _why_not(run, headers, asked)
            if why is None:
                aside = await store.set_aside(run)
                opened, unread = await in_thread(journals.open, aside)
                kept += aside
                if unread:
                    text = _RESUMED_IN_PART if opened else _NOT_RESUMED
                    _log.warning(text, run.snapshot_id, store.location, unread)
                break
            kept += run.unreadable
            _log.warning(_NOT_RESUMED, run.snapshot_id, store.location, why)
        await store.sweep(keep=kept if opened else None)
        yield Interrupted([*opened]) if opened else None
    finally:
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            await in_thread(journals.close)


def _headers(run: InterruptedRun) -> Iterator[JournalHeader]:
    """Yield the headers of a run's journals that can be read."""
    for line in run.journals.values():
        try:
            yield decode_header(line)
        except ValueError:
            continue


def _why_not(run: InterruptedRun, headers: Sequence[JournalHeader], asked: JsonObject) -> str | None:
    """Return why a run with this request can't resume the interrupted run, or None if it can."""
    if not run.is_recent:
        return "it began more than a day ago"
    if not headers:
        return "; ".join(run.unreadable.values())
    for header in headers:
        names = sorted(name for name in {*header.asked, *asked} if header.asked.get(name) != asked.get(name))
        if names:
            return f"it was asked for something else ({', '.join(names)})"
        if header.snapshot_id != run.snapshot_id:
            return "its journal is that of another run"
    return None
