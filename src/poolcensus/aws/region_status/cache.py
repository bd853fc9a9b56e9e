"""Region status that is kept between runs, in a file of the user's cache folder.

The file is a convenience: one that is missing, damaged or another user's is as none, and a folder that can't
be written to is no error. Two runs that write at once may lose what one of them has learned, which is then
asked for anew.
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
# Fifty thousand accounts, an Organization's most, with all opt-in regions take 15 MB.
_LARGEST = 64 << 20
# The longest age that the setting allows: what is older is of use to nobody.
_LONGEST_AGE = 604_800.0
# A network folder may hang. Neither accounts nor a run that has ended wait for what can be had again.
_LONGEST_WAIT = 2.0

_AccountId = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{12}\Z")]
_Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,64}\Z")]


class KeptStatus(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The disabled regions of an account, and when the account said so, in epoch seconds."""

    at: float
    disabled: frozenset[_Region]


_Scopes = dict[str, dict[_AccountId, KeptStatus]]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    scopes: _Scopes


class StatusCache:
    """What accounts have said of their regions in the last `max_age` seconds, to this run or to others.

    `scope` is where they were asked: a partition and an endpoint.
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
        """Return what an account said, or None where that is too old or not known."""
        async with self._lock:
            if self._kept is None:
                kept: Mapping[str, KeptStatus] = {}
                with anyio.move_on_after(_LONGEST_WAIT):
                    kept = await in_thread(self._kept_here)
                # Only now: where the first to ask is cancelled, the next one reads.
                self._kept = kept
        found = self._kept.get(account_id)
        # What comes from the future was written before the clock was set back: its age is not known.
        return found if found is not None and 0 <= self._now() - found.at <= self._max_age else None

    def note(self, account_id: str, disabled: frozenset[str]) -> None:
        """Keep what an account has just said."""
        self._new[account_id] = KeptStatus(self._now(), disabled)

    async def save(self) -> None:
        """Write what was noted, beside what other runs have written."""
        if self._new:
            with anyio.move_on_after(_LONGEST_WAIT, shield=True):
                await in_thread(self._write, dict(self._new))

    def _kept_here(self) -> Mapping[str, KeptStatus]:
        # Most accounts have enabled the same regions: a set for each would take some 4 KB an account.
        shared: dict[frozenset[str], frozenset[str]] = {}
        return {
            account_id: KeptStatus(kept.at, shared.setdefault(kept.disabled, kept.disabled))
            for account_id, kept in self._read().get(self._scope, {}).items()
        }

    def _place(self) -> Path | None:
        return self._folder or cache_folder()

    def _read(self) -> _Scopes:
        folder = self._place()
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
        folder = self._place()
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
            # After a crash of the machine it may be empty, which is as none: that is not worth an fsync.
            with file_replacing(folder / _FILE_NAME, 0o600) as file:
                file.write(data)
        except OSError as error:
            _log.debug("the region status can't be kept in %s: %s", folder, error)


def cache_folder() -> Path | None:
    """Return the folder for what can be had again: systemd's, or else the user's. None: there is none."""
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
    """Return the content of a file that nobody else can have written. Raises OSError or ValueError."""
    # A pipe would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise ValueError("others may have written it")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError("it is too large")
    return data
