"""Snapshots with any pools and outcomes, written as a contract of bytes, and the differences between two."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from poolcensus.analysis.diff import diff
from poolcensus.format.codec import dumps
from poolcensus.format.compression import compressor
from poolcensus.format.manifest import encode_manifest
from poolcensus.format.schema import Schema
from poolcensus.model import (
    Caller,
    Compression,
    FileEntry,
    Manifest,
    Outcome,
    PoolRecord,
    SnapshotStatus,
    TargetResult,
    Totals,
)
from poolcensus.operations import WORKSPACES_POOLS
from poolcensus.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from poolcensus.analysis.changes import Change
    from poolcensus.model import JsonObject

A_ID, B_ID = "20261123T020000Z-aaaaaa", "20261124T020000Z-bbbbbb"
STARTED = datetime(2026, 11, 23, 2, tzinfo=UTC)
SCHEMA = Schema(WORKSPACES_POOLS.info)
MANIFEST = Manifest(
    schema_version=2,
    snapshot_id=A_ID,
    status=SnapshotStatus.COMPLETE,
    started_at=STARTED,
    finished_at=STARTED + timedelta(seconds=65),
    tool="poolcensus test",
    caller=Caller("000000000001", "arn:aws:iam::000000000001:user/u", "aws"),
    organization_id="o-exampleorgid",
    operation=WORKSPACES_POOLS.info,
    request={},
    accounts_planned=3,
    accounts_skipped=(),
    totals=Totals(),
    outcomes={},
    files=(),
)
LATER = replace(
    MANIFEST,
    snapshot_id=B_ID,
    started_at=STARTED + timedelta(days=1),
    finished_at=STARTED + timedelta(days=1, seconds=65),
)

Key = tuple[str, str]
Content: TypeAlias = "Mapping[Key, Sequence[JsonObject] | Outcome]"


def key(account: int, region: str = "us-east-1") -> Key:
    """An account and a region."""
    return f"{account:012}", region


def name_of(account_id: str) -> str:
    """What an account is called."""
    return f"acct-{int(account_id)}"


def pool(number: int, **fields: object) -> JsonObject:
    """A pool by its number."""
    return {"PoolId": f"wspool-{number:09}", **fields}  # type: ignore[dict-item] # test's own words


def record_lines(content: Content, manifest: Manifest, named: Callable[[str], str | None]) -> list[bytes]:
    """The lines of pools.ndjson."""
    return [
        dumps(
            SCHEMA.record_object(
                manifest.snapshot_id,
                PoolRecord(
                    STARTED + timedelta(seconds=3), "aws", account_id, named(account_id), region, each
                ),
            )
        )
        + b"\n"
        for (account_id, region), has in content.items()
        if not isinstance(has, Outcome)
        for each in has
    ]


def ledger_of(content: Content, named: Callable[[str], str | None]) -> list[TargetResult]:
    """The lines of targets.ndjson."""
    found = []
    for (account_id, region), has in content.items():
        outcome = has if isinstance(has, Outcome) else Outcome.OK if has else Outcome.EMPTY
        pools = 0 if isinstance(has, Outcome) else len(has)
        found.append(TargetResult(account_id, named(account_id), region, outcome, pools=pools))
    return found


def write(
    dest: Path,
    content: Content,
    manifest: Manifest = MANIFEST,
    *,
    compression: Compression = Compression.NONE,
    arranged: Callable[[list[bytes]], Iterable[bytes]] = list,
    named: Callable[[str], str | None] = name_of,
) -> Snapshot:
    """Write a snapshot; `arranged` puts the lines of its records into another order or form."""
    folder = dest / manifest.snapshot_id
    folder.mkdir(parents=True)
    ledger = ledger_of(content, named)
    files = []
    for name, lines in (
        ("pools.ndjson", [*arranged(record_lines(content, manifest, named))]),
        ("targets.ndjson", [*map(SCHEMA.encode_result, ledger)]),
    ):
        pressed = compressor(compression)
        data = pressed.compress(b"".join(lines)) + pressed.flush()
        file = f"{name}{compression.suffix}"
        (folder / file).write_bytes(data)
        files.append(FileEntry(file, len(data), len(lines), hashlib.sha256(data).hexdigest()))
    outcomes = [each.outcome for each in ledger]
    covered = sum(each.covered for each in outcomes)
    made = replace(
        manifest,
        status=SnapshotStatus.COMPLETE if covered == len(ledger) else SnapshotStatus.PARTIAL,
        totals=Totals(len(ledger), covered, sum(each.pools for each in ledger)),
        outcomes={each: outcomes.count(each) for each in outcomes},
        files=tuple(files),
    )
    (folder / "manifest.json").write_bytes(encode_manifest(made))
    return Snapshot.open(folder)


def two(dest: Path, a: Content, b: Content, **how: object) -> tuple[Snapshot, Snapshot]:
    """Write A and B."""
    return write(dest, a, **how), write(dest, b, LATER, **how)  # type: ignore[arg-type] # test's own words


def changes(
    dest: Path, a: Content, b: Content, ignore: Iterable[str] | None = None, **how: object
) -> list[Change]:
    """Write A and B, and return the differences between them."""
    return [*diff(*two(dest, a, b, **how), ignore=ignore)]
