"""Stale folders of interrupted runs and removals, which are resumed or removed."""

from __future__ import annotations

import contextlib
import logging
import shutil
from typing import TYPE_CHECKING

from poolcensus.errors import reason_of
from poolcensus.format.compression import LONGEST_LINE
from poolcensus.format.ids import is_snapshot_id
from poolcensus.format.sealed import unseal
from poolcensus.paths import exists, is_folder, is_link, rename
from poolcensus.storage.advice import explained
from poolcensus.storage.base import JOURNAL_NAME, InterruptedRun
from poolcensus.storage.local.files import open_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_log = logging.getLogger("poolcensus")

DRAFT_PREFIX = ".draft-"
LATEST_PREFIX = ".latest-"
PRUNED_PREFIX = ".pruned-"
REFUSED_PREFIX = ".refused-"
_FORMER_PREFIX = ".former-"


class StaleDrafts:
    """The hidden entries in a folder of snapshots. Changing them requires the folder's lock.

    All methods block.
    """

    def __init__(self, dest: Path) -> None:
        self._dest = dest

    def interrupted(self) -> list[InterruptedRun]:
        """Return the interrupted runs that have finished a target, or may have, the newest first.

        Raises `OSError`.
        """
        folders: dict[str, list[Path]] = {}
        for entry in self._dest.iterdir():
            if (snapshot_id := _stale_id(entry.name)) is not None:
                folders.setdefault(snapshot_id, []).append(entry)
        found = []
        for snapshot_id in sorted(folders, reverse=True):
            run = _left_by(snapshot_id, sorted(folders[snapshot_id]))
            if (run.journals or run.unreadable) and not exists(self._dest / snapshot_id):
                found.append(run)
        return found

    def resumable(self) -> frozenset[str]:
        """Return the names of the folders of the newest interrupted run that can be resumed.

        Also return those of newer runs that can't be read now. Raises `OSError`.
        """
        kept: set[str] = set()
        for run in self.interrupted():
            if run.is_recent:
                kept.update(each.name for each in (*run.journals, *run.unreadable))
                if run.journals:
                    break
        return frozenset(kept)

    def set_aside(self, run: InterruptedRun) -> list[Path]:
        """Rename the folders of a run, and return them, the newest first. Raises `DestinationError`."""
        # The run that resumes needs the draft's name for its own draft.
        left = (*run.journals, *run.unreadable)
        kept = [each for each in left if each.name.startswith(_FORMER_PREFIX)]
        kept.sort(key=_number_of_former, reverse=True)
        for each in left:
            if each not in kept:
                with explained("rename", each):
                    aside = self._next_former(run.snapshot_id)
                    rename(each, aside)
                kept.insert(0, aside)
        return kept

    def _next_former(self, snapshot_id: str) -> Path:
        """Return an unused name. Folders with damaged journals, which are not listed, may have some names."""
        prefix = f"{_FORMER_PREFIX}{snapshot_id}."
        there = (each for each in self._dest.iterdir() if each.name.startswith(prefix))
        number = max(map(_number_of_former, there), default=0) + 1
        return self._dest / f"{prefix}{number}"

    def sweep(self, kept: frozenset[str] = frozenset()) -> None:
        """Remove what dead runs have left, except the names in `kept`.

        Since this run holds the lock, whoever created it is dead. What can't be removed is logged.
        """
        with contextlib.suppress(OSError):
            for entry in list(self._dest.iterdir()):
                name = entry.name
                if name in kept:
                    continue
                if _stale_id(name) is not None or _is_snapshot_after(PRUNED_PREFIX, name):
                    _remove(entry)
                elif _is_snapshot_after(LATEST_PREFIX, name):
                    with contextlib.suppress(OSError):
                        entry.unlink()

    def forget_refused(self, but: str = "") -> None:
        """Remove the kept ledgers of refused runs, except the one with the name `but`."""
        with contextlib.suppress(OSError):
            for entry in list(self._dest.iterdir()):
                if entry.name != but and _is_snapshot_after(REFUSED_PREFIX, entry.name):
                    shutil.rmtree(entry, ignore_errors=True)


def _number_of_former(folder: Path) -> int:
    return int(folder.name.rpartition(".")[2])


def _stale_id(name: str) -> str | None:
    """Return the snapshot ID in the name of an interrupted run's folder, or None for other names."""
    snapshot_id = name.removeprefix(DRAFT_PREFIX)
    if name.startswith(_FORMER_PREFIX):
        snapshot_id, _, number = name.removeprefix(_FORMER_PREFIX).rpartition(".")
        if not (number.isascii() and number.isdigit()):
            return None
    elif snapshot_id == name:
        return None
    return snapshot_id if is_snapshot_id(snapshot_id) else None


def _left_by(snapshot_id: str, folders: Iterable[Path]) -> InterruptedRun:
    journals: dict[Path, bytes] = {}
    unreadable: dict[Path, str] = {}
    for each in folders:
        try:
            line = _first_line(each / JOURNAL_NAME)
        except OSError as error:
            unreadable[each] = f"{each / JOURNAL_NAME}: {reason_of(error)}"
        else:
            if line is not None:
                journals[each] = line
    return InterruptedRun(snapshot_id, journals, unreadable)


def _first_line(journal: Path) -> bytes | None:
    """Return the first line of a journal, or None if there is no journal, or it has no finished target.

    Raises `OSError` if it can't be read.
    """
    try:
        lines = open_file(journal)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        line = unseal(lines.readline(LONGEST_LINE))
        return line if lines.read(1) else None
    except ValueError:
        return None
    finally:
        with contextlib.suppress(OSError):
            lines.close()


def _remove(entry: Path) -> None:
    shutil.rmtree(entry, ignore_errors=True)
    try:
        # Runs create no links, so leave those. If a folder still exists, try again to learn the reason.
        if is_folder(entry) and not is_link(entry):
            shutil.rmtree(entry)
    except OSError as error:
        _log.warning(
            "%s is left over and can't be removed: %s", entry, reason_of(error), extra={"once": True}
        )


def _is_snapshot_after(prefix: str, name: str) -> bool:
    return name.startswith(prefix) and is_snapshot_id(name.removeprefix(prefix))
