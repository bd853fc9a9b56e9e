"""What a run puts its pages and results into, beside the snapshot's writer: the streams of the library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from poolcensus.model import Page, PoolRecord

if TYPE_CHECKING:
    from poolcensus.engine import Sink
    from poolcensus.model import Target, TargetResult
    from poolcensus.streams import Outlet

T = TypeVar("T")

UNCOVERED_KEPT = 1000


class KeepsUncovered:
    """Passes everything on to a sink, and keeps the first results that were not covered."""

    def __init__(self, sink: Sink, uncovered: list[TargetResult]) -> None:
        self._uncovered = uncovered
        self._sink = sink
        self.page, self.full, self.room = sink.page, sink.full, sink.room

    async def done(self, result: TargetResult, target: Target) -> None:
        await self._sink.done(result, target)
        if not result.outcome.covered and len(self._uncovered) < UNCOVERED_KEPT:
            self._uncovered.append(result)


class _StreamSink(Generic[T]):
    def __init__(self, outlet: Outlet[T]) -> None:
        self._outlet = outlet
        self.full, self.room = outlet.full, outlet.room

    async def done(self, result: TargetResult, target: Target) -> None:
        pass


class PageSink(_StreamSink[Page]):
    """Hands over pages as they are."""

    async def page(self, page: Page) -> None:
        await self._outlet.put((page,))


class RecordSink(_StreamSink[PoolRecord]):
    """Hands over the pools of each page, with where they were seen."""

    def __init__(self, outlet: Outlet[PoolRecord], partition: str) -> None:
        super().__init__(outlet)
        self._partition = partition

    async def page(self, page: Page) -> None:
        account = page.target.account
        await self._outlet.put(
            tuple(
                PoolRecord(
                    page.received_at, self._partition, account.id, account.name, page.target.region, pool
                )
                for pool in page.pools
            )
        )
