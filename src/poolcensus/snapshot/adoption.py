"""Putting a snapshot, which is a part of another one, into the writer of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from poolcensus.loops import in_thread
from poolcensus.model import Account, Target
from poolcensus.snapshot.pieces import PIECE_BYTES, pieces_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from poolcensus.model import TargetResult
    from poolcensus.snapshot.pieces import Piece
    from poolcensus.snapshot.reader import Snapshot
    from poolcensus.snapshot.resume import TakesRecords

# Each turn of the loop for as many targets as weigh little, most of which have no record.
_MOST_AT_ONCE = 500


async def adopt(
    part: Snapshot,
    snapshot_id: str,
    writer: TakesRecords,
    done: Callable[[TargetResult, Target], Awaitable[None]],
    claim: Callable[[TargetResult], None] = lambda _: None,
) -> None:
    """Put every target of `part` into the writer of the snapshot of this id, in the ledger's order.

    `claim` is called with each target's result before its records are put, and may raise; `done` takes it
    after them. Where it is cancelled, or ends in an error, no target is left half in. Raises what `pieces_of`
    raises, and DestinationError.
    """
    batches = _batches(pieces_of(part, snapshot_id))
    while batch := await in_thread(_next, batches):
        for piece in batch:
            claim(piece.result)
            await _put(piece, writer, done)


async def _put(
    piece: Piece, writer: TakesRecords, done: Callable[[TargetResult, Target], Awaitable[None]]
) -> None:
    result = piece.result
    target = Target(_account_of(result), result.region)
    put = False
    try:
        if piece.data:
            await writer.records(target, piece.data)
        if piece.last:
            if result.pools:
                writer.count(target, result.pools)
            await done(result, target)
        put = True
    finally:
        if not put:
            writer.forget(target)


def _account_of(result: TargetResult) -> Account:
    return Account(
        result.account_id,
        result.account_name,
        result.ou_path,
        result.account_tags,
        result.organization,
    )


def _batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.data)
        if size >= PIECE_BYTES or len(batch) >= _MOST_AT_ONCE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _next(batches: Iterator[list[Piece]]) -> list[Piece] | None:
    return next(batches, None)
