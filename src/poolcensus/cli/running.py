"""Runs a coroutine of the library until it ends or a signal ends it. The library itself takes no signal."""

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

_SAME_SIGNAL_WITHIN = 1.0
_CLEANUP_WITHIN = 4.0
_LAST_MESSAGE_WITHIN = 0.5
_SHOW_CURSOR = b"\x1b[?25h\n"


def run(
    body: Callable[[], Coroutine[None, None, Result]], decided: Callable[[], int | None] = lambda: None
) -> Result:
    """Run `body` in an event loop of its own, in a process that is the program's own.

    The first signal that ends the program cancels it, so that it can put away what it has begun, and ends in
    `StoppedError`. A second ends the process there and then; the same again within a second is no second,
    nor is SIGHUP beside another.
    Putting away has four seconds: a thread that hangs in a system call can't be cancelled. `decided` returns
    the exit code that no signal changes any more, as of a snapshot that is published.

    Raises FatalError where the system lets the process start no more threads.
    """
    # What has been imported stays: collections would walk all of it again and again, and hold up the event
    # loop for a tenth of a second each time.
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
    """Yield what `asyncio.run` runs in. What has been done in it stands where it can't be closed in order."""
    runner = asyncio.Runner()
    try:
        yield runner
    finally:
        try:
            runner.close()
        except RuntimeError as error:
            # It waits in a thread for those of its own, of which nobody waits for anything any more.
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

    # Handlers of Python and not of the loop: they are called even while the loop is held up in a system call.
    def stop(number: int, _: FrameType | None) -> None:
        if received:
            # `timeout` and the like signal a process and then its group, and systemd may send SIGHUP behind
            # SIGTERM: that is one wish, not two.
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
        # Not a timer of the loop, which may end before what hangs does.
        patience = threading.Timer(_CLEANUP_WITHIN, _run_out, (number, ended, decided))
        patience.daemon = True
        # Where the system has no thread left, putting away takes the time that it takes.
        with suppress(RuntimeError):
            patience.start()

    before = handlers()
    for each in before:
        # The system may give the signal to any thread: this has it wake the loop, whose own handler would
        # not be called while the loop is held up.
        loop.add_signal_handler(each, lambda: None)
        signal.signal(each, stop)
    try:
        with scope:
            result = await body()
            # Whoever has something that stands is told of a signal that came too late to cancel anything.
            if not received or decided() is None:
                return result
    finally:
        # From here on what the program began with has the signals.
        if (code := decided()) is not None:
            decide(code)
        for each, former in before.items():
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_IGN if received else former)
    raise StoppedError(received[0])


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `StoppedError` at the first signal, so that what blocks puts away its temporary files.

    A second one does what it did before.
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
        # Where it was raised it may have become another error: shutil.rmtree closes a descriptor twice then.
        if received:
            raise StoppedError(received[0])


@contextmanager
def ending_with(code: int, line: str) -> Iterator[None]:
    """Have a signal end the process with `code` and a line: what has been done stands."""

    def stop(*_: object) -> None:
        _say(partial(complain, line))
        _leave(code)

    with handled(stop):
        yield


def _run_out(number: int, ended: threading.Event, decided: Callable[[], int | None]) -> None:
    code = decided()
    # Where the loop has ended, what went wrong is said already: only threads are left.
    if not ended.is_set():
        word = ENDING[signal.Signals(number)]
        line = f"{word}, without waiting for what did not end within {_CLEANUP_WITHIN:g} s"
        if code is not None:
            line += "; what is published stands"
        _say(partial(complain, line) if code is not None else partial(_complain_of_exit, 128 + number, line))
    _leave(128 + number if code is None else code)


def _say(words: Callable[[], None]) -> None:
    # What does not end may be standard error itself, or the line of the log that the signal came amid.
    saying = threading.Thread(target=words, daemon=True)
    # Where the system has no thread left, the exit code says it alone.
    with suppress(RuntimeError):
        saying.start()
        saying.join(_LAST_MESSAGE_WITHIN)


def _complain_of_exit(code: int, line: str) -> None:
    complain(line)
    with suppress(OSError):
        logs.exit_error(code, line)


def _tell_of_exit(code: int) -> None:
    # Not by the log: what the signal came amid may be a line of it.
    if logs.is_json():
        _write_at_once(exit_error(code, "stopped by a second signal"))


def _leave(code: int) -> None:
    is_settled = background.settle()
    if is_settled and sys.stderr is not None and sys.stderr.isatty() and not logs.is_json():
        # The progress display hides the cursor and won't get to show it again.
        _write_at_once(_SHOW_CURSOR)
    remove_all()
    os._exit(code)


def _write_at_once(data: bytes) -> None:
    # A pipe that nobody reads, and a terminal that is stopped, would take for ever.
    if sys.stderr is not None and is_writable(sys.stderr):
        with suppress(OSError, ValueError):
            os.write(sys.stderr.fileno(), data)
