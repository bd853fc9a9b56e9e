"""Finds the latest snapshot, and the snapshot that a name such as `latest~2` refers to."""

from __future__ import annotations

import logging
import os
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from poolcensus.errors import SnapshotError
from poolcensus.format.ids import is_snapshot_id, may_begin_id, parse_snapshot_id
from poolcensus.format.manifest import MANIFEST_NAME, REFUSED_NAME
from poolcensus.format.text import listed
from poolcensus.paths import exists, is_folder
from poolcensus.snapshot.info import info_or_none
from poolcensus.snapshot.order import Moment, moment_of
from poolcensus.storage.naming import LATEST, is_in_s3, no_snapshots

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from poolcensus.snapshot.info import SnapshotInfo
    from poolcensus.storage.source import Source

_log = logging.getLogger("poolcensus")

# Called with the destination and the ID if `latest` names something that is not a snapshot.
Misnamed: TypeAlias = "Callable[[str, str], None]"

_LATEST_REF: Final = re.compile(rf"{LATEST}(?:~([0-9]{{1,9}}))?")

# The longest time from the start of a run, which its ID names, to its end. An interrupted run can be resumed
# within a day of its start, and no census takes longer than another day.
_LONGEST_RUN: Final = timedelta(days=2)

# IDs shown in a message. Enough to see where they differ, and few enough for a line.
_MATCHES_SHOWN: Final = 4


class LatestSearch:
    """A search for the newest of many snapshots that reads only a few manifests.

    Manifests are read backwards from the newest ID, until no earlier run can have ended later. The snapshot
    that `latest` names is read as well. Otherwise a run during which the clock was corrected by days could be
    missed.
    """

    def __init__(self, ids: Iterable[str], named: str | None, now: datetime) -> None:
        self._left = sorted(ids)
        while self._left and moment_of(self._left[-1]).is_ahead(now):
            self._left.pop()
        self._named = named
        self._now = now
        self._newest: tuple[Moment, SnapshotInfo | None] | None = None

    def next(self) -> list[str]:
        """Return the IDs of the snapshots to read next. Empty once the newest is found."""
        if not self._left:
            return []
        known = parse_snapshot_id(self._left[-1]) if self._newest is None else self._newest[0].finished
        found = []
        while self._left and parse_snapshot_id(self._left[-1]) + _LONGEST_RUN >= known:
            found.append(self._left.pop())
        if self._named in self._left:
            self._left.remove(self._named)
            found.append(self._named)
        return found

    def take(self, snapshot_id: str, info: SnapshotInfo | None) -> bool:
        """Take a snapshot that was read; `info` is None if it can't be.

        Return whether it is in the future.
        """
        moment = moment_of(snapshot_id) if info is None else info.moment
        is_ahead = moment.is_ahead(self._now)
        if not is_ahead and (self._newest is None or moment > self._newest[0]):
            self._newest = (moment, info)
        return is_ahead

    @property
    def newest(self) -> str | None:
        """The ID of the newest snapshot that was read and is not dated in the future, or None."""
        return None if self._newest is None else self._newest[0].id

    @property
    def info(self) -> SnapshotInfo | None:
        """The entry of the newest snapshot, or None if there is none or it can't be read."""
        return None if self._newest is None else self._newest[1]


class LatestAfter:
    """Chooses the latest snapshot after one has been published. Implements `storage.base.LatestChoice`.

    `info` is the entry of the published snapshot. `before` is the newest of the others, or None if none can
    be read. If all are dated in the future, because the clock was set back, `latest` keeps naming the same
    one.
    """

    def __init__(self, snapshot_id: str, info: SnapshotInfo | None) -> None:
        self._id = snapshot_id
        self._info = info
        self._others: LatestSearch | None = None
        self._named: str | None = None
        self.before: SnapshotInfo | None = None
        self.newest: str | None = None
        self.is_passed_over = False

    def start(self, ids: Iterable[str], named: str | None) -> None:
        """Begin with the IDs at the destination and the one that `latest` names."""
        there = frozenset(ids)
        self._named = named if named in there else None
        self._others = LatestSearch(there - {self._id}, named, datetime.now(UTC))

    def next(self) -> list[str]:
        """Return the IDs of the manifests to read next. Empty once the choice is made."""
        if self._others is None:
            return []
        if ids := self._others.next():
            return ids
        self.before = self._others.info
        is_ahead = self._others.take(self._id, self._info)
        self.newest, self._others = self._others.newest or self._named, None
        self.is_passed_over = is_ahead and self.newest != self._id
        return []

    def take(self, snapshot_id: str, manifest: bytes | None) -> None:
        """Take a manifest that was read, or None if it can't be read."""
        if self._others is not None:
            self._others.take(snapshot_id, None if manifest is None else info_or_none(manifest, snapshot_id))


