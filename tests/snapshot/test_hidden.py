"""Which targets are told of that had pools before these were hidden: closed, disabled, not offered."""

from __future__ import annotations

import io
import shutil
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from analysis.two_snapshots import MANIFEST, Content, key, pool, write
from poolcensus.errors import CredentialsError, DestinationError, FatalError
from poolcensus.model import HIDING, Outcome, TargetResult
from poolcensus.snapshot import hidden as module
from poolcensus.snapshot.hidden import HiddenTargets, find_hidden, hidden_since
from poolcensus.snapshot.series import newest_first
from poolcensus.storage.destination import open_source
from poolcensus.storage.local.store import FolderStore
from poolcensus.storage.stdout import StreamStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from poolcensus.errors import SnapshotError
    from poolcensus.model import JsonObject
    from poolcensus.snapshot import Snapshot

TARGET = key(1)
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


def now(outcomes: dict[tuple[str, str], Outcome]) -> HiddenTargets:
    """The targets of the run that is about to be published."""
    targets = HiddenTargets()
    for (account_id, region), outcome in outcomes.items():
        targets.add(TargetResult(account_id, None, region, outcome))
    return targets


def had(nights: Iterable[Snapshot | SnapshotError], outcome: Outcome = Outcome.NOT_ENTITLED) -> list[int]:
    hidden = hidden_since(nights, now({TARGET: outcome}))
    assert set(hidden) <= {outcome}
    return [each.pools for each in hidden.get(outcome, ())]


@pytest.mark.parametrize(
    ("nights", "pools"),
    [
        ([{TARGET: [pool(1), pool(2)]}], [2]),
        ([{TARGET: Outcome.EMPTY}, {TARGET: [pool(1)]}], []),
        ([{TARGET: Outcome.NOT_ENTITLED}, {TARGET: [pool(1)]}], []),
        ([{TARGET: Outcome.THROTTLED}, {TARGET: Outcome.REGION_DISABLED}, OTHER, {TARGET: [pool(1)]}], [1]),
        # Of the shards of a night, one has the account.
        ([*[OTHER] * 30, {TARGET: [pool(1)]}], [1]),
        ([*[{TARGET: Outcome.ERROR}] * 7, {TARGET: [pool(1)]}], [1]),
        ([*[{TARGET: Outcome.ERROR}] * 8, {TARGET: [pool(1)]}], []),
    ],
)
def test_the_last_snapshot_that_tells_of_a_target_counts(
    tmp_path: Path, nights: list[Content], pools: list[int]
) -> None:
    assert had(earlier(tmp_path, *nights)) == pools


@pytest.mark.parametrize("outcome", sorted(HIDING))
@pytest.mark.parametrize(
    ("nights", "pools"),
    [
        ([{TARGET: [pool(1), pool(2)]}], [2]),
        ([{TARGET: Outcome.EMPTY}, {TARGET: [pool(1)]}], []),
        ([{TARGET: Outcome.THROTTLED}, OTHER, {TARGET: [pool(1)]}], [1]),
        ([*[{TARGET: Outcome.ERROR}] * 7, {TARGET: [pool(1)]}], [1]),
        ([*[{TARGET: Outcome.ERROR}] * 8, {TARGET: [pool(1)]}], []),
    ],
)
def test_whatever_hides_pools_they_are_looked_for_alike(
    tmp_path: Path, outcome: Outcome, nights: list[Content], pools: list[int]
) -> None:
    assert had(earlier(tmp_path, *nights), outcome) == pools


@pytest.mark.parametrize("outcome", sorted(HIDING))
@pytest.mark.parametrize("before", sorted(HIDING))
def test_what_hid_them_in_the_same_way_before_was_told(
    tmp_path: Path, outcome: Outcome, before: Outcome
) -> None:
    nights = earlier(tmp_path, {TARGET: before}, {TARGET: [pool(1)]})
    assert had(nights, outcome) == ([] if outcome is before else [1])


def test_earlier_snapshots_that_can_not_be_read_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = earlier(tmp_path, {TARGET: [pool(1)]}, {TARGET: Outcome.THROTTLED}, OTHER)
    # Where the newest tells of all targets, nobody looks further.
    (tmp_path / third.id / "manifest.json").write_text("{}")
    assert had(newest_first(open_source(tmp_path))) == [1]
    assert caplog.messages == []
    (tmp_path / first.id / "manifest.json").write_text("{}")
    assert had(newest_first(open_source(tmp_path))) == []
    (message,) = caplog.messages
    assert message.startswith(
        "Pools of earlier snapshots that can't be listed now may go unmentioned: 2 snapshots can't be"
        f" read, as one says: {tmp_path}/"
    )
    shutil.rmtree(tmp_path / third.id)
    shutil.rmtree(tmp_path / second.id)
    caplog.clear()
    assert had(newest_first(open_source(tmp_path))) == []
    assert f"unmentioned: {tmp_path}/{first.id}" in caplog.text


