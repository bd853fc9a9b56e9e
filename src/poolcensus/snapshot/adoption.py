"""Copies a snapshot that is a part of another one, such as a shard, into the writer of the whole."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import anyio

from poolcensus.loops import in_thread
from poolcensus.snapshot.pieces import PIECE_BYTES, pieces_of
from poolcensus.storage.base import ABORT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from poolcensus.model import Target, TargetResult
    from poolcensus.snapshot.pieces import Piece
    from poolcensus.snapshot.reader import Snapshot
    from poolcensus.snapshot.record_sink import RecordSink

# Targets copied in one turn of the event loop. Most have no records.
_MOST_AT_ONCE = 500


async def adopt(
    part: Snapshot,
    snapshot_id: str,
    sink: RecordSink,
    done: Callable[[TargetResult, Target], None],
    claim: Callable[[TargetResult], None] = lambda _: None,
) -> None:
    """Copy every target of `part` into the sink of another snapshot, in the order of the ledger.

    `snapshot_id` is the ID of that snapshot. `claim` is called with the result of each target before its
    records are added, and may raise an error. `done` is called after them. On cancellation or an error, a
    half-copied target is discarded. Raises DestinationError, and the errors of `pieces_of`.
    """
    reading = _Reading(pieces_of(part, snapshot_id))
    begun: Target | None = None
    try:
        while batch := await in_thread(reading.next):
            for piece in batch:
                if begun is None:
                    claim(piece.result)
                    begun = piece.result.target
                await sink.room()
                if piece.data:
                    sink.add_records(begun, piece.data)
                if piece.last:
                    if piece.result.pools:
                        sink.set_record_count(begun, piece.result.pools)
                    done(piece.result, begun)
                    begun = None
    finally:
        if begun is not None:
            sink.discard(begun)
        reading.end()
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            await in_thread(reading.close)


class _Reading:
    """An iterator over batches of pieces, to be used in threads, one at a time."""

    def __init__(self, pieces: Generator[Piece]) -> None:
        self._batches = _batches(pieces)
        # A cancelled call leaves a thread behind that may still be reading.
        self._mutex = threading.Lock()
        self._is_over = False

    def next(self) -> list[Piece]:
        """Return the next pieces, or an empty list at the end. Blocks."""
        with self._mutex:
            try:
                return next(self._batches, [])
            finally:
                if self._is_over:
                    self._batches.close()

    def end(self) -> None:
        """Make a thread that is still reading close the files itself, since `close` may never be called."""
        self._is_over = True

    def close(self) -> None:
        """Close the files. Blocks."""
        with self._mutex:
            self._batches.close()


def _batches(pieces: Generator[Piece]) -> Generator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    with closing(pieces):
        for piece in pieces:
            batch.append(piece)
            size += len(piece.data)
            if size >= PIECE_BYTES or len(batch) >= _MOST_AT_ONCE:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