def warn_of_latest(place: str, snapshot_id: str) -> None:
    """Log that the `latest` of a destination names something that is not a snapshot.

    This is logged at each look-up, but a command prints it only once.
    """
    _log.warning(
        "%s in %s names %s, which has no %s: it is no snapshot and is passed over",
        LATEST,
        place,
        snapshot_id,
        MANIFEST_NAME,
        extra={"once": True},
    )


def named_latest(source: Source, there: Collection[str], misnamed: Misnamed = warn_of_latest) -> str | None:
    """Return the ID that `latest` names. Call `misnamed` if that is not a snapshot, by default to log it.

    `there` is the IDs of the snapshots at the destination.
    """
    name = source.latest()
    # It may have been published after the IDs were listed, so look for its manifest.
    if name is not None and name not in there and not _has_manifest(source, name):
        misnamed(source.location, name)
    return name


def _has_manifest(source: Source, snapshot_id: str) -> bool:
    """Return whether the snapshot with this ID has a manifest."""
    try:
        return bool(source.files(snapshot_id).manifest())
    except SnapshotError:
        return False


def search_latest(source: Source, there: Iterable[str], named: str | None) -> LatestSearch:
    """Search for the newest of the snapshots whose IDs are in `there`, and return the completed search.

    `named` is the ID that `latest` names.
    """
    search = LatestSearch(there, named, datetime.now(UTC))
    while ids := search.next():
        for snapshot_id, found in source.manifests(ids):
            info = info_or_none(found, snapshot_id) if isinstance(found, bytes) else None
            search.take(snapshot_id, info)
    return search


def find(source: Source, ref: str, misnamed: Misnamed = warn_of_latest) -> str:
    """Return the ID of the snapshot that `ref` names: `latest`, `latest~N`, an ID or its unique beginning.

    Call `misnamed` if `latest` names something that is not a snapshot, by default to log it. Raises
    `SnapshotError` if no snapshot matches, or several do.
    """
    ids = source.ids()
    back = steps_back(ref)
    if back is None:
        matches = ids_that_begin(ref, ids)
        return look_up(matches[0] if matches else ref, map(moment_of, ids), source.location)
    named = named_latest(source, ids, misnamed)
    if back == 0 and (newest := search_latest(source, ids, named).newest) is not None:
        return newest
    return look_up(ref, _moments(source, ids), source.location)


def _moments(source: Source, ids: Iterable[str]) -> Iterable[Moment]:
    for snapshot_id, found in source.manifests(ids):
        info = info_or_none(found, snapshot_id) if isinstance(found, bytes) else None
        yield moment_of(snapshot_id) if info is None else info.moment


def ids_that_begin(ref: str, ids: Iterable[str]) -> list[str]:
    """Return a list with the ID that begins with `ref`. Empty if none does, or if `ref` is a complete ID.

    Raises `SnapshotError` if several do.
    """
    found = sorted(each for each in ids if each.startswith(ref)) if may_begin_id(ref) else []
    if len(found) > 1:
        matches = listed(found, _MATCHES_SHOWN)
        raise SnapshotError(f'"{ref}" begins {len(found):,} snapshot IDs: {matches}. Type more of it.')
    return found


def is_looked_up(ref: str) -> bool:
    """Return whether `ref` is `latest`, `latest~N` or an ID, which are looked up. Otherwise it is a path."""
    return is_snapshot_id(ref) or _LATEST_REF.fullmatch(ref) is not None


