"""The names that every destination shares, and what names its newest snapshot."""

from __future__ import annotations

from poolcensus.format.codec import dumps, loads
from poolcensus.format.ids import is_snapshot_id

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


def there_is(ids: list[str]) -> str:
    """Return the words for what is there in place of what was looked for."""
    if not ids:
        return "there is none"
    if len(ids) > 5:
        return f"there are {len(ids)}, the newest {', '.join(ids[-3:])}"
    return f"there is {', '.join(ids)}"
