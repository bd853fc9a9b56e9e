"""Sinks of the engine other than the snapshot's writer: streams, and a recorder of results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from poolcensus.model import Page, PoolRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from poolcensus.engine.interfaces import Sink
    from poolcensus.model import Target, TargetResult
    from poolcensus.results.expected_failures import KnownGaps
    from poolcensus.results.failure_tally import FailureTally
    from poolcensus.snapshot.hidden import HiddenTargets
    from poolcensus.streams import Outlet

T = TypeVar("T")

UNCOVERED_KEPT = 1000


class ResultRecorder:
    """A sink that forwards to another sink and records the targets that were not covered.

    It keeps the first of their results, and counts them in `tally`, except for failures that are expected.
    """

    def __init__(
        self,
        sink: Sink,
        uncovered: list[TargetResult],
        tally: FailureTally,
        hidden: HiddenTargets,
        known_gaps: KnownGaps,
    ) -> None:
        self._sink = sink
        self._uncovered = uncovered
        self._tally = tally
        self._hidden = hidden
        self._known_gaps = known_gaps
        self.page, self.full, self.room = sink.page, sink.full, sink.room

    def done(self, result: TargetResult, target: Target) -> None:
        self._sink.done(result, target)
        expected = self._known_gaps.take(result)
        self._hidden.add(result)
        if not result.outcome.covered:
            if not expected:
                self._tally.add(result)
            if len(self._uncovered) < UNCOVERED_KEPT:
                self._uncovered.append(result)


class _StreamSink(Generic[T]):
    def __init__(self, outlet: Outlet[T]) -> None:
        self._outlet = outlet
        self.full, self.room = outlet.full, outlet.room

    def done(self, result: TargetResult, target: Target) -> None:
        pass


class PageSink(_StreamSink[Page]):
    """Puts the pages into a stream."""

    def page(self, page: Page) -> None:
        self._outlet.put((page,))


class EventSink(_StreamSink["Page | TargetResult"]):
    """Puts the pages into a stream, and the result of each target after its last page."""

    def page(self, page: Page) -> None:
        self._outlet.put((page,))

    def done(self, result: TargetResult, target: Target) -> None:  # noqa: ARG002 - the engine's interface
        self._outlet.put((result,))


class PoolSink(_StreamSink[PoolRecord]):
    """Puts the pools of each page into a stream, as records. `partitions` are by Organization."""

    def __init__(self, outlet: Outlet[PoolRecord], partitions: Mapping[str | None, str]) -> None:
        super().__init__(outlet)
        self._partitions = partitions

    def page(self, page: Page) -> None:
        # An empty batch would take room in the outlet and wake the reader for nothing.
        if not page.pools:
            return
        account = page.target.account
        self._outlet.put(
            tuple(
                PoolRecord(
                    collected_at=page.received_at,
                    partition=self._partitions[account.organization],
                    account_id=account.id,
                    account_name=account.name,
                    region=page.target.region,
                    pool=pool,
                    ou_path=account.ou_path,
                    account_tags=account.tags,
                    organization=account.organization,
                )
                for pool in page.pools
            )
        )
