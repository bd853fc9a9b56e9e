"""Shards become one snapshot: whole, or not at all."""

from __future__ import annotations

import json
import re
import tracemalloc
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcensus.errors import DamagedSnapshotError, DestinationLockedError, MergeError, SnapshotError
from poolcensus.model import Compression, KnownGap, Outcome, Page, Shard, SnapshotStatus, Target
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.merging import merge
from poolcensus.snapshot.pieces import pieces_of
from poolcensus.snapshot.shards import LONGEST_GAP
from poolcensus.snapshot.verification import verify
from poolcensus.snapshot.writer import SnapshotWriter
from poolcensus.storage.local.store import FolderStore
from snapshot.making import FINISHED, POOLS, RECEIVED, STARTED, folder_of, publish, result, target
from snapshot.shard_lab import DIGEST, ONE, TWO, edit, make, published

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from poolcensus.model import JsonObject
    from snapshot.shard_lab import Content

NONE: Content = {}


def less(path: Path) -> list[bytes]:
    return sorted(re.sub(rb'"snapshot_id":"[^"]*"', b"", line) for line in path.read_bytes().splitlines(True))


async def test_it_is_what_one_run_would_have_left(tmp_path: Path) -> None:
    whole = await make(tmp_path / "whole", {**ONE, **TWO}, 0)
    await make(tmp_path / "1", ONE, 1, compression=Compression.ZSTD)
    await make(tmp_path / "2", TWO, 2, compression=Compression.GZIP, started_at=STARTED + timedelta(hours=1),
               finished_at=FINISHED + timedelta(hours=1))  # fmt: skip
    merged = await merge([tmp_path / "2", tmp_path / "1"], tmp_path / "all")
    assert less(merged.pools_path) == less(whole.pools_path)
    assert less(merged.targets_path) == less(whole.targets_path)
    assert not verify(merged)
    manifest = merged.manifest
    assert manifest.shard is None
    assert manifest.status is SnapshotStatus.PARTIAL
    assert (manifest.started_at, manifest.finished_at) == (STARTED, FINISHED + timedelta(hours=1))
    assert manifest.outcomes == whole.manifest.outcomes
    assert manifest.accounts_planned == 2
    # The same account, left out by both, is mentioned once.
    assert len(manifest.accounts_skipped) == 1
    assert manifest.totals == replace(
        whole.manifest.totals, requests=80, retries=4, throttles=2, assume_role_calls=6
    )
    assert {each.snapshot_id for each in [manifest]} == {merged.id}
    assert not [each for each in tmp_path.iterdir() if each.name not in {"whole", "1", "2", "all"}]


async def test_what_the_ledger_tells_is_counted_anew(tmp_path: Path) -> None:
    gap = KnownGap(("000000000002",), (), (Outcome.ACCESS_DENIED,), targets=7)
    for index, content in enumerate((ONE, TWO), 1):
        await make(tmp_path / str(index), content, index, accounts=55, known_gaps=(gap,))
    merged = await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert merged.manifest.known_gaps == (replace(gap, targets=1),)
    assert merged.manifest.accounts_planned == 2
    assert not verify(merged)


async def test_a_shard_without_accounts_is_one(tmp_path: Path) -> None:
    for index, content in enumerate((ONE, NONE, TWO), 1):
        await make(tmp_path / str(index), content, index, 3)
    merged = await merge([tmp_path / "1", tmp_path / "2", tmp_path / "3"], tmp_path / "all")
    assert merged.manifest.totals.targets == 4
    assert not verify(merged)


