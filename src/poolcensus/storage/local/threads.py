"""Blocking calls for a folder, one at a time, in worker threads that a hanging disk may hold."""

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
    """Makes one call at a time: the order of the system calls is what a commit promises.

    The limiter keeps waiting calls out of the threads; the mutex holds where a caller has left its call
    running.
    """

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(1)
        self._mutex = threading.Lock()
        self._left: deque[Callable[[], None]] = deque()

    async def run(self, call: Callable[[*_Ts], _T], *args: *_Ts) -> _T:
        """Return the result of a blocking `call`, made in a worker thread while no other one runs.

        A caller that is cancelled does not wait, for a disk may hang. A call that has begun ends by itself,
        and one that has not is never made.
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
        """Make a blocking `call`, which raises nothing, after what is under way.

        It is made even where the caller is cancelled. Waits for `ABORT_SECONDS` at most: where the disk hangs
        for longer, the call is made when it goes on.
        """
        loop = asyncio.get_running_loop()
        ended = anyio.Event()

        def make() -> None:
            try:
                call()
            finally:
                # The loop may have ended meanwhile.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(ended.set)

        def alone() -> None:
            with self._mutex:
                make()
            self._make_left()

        # Of its own: the thread of a pool would not begin what is not waited for any more.
        thread = threading.Thread(target=alone, name="poolcensus clearing up", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system has no thread left, and what this releases would be held as long as the process is.
            self._left.append(make)
            self._make_left()
        with anyio.move_on_after(ABORT_SECONDS, shield=True):
            await ended.wait()

    def _make_left(self) -> None:
        """Make the calls that have no thread of their own, unless another is under way, whose thread will."""
        while self._left and self._mutex.acquire(blocking=False):
            try:
                # Another thread may have made it before this one had the mutex.
                if self._left:
                    self._left.popleft()()
            finally:
                self._mutex.release()
