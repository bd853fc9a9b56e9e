"""Which accounts are told of that had pools before the service was closed to them."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analysis.two_snapshots import MANIFEST, Content, key, pool, write
from poolcensus.errors import CredentialsError, DestinationError, FatalError
from poolcensus.model import Outcome
from poolcensus.snapshot import closed as module
from poolcensus.snapshot.closed import closed_since, find_closed
from poolcensus.snapshot.target_set import TargetSet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poolcensus.model import JsonObject
    from poolcensus.snapshot import Snapshot

CLOSED = key(1)
OTHER: Content = {key(2): Outcome.EMPTY}


def earlier(dest: Path, *nights: Content, requests: dict[int, JsonObject] | None = None) -> list[Snapshot]:
    """The snapshots of the nights before, the last one first."""
    return [
        write(
            dest,
            content,
            replace(
                MANIFEST,
                snapshot_id=f"20261123T0200{60 - number:02}Z-aaaaaa",
                request=(requests or {}).get(number, {}),
            ),
        )
        for number, content in enumerate(nights, 1)
    ]


def had(nights: list[Snapshot]) -> list[int]:
    closed = TargetSet()
    closed.add(*CLOSED)
    return [each.pools for each in closed_since(nights, closed)]


@pytest.mark.parametrize(
    ("nights", "pools"),
    [
        ([{CLOSED: [pool(1), pool(2)]}], [2]),
        ([{CLOSED: Outcome.EMPTY}, {CLOSED: [pool(1)]}], []),
        ([{CLOSED: Outcome.NOT_ENTITLED}, {CLOSED: [pool(1)]}], []),
        ([{CLOSED: Outcome.THROTTLED}, {CLOSED: Outcome.REGION_DISABLED}, OTHER, {CLOSED: [pool(1)]}], [1]),
        # Of the shards of a night, one has the account.
        ([*[OTHER] * 30, {CLOSED: [pool(1)]}], [1]),
        ([*[{CLOSED: Outcome.ERROR}] * 7, {CLOSED: [pool(1)]}], [1]),
        ([*[{CLOSED: Outcome.ERROR}] * 8, {CLOSED: [pool(1)]}], []),
    ],
)
def test_the_last_snapshot_that_tells_of_a_target_counts(
    tmp_path: Path, nights: list[Content], pools: list[int]
) -> None:
    assert had(earlier(tmp_path, *nights)) == pools


@pytest.mark.parametrize("asked", [{"pool_ids": ["wspool-000000009"]}, {"filters": ["PoolName:EQUALS:x"]}])
def test_what_was_asked_for_some_pools_does_not_say_that_there_were_none(
    tmp_path: Path, asked: JsonObject
) -> None:
    nights = earlier(tmp_path, {CLOSED: Outcome.EMPTY}, {CLOSED: [pool(1)]}, requests={1: asked})
    assert had(nights) == [1]


async def test_a_search_that_hangs_holds_up_no_publication(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def hanging() -> Iterator[Snapshot]:
        gate.wait(60)
        yield from ()

    monkeypatch.setattr(module, "_LONGEST_SEARCH", 0.1)
    closed = TargetSet()
    closed.add(*CLOSED)
    try:
        assert await find_closed(hanging(), closed) == ()
    finally:
        gate.set()
    assert "before the service was closed to them: nothing after 0.1 s" in caplog.text


@pytest.mark.parametrize("error", [DestinationError("no bucket"), CredentialsError("no credentials")])
def test_a_history_that_cant_be_read_ends_no_run(error: FatalError, caplog: pytest.LogCaptureFixture) -> None:
    def failing(_: int) -> Snapshot:
        raise error

    closed = TargetSet()
    closed.add(*CLOSED)
    assert closed_since(map(failing, range(3)), closed) == ()
    assert str(error) in caplog.text
