"""The shards of a census, joined, are the census."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread

from poolcensus.census import Census
from poolcensus.cli import main
from poolcensus.errors import MergeError
from poolcensus.model import Shard
from poolcensus.scope import account_list_writing
from poolcensus.scope.account_list_writing import write_account_list
from poolcensus.snapshot import Snapshot, list_snapshots
from poolcensus.snapshot.inventory import read_inventory
from poolcensus.snapshot.merging import merge
from poolcensus.snapshot.retention import Keep, Reason, decide
from poolcensus.snapshot.verification import verify
from poolcensus.storage.s3 import access
from poolcensus.storage.s3.client import open_bucket
from snapshot.making import clock
from storage.buckets import PLACE, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from census_lab import Lab
    from poolcensus.storage.s3.objects import Bucket

    Start = Callable[..., Coroutine[None, None, Lab]]

_OF_THE_RUN = re.compile(
    rb'"(?:snapshot_id|collected_at|request_id)":(?:"[^"]*"|null),?|"(?:attempts|seconds)":[^,}]*,'
)


def lines(snapshot: Snapshot) -> list[list[bytes]]:
    return [
        sorted(_OF_THE_RUN.sub(b"", line) for line in path.read_bytes().splitlines(keepends=True))
        for path in (snapshot.pools_path, snapshot.targets_path)
    ]


@pytest.mark.parametrize("count", [1, 4])
async def test_the_shards_of_one_list_come_to_the_census(lab: Start, tmp_path: Path, count: int) -> None:
    here = await lab(accounts=30, mean_pools=5, seed=3, suspended=0.1, no_role=0.1, opt_in_disabled=0.3)
    whole = await here.collect()
    listed = tmp_path / "accounts.json"
    async with Census(here.settings()) as census:
        plan = await census.plan()
    digest = await to_thread.run_sync(write_account_list, plan, str(listed))
    for index in range(1, count + 1):
        shard = await here.collect(
            dest=str(tmp_path / str(index)), shard=Shard(index, count), accounts_snapshot=str(listed)
        )
        assert shard.manifest.shard == Shard(index, count, digest)
    merged = await merge([str(tmp_path / str(index)) for index in range(1, count + 1)], tmp_path / "all")
    here.assert_exact(merged)
    assert lines(merged) == lines(whole)
    assert not verify(merged)
    one, other = merged.manifest, whole.manifest
    assert (one.outcomes, one.accounts_planned, one.accounts_skipped) == (
        other.outcomes,
        other.accounts_planned,
        other.accounts_skipped,
    )


async def test_shards_that_listed_the_same_accounts_by_themselves_are_joined(
    lab: Start, tmp_path: Path
) -> None:
    here = await lab(accounts=12, mean_pools=3)
    for index in (1, 2):
        await here.collect(dest=str(tmp_path / str(index)), shard=Shard(index, 2))
    here.assert_exact(await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all"))


async def test_an_account_that_joins_between_two_listings_is_not_lost_in_silence(
    lab: Start, tmp_path: Path
) -> None:
    await (await lab(accounts=12)).collect(dest=str(tmp_path / "1"), shard=Shard(1, 2))
    await (await lab(accounts=13)).collect(dest=str(tmp_path / "2"), shard=Shard(2, 2))
    with pytest.raises(MergeError, match="were made from different lists of accounts"):
        await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")


async def test_a_list_that_is_written_anew_is_another_list(
    lab: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=12)
    async with Census(here.settings()) as census:
        plan = await census.plan()
    for index in (1, 2):
        listed = tmp_path / f"{index}.json"
        monkeypatch.setattr(account_list_writing, "utc_now", lambda index=index: clock(index))
        await to_thread.run_sync(write_account_list, plan, str(listed))
        await here.collect(
            dest=str(tmp_path / str(index)), shard=Shard(index, 2), accounts_snapshot=str(listed)
        )
    with pytest.raises(
        MergeError, match=r"or from one that was written anew: .* Write one list for all shards"
    ):
        await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")


async def test_shards_and_what_they_are_joined_to_may_be_in_a_bucket(
    lab: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await lab(accounts=12, mean_pools=3)
    stored(here.simulator)
    settings = here.settings(dest=PLACE, compress="zstd")
    for index in (1, 2):
        async with Census(here.settings(dest=f"{PLACE}/shards/{index}", shard=Shard(index, 2))) as census:
            await census.collect()
    parts = [f"{PLACE}/shards/{index}" for index in (1, 2)]
    buckets: list[str] = []

    def recorded(*given: Any) -> AbstractAsyncContextManager[Bucket]:
        buckets.append(given[-1])
        return open_bucket(*given)

    monkeypatch.setattr(access, "open_bucket", recorded)
    merged = await merge(parts, PLACE, settings=settings)
    # For all parts and what stands at the destination one to read, and one to write.
    assert len(buckets) == 2
    assert merged.location.startswith("s3://")
    await to_thread.run_sync(here.assert_exact, merged)
    assert await to_thread.run_sync(verify, merged) == ()
    # By its own name or by `latest`, too, and into a folder.
    first = await to_thread.run_sync(Snapshot.open, "latest", parts[0])
    for names in ([first.location, parts[1]], [f"{parts[0]}/latest", f"{parts[1]}/latest~0/"]):
        here.assert_exact(await merge(names, tmp_path / "all", settings=settings))


@pytest.mark.parametrize("in_a_bucket", [False, True], ids=["folder", "bucket"])
async def test_the_latest_of_a_destination_with_the_shards_is_what_they_are_joined_to(
    lab: Start, tmp_path: Path, in_a_bucket: bool
) -> None:
    here = await lab(accounts=12, mean_pools=3)
    stored(here.simulator)
    dest = PLACE if in_a_bucket else str(tmp_path / "all")
    settings = here.settings(dest=dest)
    for index in (1, 2, 3):
        async with Census(here.settings(dest=dest, shard=Shard(index, 3))) as census:
            await census.collect()
    listed = await to_thread.run_sync(lambda: list_snapshots(dest, settings=settings))
    shards = [each.id for each in listed]
    merged = await merge(shards, dest, settings=settings)

    def check() -> None:
        assert [each.id for each in list_snapshots(dest, settings=settings)] == [*shards, merged.id]
        inventory = read_inventory(dest, settings=settings)
        assert inventory.latest == merged.id
        for back, snapshot_id in enumerate([merged.id, *reversed(shards)]):
            assert Snapshot.open(f"latest~{back}", dest, settings=settings).id == snapshot_id
        with Snapshot.open("latest", dest, settings=settings) as found:
            here.assert_exact(found)
        decisions = {each.snapshot_id: each.reasons for each in decide(
            inventory.snapshots, Keep(last=1), now=datetime.now(UTC), latest=inventory.latest
        )}  # fmt: skip
        assert [each for each, reasons in decisions.items() if Reason.LATEST in reasons] == [merged.id]

    await to_thread.run_sync(check)


def test_the_command_prints_nothing_where_all_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(tmp_path / "nothing"), "--dest", str(tmp_path / "all")]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "nothing" in told.err
    assert main(["merge", "--dest", str(tmp_path / "all")]) == 2
    assert main(["merge", "x", "--dest", "-"]) == 2
