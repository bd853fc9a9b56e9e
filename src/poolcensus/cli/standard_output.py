"""Standard output, whose errors say what they are of."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import BinaryIO, cast

_NAME = "standard output"


def prepare() -> None:
    """Have each error of standard output name it, and each character be written, by an escape if need be.

    A name may hold characters that the terminal's encoding does not have.
    """
    stream = sys.stdout
    if stream is None:
        # Else what is written to it would be lost in silence.
        sys.stdout = _ClosedOutput()
    elif isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
        # Not where somebody has put another in its place, nor where it was closed behind Python's back.
        if stream is sys.__stdout__:
            with suppress(OSError):
                sys.stdout = _named(stream)


def _named(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    raw: io.FileIO = _Output(stream.fileno(), "wb", closefd=False)
    # PYTHONUNBUFFERED asks for it.
    is_unbuffered = stream.write_through
    return io.TextIOWrapper(
        cast("BinaryIO", raw) if is_unbuffered else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=is_unbuffered,
    )


class _Output(io.FileIO):
    """Writes all that it is given, however little the system takes at a time."""

    def write(self, data: bytes | memoryview, /) -> int:  # type: ignore[override] # all that a text is written in
        rest = memoryview(data)
        try:
            while rest:
                written: int | None = super().write(rest)
                if written is None:
                    self._wait()
                else:
                    rest = rest[written:]
        except OSError as error:
            error.filename = _NAME
            raise
        return len(data)

    def _wait(self) -> None:
        """Wait for a pipe or a terminal that does not block, as who started this process may have left it."""
        ready = select.poll()
        ready.register(self, select.POLLOUT)
        ready.poll()


class _ClosedOutput(io.TextIOBase):
    """A standard output that the process was started without."""

    def write(self, text: str) -> int:  # noqa: ARG002 - a stream's signature
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), _NAME)