def looked_up(
    ref: str | os.PathLike[str], dest: str | os.PathLike[str] | None = None
) -> tuple[str | os.PathLike[str], str] | None:
    """Return the destination in which to look up `ref`, and the name to look up.

    The destination is `dest`, or a part of `ref` if that is in a bucket. Return None if `ref` is not looked
    up: it is the path of a folder, or a place in a bucket that is not a snapshot. An empty `ref` is looked
    up, and found nowhere. Raises `OSError` if the system can't tell whether there is a folder.
    """
    if not isinstance(ref, str):
        return None
    name = ref.rstrip("/")
    if is_in_s3(ref):
        place, _, name = name.rpartition("/")
        return (place, name) if is_looked_up(name) and is_in_s3(place) else None
    # A shell adds a slash when it completes the name of a folder.
    if name != ref and is_folder(ref):
        return None
    return (
        ("." if dest is None else dest, name) if not ref or is_looked_up(name) or is_beginning(name) else None
    )


def looked_up_beside_folder(
    opened: Callable[[str | os.PathLike[str]], Source],
    ref: str | os.PathLike[str],
    dest: str | os.PathLike[str] | None,
    ids_in: Callable[[Source], Iterable[str]],
) -> tuple[str | os.PathLike[str], str] | None:
    """Return what `looked_up` does, for a name of a snapshot at `dest` that a folder happens to have as well.

    Return None if the folder is a snapshot, or if no ID at `dest` begins with `ref`. `opened` opens a
    destination, and `ids_in` returns the IDs in it. Raises `OSError` if the system can't tell what is there.
    """
    name = ref.rstrip("/") if isinstance(ref, str) else ""
    if not (is_snapshot_id(name) or may_begin_id(name)):
        return None
    if any(exists(Path(name) / each) for each in (MANIFEST_NAME, REFUSED_NAME)):
        return None
    place = "." if dest is None else dest
    try:
        with opened(place) as source:
            found = any(each.startswith(name) for each in ids_in(source))
    except SnapshotError:
        # The caller then reports that the folder is not a snapshot.
        return None
    return (place, name) if found else None


def is_destination(ref: str | os.PathLike[str]) -> bool:
    """Return whether `ref` is a destination, not the name or the folder of a snapshot.

    Raises `OSError` if the system can't tell what is there.
    """
    if looked_up(ref) is not None:
        return False
    place = os.fspath(ref)
    if is_in_s3(place):
        return True
    # A folder with the name of a snapshot is not a destination, even if its manifest is missing.
    return is_folder(place) and not (
        exists(Path(place) / MANIFEST_NAME) or is_snapshot_id(Path(place).resolve().name)
    )


def is_beginning(ref: str) -> bool:
    """Return whether `ref` may be the beginning of an ID, and is not the path of an existing folder."""
    return may_begin_id(ref) and not is_folder(ref)


def steps_back(ref: str) -> int | None:
    """Return N for `latest~N`, 0 for `latest`, or None for an ID."""
    match = _LATEST_REF.fullmatch(ref)
    return None if match is None else int(match[1] or 0)


def look_up(ref: str, moments: Iterable[Moment], place: str) -> str:
    """Return the ID that `ref` names among `moments`. Raises `SnapshotError` if there is none."""
    now = datetime.now(UTC)
    ordered = sorted(moments)
    ids = [each.id for each in ordered]
    if not ids:
        raise SnapshotError(no_snapshots(place))
    if (back := steps_back(ref)) is None:
        if ref in ids:
            return ref
        again = f"poolcensus snapshots --dest {shlex.quote(place)}"
        if not is_snapshot_id(ref):
            raise SnapshotError(
                f"\"{ref}\" is not a snapshot ID or path. Use latest, latest~N, or an ID from '{again}'."
            )
        raise SnapshotError(f"No snapshot {ref} in {place}. Run '{again}' to list those there are.")
    past = [each.id for each in ordered if not each.is_ahead(now)]
    if back < len(past):
        return past[-1 - back]
    ahead = len(ids) - len(past)
    uncounted = f", and {ahead:,} dated in the future" if ahead else ""
    raise SnapshotError(f"No snapshot {ref} in {place}: it has {len(past):,}{uncounted}.")