async def test_parts_are_named_as_snapshots_are(tmp_path: Path) -> None:
    one = await make(tmp_path / "all", ONE, 1)
    two = await make(tmp_path / "2", TWO, 2)
    merged = await merge([one.id, folder_of(two)], tmp_path / "all")
    assert not verify(merged)


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 30), st.sampled_from(["us-east-1", "eu-west-1"])),
        st.lists(st.text(), max_size=6),
        max_size=10,
    ),
    st.integers(1, 4),
    st.sampled_from(Compression),
)
@settings(max_examples=20, deadline=None)
async def test_any_split_of_any_records_is_joined_again(
    tmp_path_factory: pytest.TempPathFactory,
    pools: dict[tuple[int, str], list[str]],
    count: int,
    compression: Compression,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    parts = []
    for index in range(1, count + 1):
        async with (
            FolderStore(folder / str(index)) as store,
            SnapshotWriter(
                await store.draft(f"20261123T020000Z-{index:06}"),
                partition="aws",
                operation=POOLS,
                compression=compression,
            ) as writer,
        ):
            for (account, region), names in pools.items():
                if account % count + 1 != index:
                    continue
                named = replace(
                    target(account, region).account,
                    name="".join(names) or None,
                    ou_path="o/" + "".join(names[:1]),
                    tags=tuple((name, name[::-1]) for name in dict.fromkeys(names)),
                )
                of = Target(named, region)
                found: list[JsonObject] = [
                    {"PoolId": f"wspool-{number:09}", "Name": name, "deep": [{"é\u2028": name}]}
                    for number, name in enumerate(names)
                ]
                if found:
                    writer.page(Page(of, 1, RECEIVED, tuple(found)))
                outcome = Outcome.OK if found else Outcome.EMPTY
                line = replace(result(of, outcome, pools=len(found)), ou_path=of.account.ou_path,
                               account_tags=of.account.tags)  # fmt: skip
                writer.done(line, of)
            await publish(writer, shard=Shard(index, count, DIGEST))
        parts.append(folder / str(index))
    merged = await merge(parts, folder / "all")
    assert not verify(merged)
    everything = [Snapshot.open("latest", part) for part in parts]
    assert sorted(map(repr, merged.pools())) == sorted(
        repr(one) for each in everything for one in each.pools()
    )
    assert sorted(map(repr, merged.targets())) == sorted(
        repr(one) for each in everything for one in each.targets()
    )


async def test_pieces_of_a_large_target_are_put_together(tmp_path: Path) -> None:
    content: Content = {target(1): [f"wspool-{number:09}" for number in range(3000)]}
    part = await make(tmp_path / "1", content, 1, 1)
    found = await to_thread.run_sync(list, pieces_of(part, "20261123T020000Z-abcdef"))
    assert len(found) > 1
    assert [each.last for each in found] == [False] * (len(found) - 1) + [True]
    merged = await merge([tmp_path / "1"], tmp_path / "all")
    assert merged.manifest.totals.pools == 3000
    assert not verify(merged)


async def memory_of_a_merge(folder: Path, pools: int) -> int:
    """Return the most bytes that a merge of two shards held, each of two targets with so many pools."""
    for index, compression in enumerate((Compression.NONE, Compression.ZSTD), 1):
        content = {
            target(index, region): [f"wspool-{number:09}" + "x" * 16_000 for number in range(pools)]
            for region in ("us-east-1", "eu-west-1")
        }
        await make(folder / str(index), content, index, compression=compression)
    tracemalloc.start()
    try:
        merged = await merge([folder / "1", folder / "2"], folder / "all")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert merged.manifest.totals.pools == 4 * pools
    return peak


async def test_it_takes_the_same_memory_for_any_size(tmp_path: Path) -> None:
    # 8 MB, so that every buffer is full, and 32 MB.
    small = await memory_of_a_merge(tmp_path / "small", 125)
    large = await memory_of_a_merge(tmp_path / "large", 500)
    assert large < 1.5 * small
    assert large < 20_000_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            lambda each: each["shard"].update(index=1), "overlap: both are shard 1", id="same index"
        ),
        pytest.param(lambda each: each["shard"].update(count=3), "in 2 and in 3 shards", id="other count"),
        pytest.param(
            lambda each: each["shard"].update(accounts_digest="e" * 64), "lists of accounts", id="list"
        ),
        pytest.param(lambda each: each["shard"].pop("accounts_digest"), "earlier version", id="no digest"),
        pytest.param(lambda each: each.update(shard=None), "is no shard", id="no shard"),
        pytest.param(
            lambda each: each["caller"].update(account="000000000002"), "different accounts", id="caller"
        ),
        pytest.param(
            lambda each: each.update(organization_id="o-other"), "different Organizations", id="organization"
        ),
        pytest.param(
            lambda each: each["request"].update(regions=["eu-*"]), "they differ in regions", id="request"
        ),
        pytest.param(
            lambda each: each["operation"].update(identity="Other"), "are of workspaces", id="operation"
        ),
        pytest.param(
            lambda each: each.update(
                started_at="2026-11-24T02:00:00.000Z", finished_at="2026-11-24T02:00:09.000Z"
            ),
            "more than 12 hours",
            id="another day",
        ),
        pytest.param(
            lambda each: each.update(
                known_gaps=[{"accounts": ["*"], "regions": ["*"], "outcomes": ["scp_denied"], "targets": 0}]
            ),
            "known_gaps",
            id="known gaps",
        ),
    ],
)
async def test_what_is_not_of_one_run_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    await make(tmp_path / "1", ONE, 1)
    edit(await make(tmp_path / "2", TWO, 2), change)
    with pytest.raises(MergeError, match=re.escape(says)):
        await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert published(tmp_path / "all") == []


