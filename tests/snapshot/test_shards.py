"""What manifests of shards say is not believed where it can't be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from poolcensus.errors import MergeError, SnapshotError
from poolcensus.model import Outcome
from poolcensus.snapshot.merging import merge
from snapshot.making import folder_of, target
from snapshot.shard_lab import ONE, TWO, edit, make, published

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("shard", "says"),
    [
        ({"index": 3, "count": 2}, "calls itself shard 3 of 2: it is damaged"),
        ({"index": 0, "count": 2}, "calls itself shard 0 of 2: it is damaged"),
        ({"index": 0, "count": 0}, "calls itself shard 0 of 0: it is damaged"),
        (
            {"index": 1, "count": 10**15},
            "999,999,999,999,999 of 1,000,000,000,000,000 shards are missing: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        ),
    ],
)
async def test_a_number_of_shards_that_cannot_be(tmp_path: Path, shard: dict[str, Any], says: str) -> None:
    edit(await make(tmp_path / "1", ONE, 1, 1), lambda each: each["shard"].update(shard))
    with pytest.raises(MergeError, match=re.escape(says)):
        await merge([tmp_path / "1"], tmp_path / "all")
    assert published(tmp_path / "all") == []


async def test_a_shard_more_than_there_are_is_not_joined(tmp_path: Path) -> None:
    for index, content in enumerate((ONE, TWO), 1):
        await make(tmp_path / str(index), content, index)
    edit(await make(tmp_path / "3", {}, 3), lambda each: each["shard"].update(index=3))
    with pytest.raises(MergeError, match="calls itself shard 3 of 2"):
        await merge([tmp_path / each for each in "123"], tmp_path / "all")


async def test_shards_of_two_versions_are_refused(tmp_path: Path) -> None:
    await make(tmp_path / "1", ONE, 1)
    edit(await make(tmp_path / "2", TWO, 2), lambda each: each.update(tool="poolcensus 99"))
    with pytest.raises(MergeError, match="poolcensus 99, which may not ask in the same regions"):
        await merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")


async def test_one_shard_by_two_ways_is_said_to_be_one(tmp_path: Path) -> None:
    one = await make(tmp_path / "1", ONE, 1)
    (tmp_path / "linked").symlink_to(tmp_path / "1")
    for other in (tmp_path / "1", tmp_path / "linked", folder_of(one), tmp_path / "1" / "latest"):
        with pytest.raises(MergeError, match="are the same snapshot: name each shard once"):
            await merge([tmp_path / "1", other], tmp_path / "all")


async def test_accounts_that_were_skipped_stand_in_one_order(tmp_path: Path) -> None:
    # An account that was renamed between two listings is named as each of them had it.
    for index, name in enumerate(("before", "after"), 1):
        skipped = [
            {"account_id": f"00000000000{9 - index}", "account_name": "x", "reason": "SUSPENDED"},
            {"account_id": "000000000005", "account_name": name, "reason": "excluded"},
        ]
        shard = await make(tmp_path / str(index), {target(index): Outcome.EMPTY}, index)
        edit(shard, lambda each, skipped=skipped: each["accounts"].update(skipped=skipped))  # type: ignore[misc]
    merged = await merge([tmp_path / "2", tmp_path / "1"], tmp_path / "all")
    assert [(each.id, each.name) for each in merged.manifest.accounts_skipped] == [
        ("000000000005", "before"), ("000000000005", "after"), ("000000000007", "x"), ("000000000008", "x")
    ]  # fmt: skip


async def test_what_is_no_snapshot_is_said_to_be_none(tmp_path: Path) -> None:
    file, empty, dest = tmp_path / "file", tmp_path / "empty", tmp_path / "all"
    file.write_text("x")
    empty.mkdir()
    for part, says in (
        (file, f"{file} is not a snapshot: it is not a folder"),
        (empty, f"No snapshots in {empty} yet."),
        ("latest", f"There is no folder {dest}."),
        ("20261123T020000Z-000001", f"There is no folder {dest}."),
        ("s3:/x", '"s3:/x" is not a snapshot ID or path.'),
    ):
        with pytest.raises(SnapshotError, match=re.escape(says)):
            await merge([part], dest)
    assert published(dest) == []
