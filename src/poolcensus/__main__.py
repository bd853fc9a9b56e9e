"""The program, started by `python -m poolcensus` or by the console script."""

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
    """Run the program, and end the process with its exit code."""
    _open_standard_descriptors()
    codes: list[int] = []
    # The function that is registered first is called last.
    atexit.register(_exit_after_exit_functions, codes)
    for number in handlers():
        signal.signal(number, _exit_on_signal)
    # Imported after the handlers are set, so that an interrupt during the imports prints no traceback.
    from poolcensus.cli import main as run  # noqa: PLC0415 - not before the handlers are set
    from poolcensus.cli.exits import end  # noqa: PLC0415 - not before the handlers are set

    codes.append(run())
    end(codes[0])


def _open_standard_descriptors() -> None:
    """Open /dev/null as each of the descriptors 0, 1 and 2 that is closed when the process starts.

    Otherwise the next file that is opened would get this descriptor, and libraries and child processes would
    use it as their standard input or output. The streams in `sys` stay None.
    """
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        # A stream that is not None was open. If it has been closed since, writing to it should fail.
        if stream is None:
            try:
                os.fstat(number)
            except OSError:
                # There may be no /dev/null, as in a bare chroot. A file gets the lowest free descriptor.
                with suppress(OSError):
                    os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _exit_after_exit_functions(codes: list[int]) -> None:
    """End the process after all other exit functions have run.

    Otherwise Python would free every object, which takes a tenth of the time of a short run.
    """
    if not codes:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(codes[0])


def _exit_on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's signature
    code = decided()
    if code is None and sys.stderr is not None:
        words = ENDING[signal.Signals(number)]
        as_json = asks_for_json(sys.argv[1:], os.environ)
        with suppress(OSError):
            line = exit_error(128 + number, words) if as_json else f"poolcensus: {words}\n".encode()
            os.write(sys.stderr.fileno(), line)
    # Not imported here, since that takes 2 ms. If nothing has imported it, there are no temporary files.
    remove_all = getattr(sys.modules.get("poolcensus.temporary"), "remove_all", None)
    if remove_all is not None:
        remove_all()
    os._exit(128 + number if code is None else code)


if __name__ == "__main__":
    main()
