"""Going on with an interrupted run: its finished targets go into the new draft as they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from poolcensus.model import Target, TargetResult
    from poolcensus.snapshot.journal import Entry, Journal, JournalHeader
    from poolcensus.snapshot.writer import SnapshotWriter

_log = logging.getLogger("poolcensus")

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class Interrupted:
    """An interrupted run. It has several journals where it was interrupted more than once.

    They belong to the store, which closes them when it is left.
    """

    def __init__(self, journals: Sequence[Journal]) -> None:
        if not journals:
            raise ValueError("a run without a journal can't be gone on with")
        self._journals = journals
        self._limiter = anyio.CapacityLimiter(1)

    @property
    def header(self) -> JournalHeader:
        """What the run was asked for."""
        return self._journals[0].header

    def has(self, target: Target) -> bool:
        """Whether a target was finished, as far as can be said without reading its line."""
        return any(journal.find(target.account.id, target.region) is not None for journal in self._journals)

    async def restore(self, target: Target, writer: SnapshotWriter) -> TargetResult | None:
        """Put a finished target's records into `writer`, and say how it ended; None for one to be called.

        Raises DestinationError where the writer does.
        """
        for journal in self._journals:
            entry = journal.find(target.account.id, target.region)
            if entry is None:
                continue
            try:
                result = await self._run(journal.result, entry)
                # Every record carries the account's name.
                if result.account_name != target.account.name:
                    continue
                if entry.size:
                    await self._copy(journal, entry, target, result, writer)
            except (OSError, ValueError) as error:
                _log.warning("%s in %s is called again: %s", target.region, target.account.id, error)
                writer.forget(target)
                continue
            return result
        return None

    async def _copy(
        self, journal: Journal, entry: Entry, target: Target, result: TargetResult, writer: SnapshotWriter
    ) -> None:
        pieces = journal.records(entry)
        while (piece := await self._run(_next, pieces)) is not None:
            await writer.records(target, piece)
        writer.count(target, result.pools)

    async def _run(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        return await to_thread.run_sync(call, *args, limiter=self._limiter, abandon_on_cancel=True)


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)
