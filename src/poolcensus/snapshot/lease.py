"""The lock of a destination in a bucket: an object that one run writes, and keeps writing while it lives.

Only conditional writes touch it, so that the service decides between runs. Whether a lease has lapsed is
a matter of the service's clock: of how long ago the object was written when it was read. The holder
goes by its own monotonic clock, from before it asked: it gives a lease up no later than others take it.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import DestinationError, DestinationLockedError
from poolcensus.format.codec import dumps, loads

if TYPE_CHECKING:
    from poolcensus.model import JsonObject
    from poolcensus.storage.s3.objects import Bucket, StoredObject

_log = logging.getLogger("poolcensus")

LEASE_SECONDS = 120.0
"""How long a lock outlives a run that has died."""

_RENEWALS_PER_LEASE = 4
_RETRY_SECONDS = 2.0
_LONGEST_LEASE = 3600.0
_ROUNDS = 4


class Lease:
    """The lock at `key`, for as long as it is renewed. One task acquires, and one keeps it."""

    def __init__(self, bucket: Bucket, key: str, place: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._bucket = bucket
        self._key = key
        self._place = place
        self._seconds = seconds
        self._run = secrets.token_hex(16)
        self._etag = ""
        self._until = 0.0
        self._asked = False
        self._failing = False
        self._one_at_a_time = anyio.Lock()

    async def acquire(self) -> None:
        """Takes the lock. Raises `DestinationLockedError` where another run holds it."""
        started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._body = dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started_at": started,
                "lease_seconds": self._seconds,
                "run": self._run,
            }
        )
        asked = anyio.current_time()
        for _ in range(_ROUNDS):
            held = await self._bucket.get(self._key)
            if held is None:
                self._asked = True
                etag = await self._bucket.put(self._key, self._body, if_absent=True)
            elif self._is_mine(held):
                # The first try of a call that was tried again.
                etag = held.etag
            else:
                self._check_lapsed(held)
                self._asked = True
                etag = await self._bucket.put(self._key, self._body, if_match=held.etag)
            if etag is not None:
                self._etag, self._until = etag, asked + self._seconds
                break
        else:
            raise DestinationLockedError(
                f"other runs are taking {self._place}; wait for their end or choose another destination"
            )
        await self._check_conditions()

    async def keep(self) -> None:
        """Renews the lock for ever. Raises `DestinationError` once it is lost."""
        while True:
            await anyio.sleep(self._seconds / _RENEWALS_PER_LEASE)
            await self.confirm()

    async def confirm(self) -> None:
        """Renews the lock now. Raises `DestinationError` where it is lost or can't be renewed."""
        while True:
            if await self._renewed():
                return
            await anyio.sleep(_RETRY_SECONDS)

    async def release(self) -> None:
        """Lets go of the lock, if this run has it."""
        if not self._asked:
            return
        async with self._one_at_a_time:
            held = await self._bucket.get(self._key)
            if held is not None and self._is_mine(held):
                await self._bucket.delete(self._key, if_match=held.etag)

    async def _renewed(self) -> bool:
        """Whether the lock was renewed. False: try again soon."""
        async with self._one_at_a_time:
            asked = anyio.current_time()
            if asked >= self._until:
                raise DestinationError(
                    f"the lock of {self._place} was lost: it could not be renewed for {self._seconds:g} s;"
                    " run again"
                )
            try:
                # One that hangs must leave time for another; what comes back after the lease proves nothing.
                with anyio.fail_after(min(self._until - asked, self._seconds / _RENEWALS_PER_LEASE)):
                    etag = await self._bucket.put(self._key, self._body, if_match=self._etag)
                    if etag is None:
                        # Perhaps the second try of a renewal whose first try came through.
                        held = await self._bucket.get(self._key)
                        etag = held.etag if held is not None and self._is_mine(held) else None
            except (DestinationError, TimeoutError) as error:
                if not self._failing:
                    _log.warning(
                        "the lock of %s can't be renewed: %s", self._place, str(error) or "no answer"
                    )
                self._failing = True
                return False
            if etag is None:
                raise DestinationError(
                    f"the lock of {self._place} was lost: another run has taken it; run again when that"
                    " has ended"
                )
            self._etag, self._until, self._failing = etag, asked + self._seconds, False
            return True

    async def _check_conditions(self) -> None:
        """Refuses a service that takes the condition and does not heed it: nothing keeps runs apart there."""
        if await self._bucket.put(self._key, self._body, if_absent=True) is None:
            return
        await self._bucket.delete(self._key)
        raise DestinationError(
            f"{self._place} can't be locked: the service ignores If-None-Match, without which two runs"
            " can't be kept apart; choose another destination"
        )

    def _check_lapsed(self, held: StoredObject) -> None:
        holder = _read(held)
        lease = holder.get("lease_seconds")
        if not isinstance(lease, int | float) or not 0 < lease <= _LONGEST_LEASE:
            lease = LEASE_SECONDS
        if held.age > lease:
            _log.warning("taking the lock of %s from a run that has died%s", self._place, _described(holder))
            return
        raise DestinationLockedError(
            f"another run holds {self._place}{_described(holder)}; wait for its end or choose another"
            f" destination (if it has died, its lock lapses within {lease - held.age:.0f} s)"
        )

    def _is_mine(self, held: StoredObject) -> bool:
        return _read(held).get("run") == self._run


def _read(held: StoredObject) -> JsonObject:
    try:
        holder = loads(held.body)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _described(holder: JsonObject) -> str:
    if not holder:
        return ""
    return f": it started at {holder.get('started_at')} on {holder.get('host')}, process {holder.get('pid')}"
