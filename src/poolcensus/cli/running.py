"""Runs a coroutine of the library until it ends or a signal ends it. The library itself takes no signal."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

import anyio

from poolcensus.cli.exits import StoppedError
from poolcensus.cli.trouble import complain

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Result = TypeVar("Result")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_ONE_WISH = 1.0
_LONGEST_END = 4.0
_SHOW_CURSOR = b"\x1b[?25h\n"


def run(body: Callable[[], Coroutine[None, None, Result]]) -> Result:
    """Runs `body` in an event loop of its own, in a process that is the program's own.

    The first SIGINT or SIGTERM cancels it, so that it can put away what it has begun, and ends in
    `StoppedError`. A second ends the process there and then; the same again within a second is no second.
    Putting away has four seconds: a thread that hangs in a system call can't be cancelled.
    """
    # What has been imported stays: collections would walk all of it again and again, and hold up the event
    # loop for a tenth of a second each time.
    gc.freeze()
    return asyncio.run(_run(body))


async def _run(body: Callable[[], Coroutine[None, None, Result]]) -> Result:
    loop = asyncio.get_running_loop()
    received: list[int] = []
    stopped_at: list[float] = []
    scope = anyio.CancelScope()

    def stop(number: int) -> None:
        if received:
            # `timeout` and the like signal a process and then its group: that is one wish, not two.
            if number != received[0] or loop.time() - stopped_at[0] > _ONE_WISH:
                _leave(128 + number)
            return
        stopped_at.append(loop.time())
        received.append(number)
        scope.cancel()
        # Not a timer of the loop, which may end before what hangs does.
        patience = threading.Timer(_LONGEST_END, _run_out, (number,))
        patience.daemon = True
        patience.start()

    for each in SIGNALS:
        loop.add_signal_handler(each, stop, each)
    try:
        with scope:
            return await body()
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)
            if received:
                signal.signal(each, signal.SIG_IGN)
    raise StoppedError(received[0])


def _run_out(number: int) -> None:
    word = "terminated" if number == signal.SIGTERM else "interrupted"
    complain(f"{word}, without waiting for what did not end within {_LONGEST_END:g} s")
    _leave(128 + number)


def _leave(code: int) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        # The progress display hides the cursor and won't get to show it again.
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(code)
