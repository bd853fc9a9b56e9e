"""Snapshots whose pools and times a test chooses, for what reads them side by side."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING

import anyio

from poolcensus.format.ids import parse_snapshot_id
from poolcensus.model import Compression, Outcome, TargetResult
from poolcensus.snapshot import Snapshot, SnapshotWriter
from poolcensus.storage.local.store import FolderStore
from snapshot.making import NOTHING_SPECIAL, POOLS, page, publish, result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from poolcensus.model import JsonObject, KnownGap, Target

    Content = Mapping[Target, Sequence[JsonObject] | Outcome | TargetResult]


def day_id(day: int, tail: str = "000000") -> str:
    """The id of a run that started at two on a day of November 2026."""
    return f"202611{day:02}T020000Z-{tail}"


def days_ago_id(days: int) -> str:
    """The id of a run that started so many days ago."""
    return f"{datetime.now(UTC) - timedelta(days=days):%Y%m%dT%H%M%SZ}-{days:06x}"


def written(
    dest: Path,
    snapshot_id: str,
    content: Content,
    *,
    compression: Compression = Compression.NONE,
    request: JsonObject = NOTHING_SPECIAL,
    known_gaps: tuple[KnownGap, ...] = (),
) -> Snapshot:
    """A snapshot with these pools, published four seconds after the start that its id names."""

    async def write() -> None:
        started = parse_snapshot_id(snapshot_id)
        async with (
            FolderStore(dest) as store,
            SnapshotWriter(
                await store.draft(snapshot_id), partition="aws", operation=POOLS, compression=compression
            ) as writer,
        ):
            for target, has in content.items():
                if isinstance(has, (Outcome, TargetResult)):
                    writer.done(has if isinstance(has, TargetResult) else result(target, has), target)
                    continue
                writer.page(page(target, *has))
                writer.done(result(target, pools=len(has)), target)
            ended = started + timedelta(seconds=4)
            await publish(
                writer, started_at=started, finished_at=ended, request=request, known_gaps=known_gaps
            )

    anyio.run(write)
    return Snapshot.open(dest / snapshot_id)


def in_memory(path: Path) -> BytesIO:
    """Return a file for pyarrow, whose threads may still have one open that it has opened itself."""
    return BytesIO(path.read_bytes())
