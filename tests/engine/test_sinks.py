"""The sink of a stream of pools."""

from __future__ import annotations

from poolcensus.engine.sinks import PoolSink
from poolcensus.model import PoolRecord
from poolcensus.streams import Outlet
from snapshot.making import page, pool, target


def test_pages_without_pools_take_no_room() -> None:
    outlet = Outlet[PoolRecord](0)
    sink = PoolSink(outlet, {None: "aws"})
    for number in range(1, 4):
        sink.page(page(target(number)))
    assert not sink.full()
    sink.page(page(target(4), pool("wspool-1")))
    assert sink.full()