async def test_a_hole_is_refused(tmp_path: Path) -> None:
    await make(tmp_path / "1", ONE, 1, 4)
    with pytest.raises(MergeError, match="3 of 4 shards are missing: 2, 3, 4"):
        await merge([tmp_path / "1"], tmp_path / "all")


async def test_an_account_that_two_shards_have_is_refused(tmp_path: Path) -> None:
    await make(tmp_path / "1", ONE, 1)
    await make(tmp_path / "2", {**TWO, target(1, "af-south-1"): Outcome.EMPTY}, 2)
    with pytest.raises(MergeError, match="both have account 000000000001"):
        await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert published(tmp_path / "all") == []


async def test_where_a_list_of_accounts_lies_may_differ(tmp_path: Path) -> None:
    for index, content in enumerate((ONE, TWO), 1):
        await make(tmp_path / str(index), content, index, request={"accounts_snapshot": f"/pod/{index}/list"})
    assert not verify(await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all"))


async def test_shards_may_go_on_one_after_the_other(tmp_path: Path) -> None:
    later = LONGEST_GAP - timedelta(seconds=9)
    for index, content in enumerate((ONE, TWO, NONE)):
        await make(tmp_path / str(index), content, index + 1, 3, started_at=STARTED + index * later,
                   finished_at=FINISHED + index * later)  # fmt: skip
    assert not verify(await merge([tmp_path / each for each in "021"], tmp_path / "all"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def changed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"RUNNING", b"STOPPED").replace(b"0.212", b"0.213"))


def swapped(path: Path) -> None:
    lines = path.read_bytes().splitlines(True)
    path.write_bytes(b"".join(reversed(lines)))


@pytest.mark.parametrize("name", ["pools.ndjson", "targets.ndjson"])
@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes() * 2),
        lambda path: path.write_bytes(path.read_bytes().replace(b"000000000001", b"000000000007")),
        lambda path: path.write_bytes(
            path.read_bytes().replace(b"RUNNING", b"STOPPED").replace(b"0.212", b"0.213")
        ),
        swapped,
    ],
)
async def test_a_damaged_shard_ends_it(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    one = await make(tmp_path / "1", ONE, 1)
    await make(tmp_path / "2", TWO, 2)
    damage(folder_of(one) / name)
    with pytest.raises(DamagedSnapshotError, match=re.escape(str(folder_of(one)))):
        await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert published(tmp_path / "all") == []


async def test_a_manifest_that_lies_ends_it(tmp_path: Path) -> None:
    one = await make(tmp_path / "1", ONE, 1, 1)
    edit(one, lambda each: each["files"][0].update(records=9))
    with pytest.raises(DamagedSnapshotError, match="9"):
        await merge([tmp_path / "1"], tmp_path / "all")


async def test_records_of_another_writer_are_taken_as_well(tmp_path: Path) -> None:
    one = await make(tmp_path / "1", ONE, 1, 1)
    path = one.pools_path
    lines = [json.dumps(dict(reversed(json.loads(line).items()))) for line in path.read_bytes().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    data = path.read_bytes()
    edit(one, lambda each: each["files"][0].update(bytes=len(data), sha256=sha256(data).hexdigest()))
    merged = await merge([tmp_path / "1"], tmp_path / "all")
    assert not verify(merged)
    assert merged.manifest.totals.pools == 3


def rewrite(snapshot: Snapshot, name: str, change: Callable[[dict[str, Any]], object], line: int) -> None:
    """Change a line of a shard's file, as one who does it on purpose: the manifest knows of it."""
    path = folder_of(snapshot) / name
    lines = [json.loads(each) for each in path.read_bytes().splitlines()]
    change(lines[line])
    data = b"".join(json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in lines)
    path.write_bytes(data)
    entry = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    edit(snapshot, lambda each: next(of for of in each["files"] if of["name"] == name).update(entry))


@pytest.mark.parametrize("line", [0, 2])
@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("pools.ndjson", lambda each: each.update(pool=None), "pool is not an object"),
        ("pools.ndjson", lambda each: each.update(pool={}), "the pool has no PoolId"),
        ("pools.ndjson", lambda each: each["pool"].update(PoolId=7), "the pool has no PoolId"),
        ("pools.ndjson", lambda each: each["pool"].pop("PoolId"), "the pool has no PoolId"),
        ("pools.ndjson", lambda each: each.update(collected_at="yesterday"), "collected_at is not a time"),
        ("pools.ndjson", lambda each: each.update(region="eu-west-1"), "not in the ledger's order"),
        ("targets.ndjson", lambda each: each.update(operation="x:List"), "is of the operation 'x:List'"),
        (
            "targets.ndjson",
            lambda each: each.update(outcome="throttled", pools=3),
            "has the outcome throttled and 3 pools",
        ),
    ],
)
async def test_what_verify_would_refuse_is_not_published(
    tmp_path: Path, name: str, change: Callable[[dict[str, Any]], object], says: str, line: int
) -> None:
    one = await make(tmp_path / "1", ONE, 1, 1)
    rewrite(one, name, change, line if name == "pools.ndjson" else line // 2)
    assert await to_thread.run_sync(verify, one)
    with pytest.raises(SnapshotError, match=re.escape(says)) as raised:
        await merge([tmp_path / "1"], tmp_path / "all")
    assert isinstance(raised.value, DamagedSnapshotError) == ("order" not in says)
    assert published(tmp_path / "all") == []


async def test_records_in_another_order_than_the_ledger_are_no_damage(tmp_path: Path) -> None:
    one = await make(tmp_path / "1", {**ONE, **TWO}, 1, 1)
    path = one.pools_path
    data = b"".join(reversed(path.read_bytes().splitlines(keepends=True)))
    path.write_bytes(data)
    entry = {"sha256": sha256(data).hexdigest()}
    edit(one, lambda each: next(of for of in each["files"] if of["name"] == path.name).update(entry))
    assert not await to_thread.run_sync(verify, folder_of(one))
    with pytest.raises(SnapshotError, match=r"pools\.ndjson, line 1: .* can't be merged") as raised:
        await merge([tmp_path / "1"], tmp_path / "all")
    assert not isinstance(raised.value, DamagedSnapshotError)
    assert "damaged" not in str(raised.value)
    assert published(tmp_path / "all") == []


async def test_a_second_line_of_a_target_ends_it(tmp_path: Path) -> None:
    one = await make(tmp_path / "1", ONE, 1, 1)
    first, second = (json.loads(each)["region"] for each in one.targets_path.read_bytes().splitlines())
    rewrite(one, "targets.ndjson", lambda each: each.update(region=first), 1)
    assert first != second
    with pytest.raises(DamagedSnapshotError, match=f"a second line for account 000000000001 in {first}"):
        await merge([tmp_path / "1"], tmp_path / "all")
    assert published(tmp_path / "all") == []


async def test_a_part_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="nothing"):
        await merge([str(tmp_path / "nothing")], tmp_path / "all")
    with pytest.raises(MergeError, match="no shards were named"):
        await merge([], tmp_path / "all")


async def test_a_run_that_was_not_published_is_no_shard(tmp_path: Path) -> None:
    refused = tmp_path / "1" / ".refused-20261123T020000Z-000001"
    refused.mkdir(parents=True)
    (refused / "refused.json").write_text("{}")
    with pytest.raises(MergeError, match="`strict` or `max_failed` did not publish: run that shard again"):
        await merge([refused], tmp_path / "all")


async def test_an_empty_name_is_no_shard(tmp_path: Path) -> None:
    # The folder in which the command runs would be the destination that is meant.
    with pytest.raises(MergeError, match="a shard's name is empty"):
        await merge([""], tmp_path / "all")


async def test_a_run_that_holds_the_destination_is_not_disturbed(tmp_path: Path) -> None:
    await make(tmp_path / "1", ONE, 1, 1)
    async with FolderStore(tmp_path / "all"):
        with pytest.raises(DestinationLockedError):
            await merge([tmp_path / "1"], tmp_path / "all")
