"""The cache of region status: the age and the owner of its entries, and files that can't be used."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolcensus.aws.region_status import cache as module
from poolcensus.aws.region_status.cache import StatusCache, cache_folder

ONE, TWO = "000000000001", "000000000002"
OFF = frozenset({"af-south-1"})
AWS = "aws account.us-east-1.amazonaws.com"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache(folder: Path, clock: Clock, *, scope: str = AWS, max_age: float = 60.0) -> StatusCache:
    return StatusCache(scope, max_age, folder=folder, now=clock)


async def keep(folder: Path, clock: Clock, account_id: str = ONE, *, scope: str = AWS) -> None:
    kept = cache(folder, clock, scope=scope)
    kept.note(account_id, OFF)
    await kept.save()


async def test_an_answer_is_kept_until_it_is_too_old(tmp_path: Path, clock: Clock) -> None:
    await keep(tmp_path / "new", clock)
    asked_at = clock.now
    for seconds, found in ((0, True), (60, True), (61, False), (-1, False)):
        clock.now = asked_at + seconds
        status = await cache(tmp_path / "new", clock).of(ONE)
        assert (status is not None) == found, seconds
        assert status is None or (status.at, status.disabled) == (asked_at, OFF)


async def test_the_file_is_the_users_alone(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "a" / "b"
    await keep(folder, clock)
    assert (folder / "region-status.json").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in folder.iterdir()] == ["region-status.json"]


async def test_other_partitions_endpoints_and_accounts_have_answers_of_their_own(
    tmp_path: Path, clock: Clock
) -> None:
    await keep(tmp_path, clock)
    await keep(tmp_path, clock, scope="aws 127.0.0.1:4566")
    assert await cache(tmp_path, clock, scope="aws-cn account.cn").of(ONE) is None
    assert await cache(tmp_path, clock).of(TWO) is None
    assert await cache(tmp_path, clock).of(ONE) is not None


async def test_runs_that_end_at_the_same_time_leave_a_whole_file(tmp_path: Path, clock: Clock) -> None:
    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(keep, tmp_path, clock, f"{number:012d}")
    found = [await cache(tmp_path, clock).of(f"{number:012d}") for number in range(8)]
    assert any(found)
    assert [each.name for each in tmp_path.iterdir()] == ["region-status.json"]


async def test_the_newer_answer_stays_and_what_is_a_week_old_goes(tmp_path: Path, clock: Clock) -> None:
    await keep(tmp_path, clock)
    behind = Clock()
    behind.now = clock.now - 30
    await keep(tmp_path, behind)
    kept = await cache(tmp_path, clock).of(ONE)
    assert kept is not None
    assert kept.at == clock.now
    clock.now += 604_801
    await keep(tmp_path, clock, TWO)
    written = json.loads((tmp_path / "region-status.json").read_bytes())
    assert [*written["scopes"][AWS]] == [TWO]


@given(
    st.binary()
    | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_what_is_no_cache_is_as_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("cache")
    (folder / "region-status.json").write_bytes(data)
    assert anyio.run(cache(folder, Clock()).of, ONE) is None


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"scopes": {AWS: {"1": {"at": 1_800_000_000.0, "disabled": []}}}},
        {"scopes": {AWS: {ONE: {"at": 1_800_000_000.0, "disabled": ["../../etc"]}}}},
        {"scopes": {AWS: {ONE: {"at": "now", "disabled": []}}}},
        {"scopes": {AWS: {ONE: {"at": 1e400, "disabled": []}}}},
        {"scopes": {AWS: {ONE: {"disabled": []}}}},
        {"scopes": []},
    ],
)
async def test_what_another_version_or_hand_has_written_is_as_none(
    tmp_path: Path, clock: Clock, change: dict[str, object]
) -> None:
    await keep(tmp_path, clock)
    file = tmp_path / "region-status.json"
    file.write_text(json.dumps({**json.loads(file.read_bytes()), **change}))
    assert await cache(tmp_path, clock).of(ONE) is None
    await keep(tmp_path, clock)
    assert await cache(tmp_path, clock).of(ONE) is not None


async def test_a_file_that_others_can_write_to_is_as_none(tmp_path: Path, clock: Clock) -> None:
    await keep(tmp_path, clock)
    file = tmp_path / "region-status.json"
    file.chmod(0o620)
    assert await cache(tmp_path, clock).of(ONE) is None
    file.chmod(0o600)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert await cache(tmp_path, clock).of(ONE) is None
    file.unlink()
    os.mkfifo(file)
    assert await cache(tmp_path, clock).of(ONE) is None


async def test_a_folder_that_cannot_be_written_to_is_no_error(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level("INFO", logger="poolcensus"):
        await keep(tmp_path / "file" / "below", clock)
        assert await cache(tmp_path / "file", clock).of(ONE) is None
    assert not caplog.records


async def test_a_folder_that_hangs_holds_up_nobody(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(tmp_path, clock)
    kept = cache(tmp_path, clock)
    gate = threading.Event()
    monkeypatch.setattr(kept, "_read", gate.wait)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.05)
    try:
        with anyio.fail_after(30):
            assert [await kept.of(each) for each in (ONE, TWO, ONE)] == [None, None, None]
            kept.note(ONE, OFF)
            await kept.save()
    finally:
        gate.set()


async def test_whoever_comes_after_a_cancelled_reader_reads_it(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keep(tmp_path, clock)
    kept = cache(tmp_path, clock)
    begun, gate = threading.Event(), threading.Event()
    read = kept._read

    def slow() -> object:
        begun.set()
        gate.wait()
        return read()

    monkeypatch.setattr(kept, "_read", slow)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(kept.of, ONE)
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
    finally:
        gate.set()
    found = await kept.of(ONE)
    assert found is not None
    assert found.disabled == OFF


async def test_accounts_with_the_same_regions_share_them(tmp_path: Path, clock: Clock) -> None:
    await keep(tmp_path, clock, ONE)
    await keep(tmp_path, clock, TWO)
    kept = cache(tmp_path, clock)
    one, two = await kept.of(ONE), await kept.of(TWO)
    assert one is not None
    assert two is not None
    assert one.disabled is two.disabled


def test_the_folder_is_that_of_the_unit_or_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/census")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    assert cache_folder() == Path("/home/census/.cache/poolcensus")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/census/.cache/poolcensus")
    monkeypatch.setenv("HOME", "relative")
    assert cache_folder() is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/x")
    assert cache_folder() == Path("/var/tmp/x/poolcensus")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/poolcensus:/var/cache/other")
    assert cache_folder() == Path("/var/cache/poolcensus")
