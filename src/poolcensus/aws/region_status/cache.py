"""A cache of region status between runs, in a file in the user's cache folder.

A missing or damaged file, or one that another user may have written, is ignored. It is no error if the folder
can't be written to. If two runs write at the same time, the results of one may be lost; they are requested
again then.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import msgspec

from poolcensus.loops import in_thread
from poolcensus.temporary import file_replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_log = logging.getLogger("poolcensus")

_VERSION = 1
_FILE_NAME = "region-status.json"
# The largest file that is read, in bytes. With 50,000 accounts, the most that an Organization can have, and
# all opt-in regions, a file has 15 MB.
_LARGEST = 64 << 20
# Seconds, the longest age that the setting allows. Older entries are dropped.
_LONGEST_AGE = 604_800.0
# Seconds to wait for the file. A network folder may hang, and neither an account nor the end of a run should
# wait for a cache.
_LONGEST_WAIT = 2.0

_AccountId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{12}\Z")]
_Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,64}\Z")]


class KeptStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The disabled regions of an account. `at` is when they were requested, in epoch seconds."""

    at: float
    disabled: frozenset[_Region]


_Scopes = dict[str, dict[_AccountId, KeptStatus]]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    scopes: _Scopes


class StatusCache:
    """The region status of accounts that this run or others have requested in the last `max_age` seconds.

    `scope` is the partition and the host that the status is requested from.
    """

    def __init__(
        self,
        scope: str,
        max_age: float,
        *,
        folder: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._scope = scope
        self._max_age = max_age
        self._folder = folder
        self._now = now
        self._lock = anyio.Lock()
        self._kept: Mapping[str, KeptStatus] | None = None
        self._new: dict[str, KeptStatus] = {}

    async def of(self, account_id: str) -> KeptStatus | None:
        """Return the status of an account, or None if it is too old or unknown."""
        async with self._lock:
            if self._kept is None:
                kept: Mapping[str, KeptStatus] = {}
                with anyio.move_on_after(_LONGEST_WAIT):
                    kept = await in_thread(self._read_own_scope)
                # Set only after reading: if this caller is cancelled, the next one reads the file.
                self._kept = kept
        found = self._kept.get(account_id)
        # An entry from the future was written before the clock was set back, so its age is unknown.
        return found if found is not None and 0 <= self._now() - found.at <= self._max_age else None

    def note(self, account_id: str, disabled: frozenset[str]) -> None:
        """Add the status that was just requested for an account."""
        self._new[account_id] = KeptStatus(self._now(), disabled)

    async def save(self) -> None:
        """Write the added entries to the file, which keeps the entries of other runs."""
        if self._new:
            with anyio.move_on_after(_LONGEST_WAIT, shield=True):
                await in_thread(self._write, dict(self._new))

    def _read_own_scope(self) -> Mapping[str, KeptStatus]:
        # Most accounts have enabled the same regions. A set for each account would take 4 KB.
        shared: dict[frozenset[str], frozenset[str]] = {}
        return {
            account_id: KeptStatus(kept.at, shared.setdefault(kept.disabled, kept.disabled))
            for account_id, kept in self._read().get(self._scope, {}).items()
        }

    def _cache_folder(self) -> Path | None:
        return self._folder or cache_folder()

    def _read(self) -> _Scopes:
        folder = self._cache_folder()
        if folder is None:
            return {}
        try:
            data = _read_own(folder / _FILE_NAME)
            file = msgspec.json.decode(data, type=_File)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            _log.debug("the region status kept in %s is of no use: %s", folder, error)
            return {}
        return file.scopes if file.version == _VERSION else {}

    def _write(self, new: Mapping[str, KeptStatus]) -> None:
        folder = self._cache_folder()
        if folder is None:
            return
        scopes = self._read()
        own = scopes.setdefault(self._scope, {})
        for account_id, status in new.items():
            if account_id not in own or own[account_id].at <= status.at:
                own[account_id] = status
        now = self._now()
        recent = {
            scope: {key: each for key, each in accounts.items() if abs(now - each.at) <= _LONGEST_AGE}
            for scope, accounts in scopes.items()
        }
        data = msgspec.json.encode(_File(_VERSION, {scope: each for scope, each in recent.items() if each}))
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Without fsync the file may be empty after a crash of the machine, which is the same as no file.
            with file_replacing(folder / _FILE_NAME, 0o600) as file:
                file.write(data)
        except OSError as error:
            _log.debug("the region status can't be kept in %s: %s", folder, error)


def cache_folder() -> Path | None:
    """Return the cache folder: that of the systemd unit, or else the user's, or None if there is none."""
    # systemd lists the unit's folders with colons between them:
    # https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#RuntimeDirectory=
    given = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given.startswith("/"):
        return Path(given)
    # The XDG specification says to ignore a relative path.
    user = os.environ.get("XDG_CACHE_HOME", "")
    if user.startswith("/"):
        return Path(user, "poolcensus")
    with suppress(RuntimeError):
        home = Path("~").expanduser()
        return home / ".cache" / "poolcensus" if home.is_absolute() else None
    return None


def _read_own(path: Path) -> bytes:
    """Return the content of a file. Raises ValueError if others may have written it, and OSError."""
    # O_NONBLOCK, so that opening a named pipe does not wait.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ValueError("others may have written it")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError("it is too large")
    return data
