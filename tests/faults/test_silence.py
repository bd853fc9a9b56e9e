"""What stops answering and comes back costs time and no target; what stays silent holds up nothing."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from poolcensus.model import Outcome, SnapshotStatus
from poolcensus.simulator.latency import Latency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from census_lab import Lab
    from faults.conftest import Start

REGIONS = ("us-east-1", "eu-west-1")
AWAY = 1.2


@pytest.mark.parametrize(("fault", "per_account"), [("reset", 32), ("hang", 1)])
async def test_a_region_that_is_away_at_first_loses_no_account(
    lab: Start, fault: str, per_account: int
) -> None:
    # The other region takes twice as long as this one is away.
    here = await lab(
        accounts=24,
        pools_per_target=90,
        regions=REGIONS,
        latency=Latency.parse("150"),
        faults=[f"{fault},region=eu-west-1,until={AWAY}"],
    )
    snapshot = await here.collect(
        concurrency=16, per_region=8, per_account=per_account, attempt_timeout=0.5, max_attempts=3
    )
    assert here.assert_exact(snapshot) == {Outcome.OK: 48}
    # The first calls, and then probes: not each account again and again.
    missed = here.simulator.stats.snapshot()["faults"]
    assert isinstance(missed, dict)
    assert 3 <= int(str(missed[fault])) < 24


async def test_a_region_that_goes_away_between_pages_loses_no_account(lab: Start) -> None:
    here = await lab(
        accounts=20,
        pools_per_target=90,
        regions=REGIONS,
        latency=Latency.parse("100"),
        faults=[f"reset,region=eu-west-1,after=0.4,until={AWAY}"],
    )
    snapshot = await here.collect(concurrency=16, max_attempts=3)
    assert here.assert_exact(snapshot) == {Outcome.OK: 40}


class Relay:
    """Stands between the census and the simulator. Away, it cuts every connection and takes no new one."""

    def __init__(self, here: Lab, *, away_after: int, seconds: float) -> None:
        address = urlsplit(here.simulator.endpoint_url)
        self._address = (address.hostname, address.port)
        self._away_after = away_after
        self._seconds = seconds
        self._until: float | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests = 0
        self.turned_away = 0

    def is_away(self) -> bool:
        return self._until is not None and asyncio.get_running_loop().time() < self._until

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_away():
            self.turned_away += 1
            writer.transport.abort()
            return
        upstream_reader, upstream = await asyncio.open_connection(*self._address)
        self._writers |= {writer, upstream}
        back = asyncio.create_task(_pipe(upstream_reader, writer))
        try:
            while data := await reader.read(1 << 16):
                self.requests += data.count(b"POST / HTTP/1.1")
                if self.requests >= self._away_after and self._until is None:
                    self._until = asyncio.get_running_loop().time() + self._seconds
                    for each in self._writers:
                        each.transport.abort()
                if self.is_away():
                    return
                upstream.write(data)
        except ConnectionError:
            pass
        finally:
            self._writers -= {writer, upstream}
            for each in (writer, upstream):
                each.transport.abort()
            await back


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    except ConnectionError:
        pass
    writer.transport.abort()


@asynccontextmanager
async def relayed(
    here: Lab, monkeypatch: pytest.MonkeyPatch, *, away_after: int, seconds: float
) -> AsyncIterator[Relay]:
    relay = Relay(here, away_after=away_after, seconds=seconds)
    async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        yield relay
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait([task])


# The identity and the list are three calls: it is away amid the roles, amid the pools, and as the run begins.
# There it is away for longer than a person is let wait who asks for the plan alone.
@pytest.mark.parametrize(("away_after", "seconds"), [(8, AWAY), (40, AWAY), (1, 2.0)])
async def test_a_network_that_is_away_for_a_while_loses_nothing(
    lab: Start, monkeypatch: pytest.MonkeyPatch, away_after: int, seconds: float
) -> None:
    here = await lab(accounts=30, pools_per_target=2, regions=REGIONS, latency=Latency.parse("20"))
    async with relayed(here, monkeypatch, away_after=away_after, seconds=seconds) as relay:
        snapshot = await here.collect(concurrency=16)
    assert snapshot.manifest.status is SnapshotStatus.COMPLETE
    assert here.assert_exact(snapshot) == {Outcome.OK: 60}
    # It was away, and was not called by everybody all the time.
    assert 0 < relay.turned_away < 150


async def test_a_dead_region_is_no_concern_of_the_others(lab: Start) -> None:
    here = await lab(
        accounts=30,
        pools_per_target=30,
        regions=REGIONS,
        latency=Latency.parse("50"),
        faults=["hang,region=eu-west-1"],
    )
    snapshot = await here.collect(concurrency=8, attempt_timeout=0.5, max_attempts=3)
    ends = [each.region for each in snapshot.targets()]
    # All of the other region's targets have ended before the first of the silent one is given up.
    assert ends == ["us-east-1"] * 30 + ["eu-west-1"] * 30
    assert snapshot.manifest.outcomes == {Outcome.OK: 30, Outcome.UNREACHABLE: 30}
