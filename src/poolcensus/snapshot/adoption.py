"""Putting a snapshot, which is a part of another one, into the writer of that."""

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

# Each turn of the loop for as many targets as weigh little, most of which have no record.
_MOST_AT_ONCE = 500


async def adopt(
    part: Snapshot,
    snapshot_id: str,
    sink: RecordSink,
    done: Callable[[TargetResult, Target], None],
    claim: Callable[[TargetResult], None] = lambda _: None,
) -> None:
    """Put every target of `part` into the sink of the snapshot of this id, in the ledger's order.

    `claim` is called with each target's result before its records are put, and may raise; `done` takes it
    after them. Where it is cancelled, or ends in an error, no target is left half in. Raises what `pieces_of`
    raises, and DestinationError.
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
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            await in_thread(reading.close)


class _Reading:
    """Pieces, some at a time, for threads that take turns."""

    def __init__(self, pieces: Generator[Piece]) -> None:
        self._batches = _batches(pieces)
        # A call that is cancelled leaves a thread behind that may still read.
        self._mutex = threading.Lock()

    def next(self) -> list[Piece]:
        """Return some pieces, none at the end. Blocks."""
        with self._mutex:
            return next(self._batches, [])

    def close(self) -> None:
        """Let go of the files. Blocks."""
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
