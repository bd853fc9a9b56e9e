"""Shards that were published, each at a destination of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from poolcensus.model import Compression, Outcome, Shard
from poolcensus.snapshot import Snapshot
from poolcensus.snapshot.writer import SnapshotWriter
from poolcensus.storage.local.store import FolderStore
from snapshot.making import POOLS, fill, folder_of, publish, target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from poolcensus.model import Target

    Content = Mapping[Target, Sequence[str] | Outcome]

DIGEST = "d" * 64
ONE: Content = {
    target(1): ["wspool-000000001", "wspool-000000002", "wspool-000000003"],
    target(1, "eu-west-1"): Outcome.EMPTY,
}
TWO: Content = {target(2): ["wspool-000000001"], target(2, "eu-west-1"): Outcome.ACCESS_DENIED}


async def make(
    dest: Path,
    content: Content,
    index: int,
    count: int = 2,
    *,
    digest: str | None = DIGEST,
    compression: Compression = Compression.NONE,
    **changes: Any,
) -> Snapshot:
    """Publish a shard, or with the index 0 a snapshot that is none."""
    snapshot_id = f"20261123T02000{index % 10}Z-00000{index % 10}"
    async with (
        FolderStore(dest) as store,
        SnapshotWriter(
            await store.draft(snapshot_id), partition="aws", operation=POOLS, compression=compression
        ) as writer,
    ):
        await fill(writer, content)
        accounts = len({each.account for each in content})
        shard = None if index == 0 else Shard(index, count, digest)
        await publish(writer, shard=shard, **{"accounts": accounts, **changes})
    return Snapshot.open("latest", dest)


def edit(snapshot: Snapshot, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the manifest says."""
    path = folder_of(snapshot) / "manifest.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_bytes(json.dumps(content).encode())


def published(dest: Path) -> list[str]:
    """Return the names of what readers see at a destination."""
    return [each.name for each in dest.iterdir() if each.name[0] != "."] if dest.exists() else []
