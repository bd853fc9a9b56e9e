"""Names in every destination, the content of `latest.json`, and messages about places without snapshots."""

from __future__ import annotations

import os
import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from poolcensus.errors import SettingsError
from poolcensus.format.codec import dumps, loads
from poolcensus.format.ids import is_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME
from poolcensus.paths import exists, is_file, is_folder, may_exist

if TYPE_CHECKING:
    from os import PathLike

STANDARD_OUTPUT = "-"
SCHEME = "s3://"
LATEST = "latest"
LATEST_NAME = "latest.json"
LOCK_NAME = ".lock"

# Entries examined in a folder without snapshots, which may be any folder.
_LOOKED_AT = 1000


def is_in_s3(place: str) -> bool:
    """Return whether a destination is in a bucket."""
    return place.startswith(SCHEME)


def is_local(place: str) -> bool:
    """Return whether a destination is a folder, not in a bucket or standard output."""
    return place != STANDARD_OUTPUT and not is_in_s3(place)


def latest_object(snapshot_id: str) -> bytes:
    """Return the content of a `latest.json` that names a snapshot."""
    return dumps({"snapshot_id": snapshot_id}) + b"\n"


def passed_over(snapshot_id: str, place: object, latest: str, names: str | None) -> str:
    """Return the warning about a snapshot that `latest` does not name because it is dated in the future."""
    return (
        f"snapshot {snapshot_id} is published in {place}, but by this machine's clock it is dated in the"
        f" future: `{latest}` names {names or 'nothing'}"
    )


def named(data: bytes) -> str | None:
    """Return the snapshot ID that a `latest.json` names, or None."""
    try:
        latest = loads(data)
    except ValueError:
        return None
    name = latest.get("snapshot_id") if isinstance(latest, dict) else None
    return name if isinstance(name, str) and is_snapshot_id(name) else None


def inside_snapshot(dest: str | PathLike[str], snapshot: str | PathLike[str]) -> SettingsError:
    """Return the error for a destination that is a snapshot, or is inside one."""
    return SettingsError(f"{dest} is, or lies in, the snapshot {snapshot}. Set `dest` to another folder.")


def snapshot_around(path: str | PathLike[str]) -> Path | None:
    """Follow links, and return the snapshot that a path is or is inside, or None.

    Raises `OSError`. Blocks.
    """
    # Not Path.resolve, which before Python 3.13 raises a RuntimeError for links in a circle.
    place = Path(os.path.realpath(path))
    return next(
        (
            each
            for each in (place, *place.parents)
            if is_snapshot_id(each.name) and exists(each / MANIFEST_NAME)
        ),
        None,
    )


def in_snapshot(path: str | PathLike[str]) -> str | None:
    """Return the message for an output file inside a snapshot, or None if it is elsewhere.

    Inside a snapshot, it could replace the snapshot's files, or be removed with them. Raises `OSError`.
    Blocks.
    """
    snapshot = snapshot_around(path)
    if snapshot is None:
        return None
    return f"{os.fspath(path)} lies in the snapshot {snapshot.name}. Choose another folder"


def has_snapshots(folder: Path) -> bool:
    """Return whether a folder can be read, and contains a snapshot or what may be one. Blocks."""
    try:
        return any(is_snapshot_id(each.name) and may_exist(each / MANIFEST_NAME) for each in folder.iterdir())
    except OSError:
        return False


def _destinations_below(folder: Path) -> list[str]:
    try:
        return [str(each) for each in sorted(islice(folder.iterdir(), _LOOKED_AT)) if has_snapshots(each)]
    except OSError:
        return []


def _has_manifest(folder: Path) -> bool:
    try:
        return is_file(folder / MANIFEST_NAME)
    except OSError:
        return False


def snapshot_itself(dest: str | PathLike[str]) -> str | None:
    """Return the message for a destination that is itself a snapshot, or None. Blocks.

    In a bucket, only the name is checked.
    """
    place = str(dest)
    # Add ./ to a plain name, which would be looked up at the default destination.
    show = f"Run 'poolcensus show {shlex.quote(place if '/' in place else f'./{place}')}' to read it."
    if not place.startswith(SCHEME):
        if _has_manifest(Path(place)):
            return f"{place} is a snapshot, not a folder of snapshots. {show}"
    elif is_snapshot_id(place.rstrip("/").rpartition("/")[2]):
        return f"No snapshots in {place}: its name is that of a snapshot. {show}"
    return None


def no_snapshots(dest: str | PathLike[str]) -> str:
    """Return the message for a destination that has no snapshots, does not exist or is a file. Blocks."""
    place = str(dest)
    collect = f"'poolcensus collect --dest {shlex.quote(place)}' first."
    if not place.startswith(SCHEME):
        path = Path(place)
        if is_file(path):
            return f"{place} is a file, not a folder. Check `dest`."
        if not is_folder(path):
            return f"There is no folder {place}. Check `dest`, or run {collect}"
        if below := _destinations_below(path):
            more = f" and {len(below) - 1:,} more of its folders" if len(below) > 1 else ""
            return f"No snapshots in {place}, but in {below[0]}{more}. Use `dest` {shlex.quote(below[0])}"
    elif "/" not in place.removeprefix(SCHEME):
        return f"No snapshots in {place} yet. Name their prefix in `dest`, if they have one, or run {collect}"
    return snapshot_itself(place) or f"No snapshots in {place} yet. Run {collect}"