def test_a_destination_that_can_not_be_listed_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert had(newest_first(open_source(tmp_path / ("a" * 300)))) == []
    assert "may go unmentioned: " in caplog.text
    assert "File name too long" in caplog.text


def test_what_is_no_news_reads_one_snapshot(tmp_path: Path) -> None:
    nights = earlier(tmp_path, *[{TARGET: Outcome.REGION_DISABLED, key(2): Outcome.EMPTY}] * 3)
    read: list[str] = []

    def reading() -> Iterator[Snapshot]:
        for each in nights:
            read.append(each.id)
            yield each

    assert had(reading(), Outcome.REGION_DISABLED) == []
    assert hidden_since(reading(), now({key(2): Outcome.REGION_DISABLED})) == {}
    assert read == [nights[0].id] * 2
    # It is one for all outcomes.
    hidden_since(reading(), now({TARGET: Outcome.REGION_DISABLED, key(2): Outcome.NOT_ENTITLED}))
    assert read == [nights[0].id] * 3


def test_a_search_for_one_outcome_ends_none_for_another(tmp_path: Path) -> None:
    region = {key(2): Outcome.REGION_DISABLED}
    nights = earlier(tmp_path, *[region] * 9, {TARGET: [pool(1)], key(2): [pool(2)], key(3): [pool(3)]})
    targets = now({TARGET: Outcome.NOT_ENTITLED, key(2): Outcome.REGION_DISABLED, key(3): Outcome.OK})
    assert {outcome: [each.account_id for each in found] for outcome, found in
            hidden_since(nights, targets).items()} == {Outcome.NOT_ENTITLED: [TARGET[0]]}  # fmt: skip


def test_outcomes_are_told_apart(tmp_path: Path) -> None:
    nights = earlier(tmp_path, {key(1): [pool(1)], key(2): [pool(2), pool(3)], key(3): [pool(4)]})
    targets = now(dict(zip(map(key, (3, 2, 1)), sorted(HIDING), strict=True)))
    found = hidden_since(nights, targets)
    assert {outcome: sum(each.pools for each in lines) for outcome, lines in found.items()} == {
        Outcome.REGION_UNSUPPORTED: 1,
        Outcome.REGION_DISABLED: 2,
        Outcome.NOT_ENTITLED: 1,
    }


@pytest.mark.parametrize("asked", [{"pool_ids": ["wspool-000000009"]}, {"filters": ["PoolName:EQUALS:x"]}])
def test_what_was_asked_for_some_pools_does_not_say_that_there_were_none(
    tmp_path: Path, asked: JsonObject
) -> None:
    nights = earlier(tmp_path, {TARGET: Outcome.EMPTY}, {TARGET: [pool(1)]}, requests={1: asked})
    assert had(nights) == [1]


async def test_a_search_that_hangs_holds_up_no_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    def hanging(_: object) -> Iterator[Snapshot]:
        gate.wait(60)
        yield from ()

    monkeypatch.setattr(module, "_LONGEST_SEARCH", 0.1)
    monkeypatch.setattr(module, "newest_first", hanging)
    try:
        assert await find_hidden(FolderStore(tmp_path), now({TARGET: Outcome.REGION_DISABLED})) == {}
    finally:
        gate.set()
    assert "pools that can't be listed now: nothing after 0.1 s" in caplog.text


async def test_where_no_snapshots_are_kept_nothing_is_looked_for() -> None:
    assert await find_hidden(StreamStore(io.BytesIO()), now({TARGET: Outcome.REGION_DISABLED})) == {}


@pytest.mark.parametrize("error", [DestinationError("no bucket"), CredentialsError("no credentials")])
def test_a_history_that_cant_be_read_ends_no_run(error: FatalError, caplog: pytest.LogCaptureFixture) -> None:
    def failing(_: int) -> Snapshot:
        raise error

    assert hidden_since(map(failing, range(3)), now({TARGET: Outcome.REGION_DISABLED})) == {}
    assert str(error) in caplog.text
