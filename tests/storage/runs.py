"""Runs that write snapshots to the service of `scripted_s3`, and what readers find there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from poolcensus.storage.s3.store import BucketStore
from snapshot.making import commit
from storage.buckets import NAME

if TYPE_CHECKING:
    from poolcensus.storage.base import Draft
    from storage.scripted_s3 import Run, Service

EARLIER_ID = "20261122T020000Z-ffffff"
PLACE = f"s3://{NAME}/p"
POOLS = b"0123456789" * 3
FILES = {"pools.ndjson": POOLS, "targets.ndjson": b"t\n", "manifest.json": b"{}\n"}


def store(run: Run) -> BucketStore:
    # In parts of ten bytes: three of them, and none for the ledger.
    return BucketStore(run.open, PLACE, part_bytes=10)


async def write(draft: Draft) -> None:
    pools, targets = await draft.create("pools.ndjson"), await draft.create("targets.ndjson")
    for start in range(0, len(POOLS), 7):
        await pools.append(POOLS[start : start + 7])
    await targets.append(FILES["targets.ndjson"])


async def publish(run: Run, snapshot_id: str) -> None:
    async with store(run) as entered:
        draft = await entered.draft(snapshot_id)
        await write(draft)
        await commit(draft, FILES["manifest.json"])


def seen(service: Service) -> dict[str, dict[str, bytes]]:
    """What a reader finds: the files of each snapshot that has a manifest."""
    found: dict[str, dict[str, bytes]] = {}
    for key, each in service.objects.items():
        snapshot_id, slash, name = key.removeprefix("p/").partition("/")
        if slash:
            found.setdefault(snapshot_id, {})[name] = each.body
    return {snapshot_id: files for snapshot_id, files in found.items() if "manifest.json" in files}


def latest(service: Service) -> str:
    return str(json.loads(service.objects["p/latest.json"].body)["snapshot_id"])


def assert_clean(service: Service, *ids: str, but_for_uploads: bool = False) -> None:
    """Nothing is there but these snapshots, whole, and `latest.json`, which names the newest."""
    assert seen(service) == dict.fromkeys(ids, FILES)
    assert len(service.objects) == len(FILES) * len(ids) + 1
    assert but_for_uploads or not service.uploading
    assert latest(service) == max(ids)
