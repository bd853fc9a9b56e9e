"""The program: `python -m poolcensus`, and what the console script calls."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from poolcensus.exit_error import asks_for_json, exit_error
from poolcensus.signals import ENDING, decided, handlers

if TYPE_CHECKING:
    from types import FrameType


def main() -> NoReturn:
    """Run the program and end the process with its exit code."""
    _open_standard_descriptors()
    codes: list[int] = []
    # Who is registered first is called last.
    atexit.register(_leave_at_once, codes)
    for number in handlers():
        signal.signal(number, _leave)
    # Imported only now: who interrupts the imports has nothing to lose and no traceback to read.
    from poolcensus.cli import main as run  # noqa: PLC0415 - not before the handlers are set
    from poolcensus.cli.exits import end  # noqa: PLC0415 - not before the handlers are set

    codes.append(run())
    end(codes[0])


def _open_standard_descriptors() -> None:
    """Put /dev/null on those of 0, 1 and 2 that the process was started without.

    Else what is opened next is standard input or output to each library that does not look, and to each
    program that is started. Python's own streams stay None.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        # One that was closed since fails when it is written to, and is to fail.
        if stream is None:
            try:
                os.fstat(number)
            except OSError:
                # There may be none, as in a bare chroot. It gets the lowest number that is free.
                with suppress(OSError):
                    os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _leave_at_once(codes: list[int]) -> None:
    """End the process after all other exit functions.

    Python would then free each object on its own, which takes a tenth of the time of a short run.
    """
    if not codes:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(codes[0])


def _leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
    code = decided()
    if code is None and sys.stderr is not None:
        words = ENDING[signal.Signals(number)]
        as_json = asks_for_json(sys.argv[1:], os.environ)
        with suppress(OSError):
            line = exit_error(128 + number, words) if as_json else f"poolcensus: {words}\n".encode()
            os.write(sys.stderr.fileno(), line)
    # Not imported before the handlers are set: 2 ms. Where nothing has imported it yet, nothing is temporary.
    remove_all = getattr(sys.modules.get("poolcensus.temporary"), "remove_all", None)
    if remove_all is not None:
        remove_all()
    os._exit(128 + number if code is None else code)


if __name__ == "__main__":
    main()
