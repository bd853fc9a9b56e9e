"""What runs and removals that were cut off left in a folder: to be gone on with, or to be removed."""

from __future__ import annotations

import contextlib
import logging
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from poolcensus.errors import DestinationError
from poolcensus.format.ids import is_snapshot_id, parse_snapshot_id
from poolcensus.snapshot.journal import Journal
from poolcensus.snapshot.store import explained

if TYPE_CHECKING:
    from pathlib import Path

    from poolcensus.model import JsonObject
    from poolcensus.snapshot.journal import JournalHeader

_log = logging.getLogger("poolcensus")

DRAFT_PREFIX = ".draft-"
LATEST_PREFIX = ".latest-"
PRUNED_PREFIX = ".pruned-"
REFUSED_PREFIX = ".refused-"
_FORMER_PREFIX = ".former-"
_LONGEST_BREAK = timedelta(days=1)


class Leftovers:
    """The hidden names in a folder of snapshots. Whoever touches them holds the folder's lock."""

    def __init__(self, dest: Path) -> None:
        self._dest = dest

    def journals(self, asked: JsonObject) -> list[Journal]:
        """The journals of the newest interrupted run that was asked for `asked`. Removes all else.

        Blocks. Raises `DestinationError`.
        """
        kept: list[Path] = []
        journals: list[Journal] = []
        with explained("read", self._dest):
            runs = self._interrupted()
        for snapshot_id, drafts in runs:
            if all(_goes_on(header, snapshot_id, asked) for header in drafts.values()):
                aside = self._set_aside(snapshot_id, [*drafts])
                journals = [journal for each in aside if (journal := Journal.open(each)) is not None]
                kept = aside if journals else []
                break
            for header in drafts.values():
                if _is_recent(snapshot_id):
                    raise DestinationError(_difference(header, asked, self._dest))
            _log.warning(
                "the interrupted run %s in %s is not resumed: it began more than a day ago",
                snapshot_id,
                self._dest,
            )
        self.sweep(frozenset(each.name for each in kept))
        return journals

    def resumable(self) -> frozenset[str]:
        """The names of what the newest interrupted run left, if it can be gone on with. Blocks."""
        with contextlib.suppress(OSError):
            for snapshot_id, drafts in self._interrupted():
                if _is_recent(snapshot_id):
                    return frozenset(each.name for each in drafts)
        return frozenset()

    def _interrupted(self) -> list[tuple[str, dict[Path, JournalHeader]]]:
        """The ids of the interrupted runs, the newest first, and the headers of their drafts' journals."""
        folders: dict[str, list[Path]] = {}
        for entry in self._dest.iterdir():
            if (snapshot_id := _id_of_litter(entry.name)) is not None:
                folders.setdefault(snapshot_id, []).append(entry)
        found = []
        for snapshot_id in sorted(folders, reverse=True):
            headers = {each: Journal.read_header(each) for each in sorted(folders[snapshot_id])}
            drafts = {each: header for each, header in headers.items() if header is not None}
            if drafts and not (self._dest / snapshot_id).exists():
                found.append((snapshot_id, drafts))
        return found

    def _set_aside(self, snapshot_id: str, drafts: list[Path]) -> list[Path]:
        # The draft's own name is that of the run that goes on.
        kept = [each for each in drafts if each.name.startswith(_FORMER_PREFIX)]
        numbers = [int(each.name.rpartition(".")[2]) for each in kept]
        for each in drafts:
            if each not in kept:
                aside = self._dest / f"{_FORMER_PREFIX}{snapshot_id}.{max(numbers, default=0) + 1}"
                with explained("rename", each):
                    each.rename(aside)
                kept.insert(0, aside)
        return kept

    def sweep(self, kept: frozenset[str] = frozenset()) -> None:
        """Removes what dead runs left, but for the names in `kept`. Blocks.

        Whoever made it is dead, for this run holds the lock. What can't be removed harms nobody.
        """
        with contextlib.suppress(OSError):
            for entry in list(self._dest.iterdir()):
                name = entry.name
                if name in kept:
                    continue
                if _id_of_litter(name) is not None or _is_snapshot_after(PRUNED_PREFIX, name):
                    shutil.rmtree(entry, ignore_errors=True)
                elif _is_snapshot_after(LATEST_PREFIX, name):
                    with contextlib.suppress(OSError):
                        entry.unlink()

    def forget_refused(self, but: str = "") -> None:
        """Removes the ledgers of runs that were not published, but for the name `but`. Blocks."""
        with contextlib.suppress(OSError):
            for entry in list(self._dest.iterdir()):
                if entry.name != but and _is_snapshot_after(REFUSED_PREFIX, entry.name):
                    shutil.rmtree(entry, ignore_errors=True)


def _id_of_litter(name: str) -> str | None:
    """The snapshot id in the name of what a run leaves where it is interrupted, None for other names."""
    snapshot_id = name.removeprefix(DRAFT_PREFIX)
    if name.startswith(_FORMER_PREFIX):
        snapshot_id, _, number = name.removeprefix(_FORMER_PREFIX).rpartition(".")
        if not (number.isascii() and number.isdigit()):
            return None
    elif snapshot_id == name:
        return None
    return snapshot_id if is_snapshot_id(snapshot_id) else None


def _goes_on(header: JournalHeader, snapshot_id: str, asked: JsonObject) -> bool:
    """Whether a run that is asked for `asked` now may go on with the one that left the journal."""
    return header.snapshot_id == snapshot_id and header.asked == asked and _is_recent(snapshot_id)


def _is_recent(snapshot_id: str) -> bool:
    return abs(datetime.now(UTC) - parse_snapshot_id(snapshot_id)) < _LONGEST_BREAK


def _difference(header: JournalHeader, asked: JsonObject, dest: Path) -> str:
    """What a person is told who forgot an option: going on without it, or anew, is not ours to choose."""
    names = sorted(name for name in {*header.asked, *asked} if header.asked.get(name) != asked.get(name))
    return (
        f"the interrupted run {header.snapshot_id} in {dest} was asked for something else"
        f" ({', '.join(names)}): give the same options, or leave --resume out to start anew"
    )


def _is_snapshot_after(prefix: str, name: str) -> bool:
    return name.startswith(prefix) and is_snapshot_id(name.removeprefix(prefix))
