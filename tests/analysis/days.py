"""Snapshots of several days at one destination, and what a report gathers from them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from analysis.two_snapshots import MANIFEST, pool, write
from poolcensus.analysis.report.gather import gather
from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.two_snapshots import Content
    from poolcensus.analysis.report.facts import Facts, WorkItem
    from poolcensus.model import JsonObject, Manifest

FIRST = datetime(2026, 11, 1, 2, tzinfo=UTC)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def manifest_of(day: int, **changes: object) -> Manifest:
    """The manifest of a day's snapshot, from 0."""
    moment = FIRST + timedelta(days=day)
    named = replace(
        MANIFEST,
        snapshot_id=f"{moment:%Y%m%dT%H%M%SZ}-{day:06x}",
        started_at=moment,
        finished_at=moment + timedelta(minutes=5),
    )
    return replace(named, **changes)  # type: ignore[arg-type] # test's own words


def write_days(dest: Path, *days: Content) -> list[Snapshot]:
    """Write a snapshot a day, from day 0."""
    return [write(dest, content, manifest_of(day)) for day, content in enumerate(days)]


def used(number: int, in_use: int | None, **fields: object) -> JsonObject:
    """A pool with so many sessions in use, of ten."""
    capacity = {} if in_use is None else {"ActiveUserSessions": in_use, "ActualUserSessions": 10}
    return pool(
        number, **{"PoolName": f"desk-{number}", "State": "RUNNING", "CapacityStatus": capacity, **fields}
    )


def facts_of(dest: Path, ref: str = "latest") -> Facts:
    """What a report on a snapshot says."""
    return gather(Snapshot.open(ref, dest), NOW, None)


def seen(item: WorkItem) -> tuple[str, str, str, int, int, int, int | None, str | None]:
    """An item of the worklist: where it is, and when it was seen and used, as days from 0."""
    days = [(moment - FIRST).days for moment in (item.first_seen, item.last_seen)]
    last_used = None if item.last_used is None else (item.last_used - FIRST).days
    return (item.account_id, item.region, item.id, item.seen, days[0], days[1], last_used, item.missing)
