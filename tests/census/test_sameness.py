"""The same data give the same bytes, whatever the timings, the limits and the time zone are."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from poolcensus.format.ids import parse_snapshot_id
from poolcensus.simulator.latency import Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from census_lab import Lab
    from poolcensus.model import Manifest
    from poolcensus.snapshot import Snapshot

    Start = Callable[..., Coroutine[None, None, Lab]]

# What belongs to the run; what is left are the bytes as they lie in the file.
_RUN_OF_A_RECORD = re.compile(rb'"(?:snapshot_id|collected_at)":"[^"]*",')
_RUN_OF_A_RESULT = re.compile(rb'"(?:attempts|seconds|request_id)":(?:"[^"]*"|[^",}]*),?')


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Moves the process into a time zone."""
    with pytest.MonkeyPatch.context() as patch:

        def move(name: str) -> None:
            patch.setenv("TZ", name)
            time.tzset()

        yield move
    time.tzset()


def less(lines: bytes, of_the_run: re.Pattern[bytes]) -> list[bytes]:
    return sorted(of_the_run.sub(b"", line) for line in lines.splitlines(keepends=True))


_EPOCH = datetime.fromtimestamp(0, UTC)


def of_no_run(manifest: Manifest) -> Manifest:
    return replace(manifest, snapshot_id="", started_at=_EPOCH, finished_at=_EPOCH, files=())


async def test_the_same_data_give_the_same_bytes(
    lab: Start, zone: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    snapshots: list[Snapshot] = []
    for name, latency, concurrency in (
        ("UTC", Latency(), 64),
        ("America/St_Johns", Latency.parse("uniform:0-30", slow_fraction=0.2, slow_factor=3), 7),
        ("Asia/Kathmandu", Latency.parse("exponential:5"), 1),
    ):
        zone(name)
        here = await lab(
            accounts=14,
            mean_pools=6,
            page_size=4,
            seed=11,
            suspended=0.1,
            scp_denied=0.1,
            no_role=0.1,
            access_denied=0.1,
            opt_in_disabled=0.3,
            latency=latency,
        )
        began = time.time()
        snapshot = await here.collect(dest=str(tmp_path_factory.mktemp("dest")), concurrency=concurrency)
        # The id is the start in UTC, to the second.
        assert int(began) <= parse_snapshot_id(snapshot.id).timestamp() <= time.time()
        within = datetime.fromtimestamp(int(began), UTC), datetime.now(UTC)
        moments = [snapshot.manifest.started_at, snapshot.manifest.finished_at]
        for moment in (*moments, *(record.collected_at for record in snapshot.pools())):
            assert within[0] <= moment <= within[1]
        here.assert_exact(snapshot)
        snapshots.append(snapshot)
    first, *others = snapshots
    assert first.manifest.totals.pools > 50
    for other in others:
        # The order is the run's own: with all in one order, nothing would have been compared.
        assert first.pools_path.read_bytes() != other.pools_path.read_bytes()
        for path, pattern in (("pools_path", _RUN_OF_A_RECORD), ("targets_path", _RUN_OF_A_RESULT)):
            mine, theirs = (less(getattr(each, path).read_bytes(), pattern) for each in (first, other))
            assert mine == theirs
        assert of_no_run(first.manifest) == of_no_run(other.manifest)


_SECONDS_AND_IDS = re.compile(rb'"(?:seconds|request_id)":(?:"[^"]*"|[^",}]*),?')
# Every kind of outcome and of fault, each at an account of its own: what is asked again is asked as often.
_TROUBLE = (
    "throttle,account=000000000002,first=2",
    "throttle429,account=000000000003",
    "5xx,account=000000000004,first=1",
    "html,account=000000000005",
    "truncate,account=000000000006,page=2",
    "gzip-cut,account=000000000007,first=1",
    "redirect,account=000000000009,location=http://127.0.0.1:1/",
    "cycle-tokens,account=000000000011",
    "expired,account=000000000012,first=1",
    "unrecognized,account=000000000013,region=af-south-1",
    "pool-without-id,account=000000000014",
    "not-entitled,account=000000000015",
)
# The reset of a kept connection is no attempt, and which connections are kept is a matter of time.
_RESET = "reset,account=000000000008,first=1"
_ATTEMPTS_OF_THE_RESET = re.compile(rb'(?<="account_id":"000000000008",)(.*)"attempts":\d+,')


@pytest.mark.usefixtures("known_soon")
@pytest.mark.parametrize(("concurrency", "more"), [(1, ()), (256, (_RESET,))])
async def test_both_transports_give_the_same_bytes(
    lab: Start, tmp_path_factory: pytest.TempPathFactory, concurrency: int, more: tuple[str, ...]
) -> None:
    snapshots: dict[str, Snapshot] = {}
    for transport in ("fast", "sdk"):
        here = await lab(
            accounts=24,
            pools_per_target=9,
            page_size=4,
            seed=11,
            extra_fields=True,
            no_role=0.1,
            scp_denied=0.1,
            faults=(*_TROUBLE, *more),
        )
        snapshots[transport] = await here.collect(
            dest=str(tmp_path_factory.mktemp("dest")),
            transport=transport,
            max_attempts=3,
            concurrency=concurrency,
        )
    fast, sdk = snapshots.values()
    assert len(fast.manifest.outcomes) >= 7
    mine, theirs = (less(each.pools_path.read_bytes(), _RUN_OF_A_RECORD) for each in (fast, sdk))
    assert mine == theirs
    ledgers = [each.targets_path.read_bytes() for each in (fast, sdk)]
    if _RESET in more:
        ledgers = [_ATTEMPTS_OF_THE_RESET.sub(rb"\1", each) for each in ledgers]
    mine, theirs = (less(each, _SECONDS_AND_IDS) for each in ledgers)
    assert mine == theirs
    ours, others = (of_no_run(each.manifest) for each in (fast, sdk))
    if concurrency > 1:
        # What depends on which calls are in flight at once: how often a session is assumed anew, and whether
        # the reset is that of a kept connection.
        timed = {"requests": 0, "retries": 0, "assume_role_calls": 0}
        ours, others = (replace(each, totals=replace(each.totals, **timed)) for each in (ours, others))
    assert ours == others
