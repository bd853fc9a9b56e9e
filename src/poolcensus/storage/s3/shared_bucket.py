"""A bucket for blocking code. Its calls run in an event loop of another thread."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import wait
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar

from anyio import from_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
    from concurrent.futures import Future
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from types import TracebackType

    from anyio.from_thread import BlockingPortal

    from poolcensus.storage.s3.objects import Bucket

# Seconds between checks whether the caller in a worker thread has been cancelled.
_LOOK_SECONDS = 0.1

_T = TypeVar("_T")
_P = ParamSpec("_P")


class SharedBucket:
    """A bucket that is opened when it is first entered, and closed when it is last left.

    `opened` opens the bucket, and returns it with the portal into its event loop: see `in_own_loop`. It may
    be used by several other threads at once, whether or not they run an event loop.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[tuple[BlockingPortal, Bucket]]]) -> None:
        self._opened = opened
        self._mutex = threading.Lock()
        self._users = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._mutex:
            if not self._users:
                self._open()
            self._users += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._mutex:
            self._users -= 1
            if not self._users:
                self._stack.close()

    def call(
        self, function: Callable[Concatenate[Bucket, _P], Awaitable[_T]], *args: _P.args, **given: _P.kwargs
    ) -> _T:
        """Call an async `function` with the bucket and these arguments, and return its result."""
        with self:
            return _result(self._start(lambda bucket: function(bucket, *args, **given)))

    def ahead(
        self, calls: Iterable[Callable[[Bucket], Awaitable[_T]]], width: int
    ) -> Generator[_T, None, None]:
        """Yield the results of `calls` in order, while up to `width` of them are in progress.

        Closing the generator cancels the calls in progress.
        """
        waiting: deque[Future[_T]] = deque()
        with self:
            try:
                for call in calls:
                    waiting.append(self._start(call))
                    if len(waiting) == width:
                        yield _result(waiting.popleft())
                while waiting:
                    yield _result(waiting.popleft())
            finally:
                for each in waiting:
                    each.cancel()

    def _open(self) -> None:
        with ExitStack() as stack:
            self._portal, self._bucket = stack.enter_context(self._opened())
            self._stack = stack.pop_all()

    def _start(self, call: Callable[[Bucket], Awaitable[_T]]) -> Future[_T]:
        return self._portal.start_task_soon(call, self._bucket)


@contextmanager
def in_own_loop(
    open_bucket: Callable[[], AbstractAsyncContextManager[Bucket]],
) -> Iterator[tuple[BlockingPortal, Bucket]]:
    """Open a bucket in a new event loop in a new thread. Yield the portal into that loop, and the bucket."""
    with (
        from_thread.start_blocking_portal("asyncio", name="poolcensus reading from S3") as portal,
        portal.wrap_async_context_manager(open_bucket()) as bucket,
    ):
        yield portal, bucket


def _result(future: Future[_T]) -> _T:
    try:
        while not wait((future,), _LOOK_SECONDS).done:
            # Outside a worker thread of anyio, there is no caller that could be cancelled.
            with suppress(RuntimeError):
                from_thread.check_cancelled()
        return future.result()
    finally:
        future.cancel()
