"""The lock of a destination in a bucket: an object that a run keeps rewriting while it is alive.

It is only changed by conditional writes, so that the service decides between runs. A lease has lapsed if the
object was written too long ago by the service's clock. If the service does not tell its time, a run that
wants the lock watches the object for the length of the lease, by its own monotonic clock. Each renewal writes
different bytes, which changes the ETag. The holder uses its monotonic clock as well, and counts from before
the call that renewed the lease, so that it gives up the lease before others can take it.
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
"""Seconds after which the lock of a dead run lapses."""

# Three renewals in a row may fail before the lock is lost.
_RENEWALS_PER_LEASE = 4
# A look every five seconds, for a lease of the usual length. So a renewal is noticed soon.
_LOOKS_PER_LEASE = 24
# Allows several attempts within the time of a renewal, without flooding a service that is in trouble.
_RETRY_SECONDS = 2.0
# A longer lease in a lock is not believed: anyone who can write to the bucket may have written it.
_LONGEST_LEASE = 3600.0
# Attempts. Each fails only if another run has taken or released the lock in between.
_ROUNDS = 4


class Lease:
    """The lock at `key`. It is held for as long as it is renewed, by a task that runs `keep`."""

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
        # The content of an abandoned write, which the service may still carry out.
        self._given_up: bytes | None = None
        self._one_at_a_time = anyio.Lock()

    @property
    def asked(self) -> bool:
        """Whether this run has requested the lock, and so may hold it."""
        return self._asked

    async def acquire(self) -> None:
        """Take the lock. Raises `DestinationLockedError` if another run holds it."""
        self._holder = LockHolder.this_run()
        body = self._body()
        asked = anyio.current_time()
        for _ in range(_ROUNDS):
            held = await self._bucket.get(self._key)
            if held is not None and self._is_mine(held):
                # The first try of a call that the SDK retried has taken the lock.
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
        """Renew the lock until cancelled. Raises `DestinationError` once it is lost."""
        while True:
            await anyio.sleep(self._seconds / _RENEWALS_PER_LEASE)
            await self.confirm()

    async def confirm(self) -> None:
        """Renew the lock now. Raises `DestinationError` if it is lost or can't be renewed."""
        while True:
            if await self._renewed():
                return
            await anyio.sleep(_RETRY_SECONDS)

    async def release(self) -> None:
        """Release the lock, if this run holds it."""
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
        """Write the lock if there is none, or if it has the ETag `if_match`. Return its ETag, or None.

        If the caller is cancelled, the write has `ABORT_SECONDS` to finish. An abandoned write could take the
        lock after `release` has looked for it.
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
        """Try to renew the lock, and return whether it was renewed.

        Raises `DestinationError` if it is lost.
        """
        async with self._one_at_a_time:
            asked = anyio.current_time()
            if asked >= self._until:
                raise DestinationError(
                    f"the lock of {self._place} was lost: it could not be renewed for {self._seconds:g} s",
                    advice="run again",
                )
            try:
                # A call that hangs must leave time for another. A reply after the end of the lease is
                # useless.
                with anyio.fail_after(min(self._until - asked, self._seconds / _RENEWALS_PER_LEASE)):
                    body = self._body()
                    etag = await self._bucket.put(self._key, body, if_match=self._etag)
                    if etag is None:
                        held = await self._bucket.get(self._key)
                        if held is not None and self._is_mine(held):
                            etag = held.etag
                            if held.body != body:
                                # An earlier renewal, whose reply was lost. It may be old, so renew again.
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
        """Raise `DestinationError` if the service ignores conditions. Two runs could then have the lock."""
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
        """Watch the lock for at most `seconds`. Return it once it has changed, or None once it is gone."""
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
    """Remove the lock at `key`, and return its holder, or None if there is no lock.

    A run that is still alive notices at its next renewal, at the latest before it publishes. Raises
    `DestinationLockedError` if the holder is a process of this host that exists, or if the lock was renewed
    or taken in the meantime.
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
