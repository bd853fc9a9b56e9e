"""The lock of a destination in a bucket: an object that one run writes, and keeps writing while it lives.

Only conditional writes touch it, so that the service decides between runs. Whether a lease has lapsed is
a matter of the service's clock: of how long ago the object was written when it was read. Where the service
does not tell its time, whoever wants the lock watches it for as long as the lease is, by its own monotonic
clock: each renewal writes other bytes, so that the ETag changes. The holder goes by its monotonic clock as
well, from before it asked: it gives a lease up no later than others take it.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

import anyio

from poolcensus.errors import CensusError, DestinationError, DestinationLockedError
from poolcensus.format.codec import dumps
from poolcensus.storage.base import ABORT_SECONDS
from poolcensus.storage.holder import LockHolder, locked, read_lock, still_running
from poolcensus.storage.s3.objects import ConflictError

if TYPE_CHECKING:
    from poolcensus.storage.s3.objects import Bucket, StoredObject

_log = logging.getLogger("poolcensus")

LEASE_SECONDS = 120.0
"""How long a lock outlives a run that has died."""

# Three renewals in a row may fail before the lock is lost.
_RENEWALS_PER_LEASE = 4
# Every five seconds of a lease of the usual length: a run that is alive is seen soon after it has renewed.
_LOOKS_PER_LEASE = 24
# Several tries within a renewal's time, and not one after the other against a service that is in trouble.
_RETRY_SECONDS = 2.0
# What a lock says of itself is not waited for any longer: anybody who may write there may have written it.
_LONGEST_LEASE = 3600.0
# Each round is lost to another run that took the lock or let go of it meanwhile.
_ROUNDS = 4


class Lease:
    """The lock at `key`, for as long as it is renewed. One task acquires, and one keeps it."""

    def __init__(self, bucket: Bucket, key: str, place: str, *, seconds: float = LEASE_SECONDS) -> None:
        self._bucket = bucket
        self._key = key
        self._place = place
        self._seconds = seconds
        self._run = secrets.token_hex(16)
        self._renewals = 0
        self._etag = ""
        self._until = 0.0
        self._asked = False
        self._failing = False
        # What a write was to put there that may be carried out yet.
        self._given_up: bytes | None = None
        self._one_at_a_time = anyio.Lock()

    @property
    def asked(self) -> bool:
        """Whether the lock may be this run's: it has been asked for."""
        return self._asked

    async def acquire(self) -> None:
        """Take the lock. Raises `DestinationLockedError` where another run holds it."""
        self._holder = LockHolder.this_run()
        body = self._body()
        asked = anyio.current_time()
        for _ in range(_ROUNDS):
            held = await self._bucket.get(self._key)
            if held is not None and self._is_mine(held):
                # The first try of a call that was tried again.
                etag: str | None = held.etag
            else:
                if held is not None:
                    await self._check_lapsed(held)
                self._asked, asked = True, anyio.current_time()
                etag = await self._put(body, if_match=None if held is None else held.etag)
            if etag is not None:
                self._etag, self._until = etag, asked + self._seconds
                break
        else:
            raise DestinationLockedError(
                f'Destination "{self._place}" is being taken by other runs.',
                advice="Wait for them to finish or use another `dest`.",
            )
        await self._check_conditions()

    async def keep(self) -> None:
        """Renew the lock for ever. Raises `DestinationError` once it is lost."""
        while True:
            await anyio.sleep(self._seconds / _RENEWALS_PER_LEASE)
            await self.confirm()

    async def confirm(self) -> None:
        """Renew the lock now. Raises `DestinationError` where it is lost or can't be renewed."""
        while True:
            if await self._renewed():
                return
            await anyio.sleep(_RETRY_SECONDS)

    async def release(self) -> None:
        """Let go of the lock, if this run has it."""
        if not self._asked:
            return
        async with self._one_at_a_time:
            for left in reversed(range(_ROUNDS)):
                held = await self._bucket.get(self._key)
                if held is None or not self._is_mine(held):
                    break
                try:
                    await self._bucket.delete(self._key, if_match=held.etag)
                except ConflictError:
                    if not left:
                        raise
                else:
                    if held.body == self._given_up:
                        self._given_up = None
                    break
        self._asked = False
        if self._given_up is not None:
            raise DestinationError("the run was ended before the service had answered it")

    async def _put(self, body: bytes, *, if_match: str | None) -> str | None:
        """Write the lock where there is none, or where it has the ETag `if_match`. Return its ETag, or None.

        Where the caller is cancelled, that has `ABORT_SECONDS` to come to its end: a write that is given up
        may take the lock after it was looked for to be removed.
        """
        etag: str | None = None
        failure: CensusError | None = None
        ended = anyio.Event()
        limit = anyio.CancelScope(shield=True)

        async def put() -> None:
            nonlocal etag, failure
            with limit:
                try:
                    etag = await self._bucket.put(
                        self._key, body, if_absent=if_match is None, if_match=if_match
                    )
                except CensusError as error:
                    failure = error
            if limit.cancelled_caught:
                self._given_up = body
            ended.set()

        async with anyio.create_task_group() as group:
            group.start_soon(put)
            try:
                await ended.wait()
            finally:
                limit.deadline = anyio.current_time() + ABORT_SECONDS
        if failure is not None:
            raise failure
        return etag

    async def _renewed(self) -> bool:
        """Whether the lock was renewed. False: try again soon."""
        async with self._one_at_a_time:
            asked = anyio.current_time()
            if asked >= self._until:
                raise DestinationError(
                    f"the lock of {self._place} was lost: it could not be renewed for {self._seconds:g} s",
                    advice="run again",
                )
            try:
                # One that hangs must leave time for another; what comes back after the lease proves nothing.
                with anyio.fail_after(min(self._until - asked, self._seconds / _RENEWALS_PER_LEASE)):
                    body = self._body()
                    etag = await self._bucket.put(self._key, body, if_match=self._etag)
                    if etag is None:
                        held = await self._bucket.get(self._key)
                        if held is not None and self._is_mine(held):
                            etag = held.etag
                            if held.body != body:
                                # A renewal whose reply was lost: it may have come long ago.
                                self._etag = etag
                                return False
            except (DestinationError, TimeoutError) as error:
                if not self._failing:
                    _log.warning(
                        "the lock of %s can't be renewed: %s", self._place, str(error) or "no answer"
                    )
                self._failing = True
                return False
            if etag is None:
                raise DestinationError(
                    f"the lock of {self._place} was lost: another run has taken it, or it was removed with"
                    " 'poolcensus unlock'",
                    advice="run again",
                )
            self._etag, self._until, self._failing = etag, asked + self._seconds, False
            return True

    async def _check_conditions(self) -> None:
        """Refuse a service that takes the condition and does not heed it: nothing keeps runs apart there."""
        if await self._put(self._body(), if_match=None) is None:
            return
        await self._bucket.delete(self._key)
        raise DestinationError(
            f"{self._place} can't be locked: the service ignores If-None-Match, without which two runs"
            " can't be kept apart",
            advice="choose another destination",
        )

    async def _check_lapsed(self, held: StoredObject) -> None:
        lease = read_lock(held.body).get("lease_seconds")
        if not isinstance(lease, int | float) or not 0 < lease <= _LONGEST_LEASE:
            lease = LEASE_SECONDS
        lapses = ""
        if held.age is None:
            _log.warning(
                "%s does not tell its time: waiting for up to %.0f s to see whether the run that has its lock"
                " is alive",
                self._place,
                lease,
            )
            found = await self._watched(held, lease)
            if found is None:
                return
            lapsed = (found.etag, found.modified) == (held.etag, held.modified)
        else:
            lapsed = held.age > lease
            lapses = f" If it has died, its lock lapses within {lease - held.age:.0f} s."
        holder = LockHolder.read(held.body)
        if not lapsed:
            raise locked(self._place, holder, lapses)
        _log.warning("taking the lock of %s from a run that has died%s", self._place, holder.in_brackets)

    async def _watched(self, held: StoredObject, seconds: float) -> StoredObject | None:
        """Return the lock once it has changed, at the latest after so many seconds; None once it is gone."""
        found: StoredObject | None = held
        until = anyio.current_time() + seconds
        while (left := until - anyio.current_time()) > 0:
            await anyio.sleep(min(left, seconds / _LOOKS_PER_LEASE))
            found = await self._bucket.get(self._key)
            if found is None or (found.etag, found.modified) != (held.etag, held.modified):
                break
        return found

    def _body(self) -> bytes:
        self._renewals += 1
        return dumps(
            {
                "host": self._holder.host,
                "pid": self._holder.pid,
                "started_at": self._holder.started_text,
                "lease_seconds": self._seconds,
                "run": self._run,
                "renewals": self._renewals,
            }
        )

    def _is_mine(self, held: StoredObject) -> bool:
        return read_lock(held.body).get("run") == self._run


async def remove_lock(bucket: Bucket, key: str, place: str) -> LockHolder | None:
    """Remove the lock at `key`, and return whose it was; None where there is none.

    A run that is alive loses it with its next renewal, at the latest before it publishes. Raises
    `DestinationLockedError` where the lock is that of a process of this host which exists, or was renewed or
    taken meanwhile.
    """
    held = await bucket.get(key)
    if held is None:
        return None
    holder = LockHolder.read(held.body)
    if holder.is_alive_here():
        raise still_running(place, holder)
    await bucket.delete(key, if_match=held.etag)
    if (left := await bucket.get(key)) is not None:
        raise locked(place, LockHolder.read(left.body))
    return holder
