"""Makes blocking calls for a folder in worker threads, one at a time.

A hanging disk may block such a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from poolcensus.storage.base import ABORT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class OneAtATime:
    """Makes one call at a time, since a commit depends on the order of the system calls.

    The limiter lets calls wait without occupying threads. The mutex also waits for a call whose caller was
    cancelled.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)
        self._mutex = threading.Lock()
        self._left: deque[Callable[[], None]] = deque()

    async def run(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Make a blocking `call` in a worker thread, while no other call runs, and return its result.

        If the caller is cancelled, it does not wait, since the disk may hang. A call that has begun goes on
        to its end, and one that has not begun is not made.
        """
        wanted = True

        def alone() -> _T:
            try:
                with self._mutex:
                    if not wanted:
                        raise RuntimeError("nobody waits for this call any more")
                    return call(*args)
            finally:
                self._make_left()

        try:
            return await to_thread.run_sync(alone, limiter=self._limiter, abandon_on_cancel=True)
        finally:
            wanted = False

    async def finish(self, call: Callable[[], None]) -> None:
        """Make a blocking `call`, which must not raise, after the call in progress.

        It is made even if the caller is cancelled. Waits at most `ABORT_SECONDS`. If the disk hangs for
        longer, the call is made once it responds.
        """
        loop = asyncio.get_running_loop()
        ended = anyio.Event()

        def make() -> None:
            try:
                call()
            finally:
                # The loop may have been closed.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(ended.set)

        def alone() -> None:
            with self._mutex:
                make()
            self._make_left()

        # Not a thread of the pool, which would not start a call whose caller no longer waits.
        thread = threading.Thread(target=alone, name="poolcensus clearing up", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No thread can be started. Without the call, its resources would be held until the process ends.
            self._left.append(make)
            self._make_left()
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            await ended.wait()

    def _make_left(self) -> None:
        """Make the calls that got no thread. If a call is in progress, its thread makes them instead."""
        while self._left and self._mutex.acquire(blocking=False):
            try:
                # Another thread may have made the call before this one got the mutex.
                if self._left:
                    self._left.popleft()()
            finally:
                self._mutex.release()
