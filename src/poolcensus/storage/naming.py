"""The names that every destination shares, and what names its newest snapshot."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from poolcensus.format.codec import dumps, loads
from poolcensus.format.ids import is_snapshot_id

if TYPE_CHECKING:
    from os import PathLike

SCHEME = "s3://"
LATEST = "latest"
LATEST_NAME = "latest.json"
LOCK_NAME = ".lock"


def latest_object(snapshot_id: str) -> bytes:
    """Return what `latest.json` holds where it names a snapshot."""
    return dumps({"snapshot_id": snapshot_id}) + b"\n"


def named(data: bytes) -> str | None:
    """Return the snapshot id that a `latest.json` names; None where it names none."""
    try:
        latest = loads(data)
    except ValueError:
        return None
    name = latest.get("snapshot_id") if isinstance(latest, dict) else None
    return name if isinstance(name, str) and is_snapshot_id(name) else None


def no_snapshots(dest: str | PathLike[str]) -> str:
    """Return the sentence for a destination that has no snapshots, is not there or is a file. Blocks."""
    place = str(dest)
    collect = f"'poolcensus collect --dest {shlex.quote(place)}' first."
    if not place.startswith(SCHEME):
        path = Path(place)
        if path.is_file():
            return f"{place} is a file, not a folder. Check `dest`."
        if not path.is_dir():
            return f"There is no folder {place}. Check `dest`, or run {collect}"
    return f"No snapshots in {place} yet. Run {collect}"
