"""Run a coroutine of the library until it ends or a signal ends it. The library itself handles no signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio

from poolcensus.cli import background, logs
from poolcensus.cli.exits import NO_THREADS, StoppedError, is_of_threads
from poolcensus.cli.trouble import complain, is_writable
from poolcensus.errors import FatalError
from poolcensus.exit_error import exit_error
from poolcensus.signals import ENDING, decide, handled, handlers
from poolcensus.temporary import remove_all

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

Result = TypeVar("Result")

# Seconds.
_SAME_SIGNAL_WITHIN = 1.0
_CLEANUP_WITHIN = 4.0
_LAST_MESSAGE_WITHIN = 0.5
_SHOW_CURSOR = b"\x1b[?25h\n"


def run(
    body: Callable[[], Coroutine[None, None, Result]], decided: Callable[[], int | None] = lambda: None
) -> Result:
    """Run `body` in a new event loop, and handle the signals that end the program.

    The first signal cancels `body`, so that it can clean up, and raises `StoppedError`. The cleanup has four
    seconds; then the process exits, since a thread that hangs in a system call can't be cancelled. A second
    signal exits at once. The same signal again within a second does not count as a second one, nor does
    SIGHUP together with another signal.

    `decided` returns the exit code that signals no longer change, such as that of a published snapshot, or
    None. Raises FatalError if the system lets the process start no more threads.
    """
    # Imported objects live until the end. The garbage collector would search them again and again, and block
    # the event loop for a tenth of a second each time.
    gc.freeze()
    ended = threading.Event()
    try:
        with _event_loop() as runner:
            return runner.run(_run(body, ended, decided))
    except (RuntimeError, ExceptionGroup) as error:
        if is_of_threads(error):
            raise FatalError(NO_THREADS) from error
        raise
    finally:
        ended.set()


@contextmanager
def _event_loop() -> Iterator[asyncio.Runner]:
    """Yield the runner of an event loop, and close it. Ignore that no thread can be started to close it."""
    runner = asyncio.Runner()
    try:
        yield runner
    finally:
        try:
            runner.close()
        except RuntimeError as error:
            # Closing starts a thread that waits for the loop's threads, whose results nobody needs any more.
            if not is_of_threads(error):
                raise


async def _run(
    body: Callable[[], Coroutine[None, None, Result]],
    ended: threading.Event,
    decided: Callable[[], int | None],
) -> Result:
    loop = asyncio.get_running_loop()
    received: list[int] = []
    stopped_at: list[float] = []
    scope = anyio.CancelScope()

    # A handler of Python instead of the loop's: it is called even while the loop is blocked in a system call.
    def stop(number: int, _: FrameType | None) -> None:
        if received:
            # `timeout` signals a process and then its group, and systemd may send SIGHUP after SIGTERM. Both
            # count as one request to stop.
            is_other = number != received[0] and signal.SIGHUP not in {number, received[0]}
            if is_other or time.monotonic() - stopped_at[0] > _SAME_SIGNAL_WITHIN:
                code = decided()
                if code is None:
                    code = 128 + number
                    _tell_of_exit(code)
                _leave(code)
            return
        stopped_at.append(time.monotonic())
        received.append(number)
        loop.call_soon_threadsafe(scope.cancel)
        # Not a timer of the loop, which may end before the thread that hangs.
        patience = threading.Timer(_CLEANUP_WITHIN, _run_out, (number, ended, decided))
        patience.daemon = True
        # If no thread can be started, the cleanup has no time limit.
        with suppress(RuntimeError):
            patience.start()

    before = handlers()
    for each in before:
        # The system may deliver the signal to any thread. This makes it wake the loop. The loop's own handler
        # does nothing, since it is not called while the loop is blocked.
        loop.add_signal_handler(each, lambda: None)
        signal.signal(each, stop)
    try:
        with scope:
            result = await body()
            # If the result is final, report a signal that came too late to cancel anything.
            if not received or decided() is None:
                return result
    finally:
        # Hand the signals back to the handlers that the program began with.
        if (code := decided()) is not None:
            decide(code)
        for each, former in before.items():
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_IGN if received else former)
    raise StoppedError(received[0])


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `StoppedError` at the first signal, so that blocking code removes its temporary files.

    A second signal has the handler from before.
    """
    before = handlers()
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        for each, former in before.items():
            signal.signal(each, former)
        raise StoppedError(number)

    try:
        with handled(stop):
            yield
    finally:
        # The code in the block may have turned it into another error. After it, shutil.rmtree closes a
        # descriptor twice, for example.
        if received:
            raise StoppedError(received[0])


@contextmanager
def ending_with(code: int, line: str) -> Iterator[None]:
    """Exit with `code` and the message `line` if a signal arrives in the block."""

    def stop(*_: object) -> None:
        _say(partial(complain, line))
        _leave(code)

    with handled(stop):
        yield


def _run_out(number: int, ended: threading.Event, decided: Callable[[], int | None]) -> None:
    code = decided()
    # If the loop has ended, the error has been reported, and only threads are left.
    if not ended.is_set():
        word = ENDING[signal.Signals(number)]
        line = f"{word}, without waiting for what did not end within {_CLEANUP_WITHIN:g} s"
        if code is not None:
            line += "; what is published stands"
        _say(partial(complain, line) if code is not None else partial(_complain_of_exit, 128 + number, line))
    _leave(128 + number if code is None else code)


def _say(words: Callable[[], None]) -> None:
    # In a thread: writing may block on standard error, or on the lock of a log line that the signal
    # interrupted.
    saying = threading.Thread(target=words, daemon=True)
    # If no thread can be started, only the exit code tells.
    with suppress(RuntimeError):
        saying.start()
        saying.join(_LAST_MESSAGE_WITHIN)


def _complain_of_exit(code: int, line: str) -> None:
    complain(line)
    with suppress(OSError):
        logs.exit_error(code, line)


def _tell_of_exit(code: int) -> None:
    # Not through logging: the signal may have interrupted a log line, whose lock is held.
    if logs.is_json():
        _write_at_once(exit_error(code, "stopped by a second signal"))


def _leave(code: int) -> None:
    is_settled = background.settle()
    if is_settled and sys.stderr is not None and sys.stderr.isatty() and not logs.is_json():
        # The progress display has hidden the cursor, and does not get to show it again.
        _write_at_once(_SHOW_CURSOR)
    remove_all()
    os._exit(code)


def _write_at_once(data: bytes) -> None:
    # Writing to a full pipe or a stopped terminal would block for ever.
    if sys.stderr is not None and is_writable(sys.stderr):
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), data)
