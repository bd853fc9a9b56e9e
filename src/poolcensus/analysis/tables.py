"""Writes the rows of the views that have no file in a snapshot, as lines of JSON: manifests and changes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from poolcensus.analysis.changes import change_object
from poolcensus.analysis.diff import diff
from poolcensus.analysis.staging import whole_line
from poolcensus.format.codec import dumps
from poolcensus.format.manifest import manifest_object
from poolcensus.format.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from poolcensus.analysis.selection import Pair
    from poolcensus.model import JsonValue
    from poolcensus.snapshot import Snapshot


def write_snapshots(path: Path, snapshots: Iterable[Snapshot]) -> None:
    """Write the rows of the view `snapshots`."""
    _write(path, (_snapshot_row(each) for each in snapshots))


def write_changes(path: Path, pairs: Iterable[Pair]) -> None:
    """Write the rows of the view `changes`. Raises what iterating over a `Diff` raises."""
    _write(path, _change_rows(pairs))


def _write(path: Path, rows: Iterable[dict[str, object]]) -> None:
    with path.open("wb") as out:
        for row in rows:
            out.write(whole_line(dumps(row) + b"\n"))


def _snapshot_row(snapshot: Snapshot) -> dict[str, object]:
    manifest, info = snapshot.manifest, snapshot.info
    totals = asdict(manifest.totals)
    return {
        "snapshot_id": manifest.snapshot_id,
        "status": manifest.status.value,
        "started_at": rfc3339(manifest.started_at),
        "finished_at": rfc3339(manifest.finished_at),
        "scope": info.scope.summary,
        "organization_id": manifest.organization_id,
        "partition": manifest.caller.partition,
        "operation": manifest.operation.name,
        "accounts": manifest.accounts_planned,
        "accounts_skipped": len(manifest.accounts_skipped),
        "targets": totals["targets"],
        "covered": totals["covered"],
        manifest.operation.items: totals["pools"],
        "requests": totals["requests"],
        "retries": totals["retries"],
        "throttles": totals["throttles"],
        "bytes": info.bytes,
        "manifest": manifest_object(manifest),
    }


def _change_rows(pairs: Iterable[Pair]) -> Iterator[dict[str, object]]:
    for before, snapshot in pairs:
        head: dict[str, JsonValue] = {
            "snapshot_id": snapshot.id,
            "snapshot_before": before.id,
            "finished_at": rfc3339(snapshot.manifest.finished_at),
        }
        for change in diff(before, snapshot):
            yield {**head, **change_object(change)}
