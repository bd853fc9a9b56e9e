"""The holder of a destination's lock, and the errors that name it."""

from __future__ import annotations

import os
import shlex
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from poolcensus.errors import DestinationLockedError
from poolcensus.format.codec import loads
from poolcensus.format.times import parse_rfc3339, utc_now

if TYPE_CHECKING:
    from poolcensus.model import JsonObject


class LockHolder(msgspec.Struct, frozen=True):
    """The run that holds a destination's lock, as the lock names it. None for what the lock does not say."""

    started_at: datetime | None = None
    host: str | None = None
    pid: int | None = None

    @classmethod
    def this_run(cls) -> Self:
        """Return this process as the holder of a lock that it takes now."""
        return cls(utc_now(), socket.gethostname(), os.getpid())

    @classmethod
    def read(cls, lock: bytes) -> Self:
        """Return the holder that a lock names. Invalid content is ignored."""
        found = read_lock(lock)
        started_at, host, pid = found.get("started_at"), found.get("host"), found.get("pid")
        return cls(
            _time(started_at),
            host if isinstance(host, str) else None,
            pid if isinstance(pid, int) and pid is not True and pid > 0 else None,
        )

    def __str__(self) -> str:
        parts = {"started": self.started_text, "host": self.host, "PID": self.pid}
        return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None)

    @property
    def started_text(self) -> str | None:
        """The start of the run, to the second, as in locks and messages."""
        return None if self.started_at is None else f"{self.started_at:%Y-%m-%dT%H:%M:%SZ}"

    @property
    def in_brackets(self) -> str:
        """The holder in brackets, after a space, to follow a noun. Empty if nothing is known."""
        return f" ({self})" if str(self) else ""

    def is_alive_here(self) -> bool:
        """Return whether the lock names a running process of this host."""
        if self.host != socket.gethostname() or self.pid is None:
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            # The process exists, and belongs to another user.
            return True
        return not _has_ended(self.pid)


def _has_ended(pid: int) -> bool:
    """Return whether an existing process is a zombie, as far as the system tells."""
    try:
        # The state follows the name in brackets: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"Z"]


def _time(value: object) -> datetime | None:
    with suppress(ValueError):
        return parse_rfc3339(value) if isinstance(value, str) else None
    return None


def read_lock(lock: bytes) -> JsonObject:
    """Return the JSON object in a lock. Empty if it contains anything else."""
    try:
        found = loads(lock)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def locked(place: object, holder: LockHolder, lapses: str = "") -> DestinationLockedError:
    """Return the error for a run that finds the destination locked."""
    return DestinationLockedError(
        f'Destination "{place}" is locked by another run{holder.in_brackets}.',
        advice=(
            f"Wait for it to finish or use another `dest`.{lapses} If that run is known to be dead, run"
            f" 'poolcensus unlock --dest {shlex.quote(str(place))}'."
        ),
    )


def still_running(place: object, holder: LockHolder) -> DestinationLockedError:
    """Return the error for `unlock` if the holder of the lock is a running process."""
    return DestinationLockedError(
        f'Destination "{place}" stays locked: its run is still running on this host{holder.in_brackets}.'
        f" If it hangs, stop it with 'kill {holder.pid}'."
    )
